"""Connections that are checked before a byte is sent and keep to a deadline however slowly bytes trickle in."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from starberg.utils.errors import UsageError


def guarded_adapter(guard: Callable[[str], None], *, connections: int, deadline_s: float) -> HTTPAdapter:
    """Return a pooled adapter; `guard` gets the address of each new connection and raises UsageError to refuse it.

    A response, headers and body, may take `deadline_s`; then reading it raises TimeoutError.
    """

    class Punctual(HTTPResponse):
        """A response that reads through a `_DeadlineReader`."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            plain = self.fp.detach()  # what socket.makefile put a buffer around
            self.fp = io.BufferedReader(_DeadlineReader(plain, deadline_s))

    class Guarded:
        """What both connection classes gain."""

        response_class: Any = Punctual

        def _new_conn(self) -> socket.socket:
            sock: socket.socket = super()._new_conn()  # type: ignore[misc]
            try:
                guard(sock.getpeername()[0])
            except UsageError:
                sock.close()
                raise
            return sock

    class Http(Guarded, HTTPConnection):
        """A guarded plain connection."""

    class Https(Guarded, HTTPSConnection):
        """A guarded TLS connection: checked before the handshake."""

    class HttpPool(HTTPConnectionPool):
        """Connections of one host."""

        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        """TLS connections of one host."""

        ConnectionCls = Https

    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections)
    adapter.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return adapter


class _DeadlineReader(io.RawIOBase):
    """Looks at the clock before each read; the socket's own time-out bounds the read itself."""

    def __init__(self, raw: io.RawIOBase, deadline_s: float) -> None:
        self._raw = raw
        self._deadline_s = deadline_s
        self._end = time.monotonic() + deadline_s

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there."""
        if time.monotonic() > self._end:
            raise TimeoutError(f"the answer took longer than deadline_s = {self._deadline_s:g}")
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Close the socket's side too."""
        self._raw.close()
        super().close()
