"""A TCP proxy before a server, which cuts, resets, refuses or swallows what the server sends, as told."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 4096


class TcpProxy:
    """Forwards to a port on loopback. Faults set in while it runs: `refuse`, `reset_at`, `stall_at`."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.heal()

    def heal(self) -> None:
        """Forward everything from now on; count from zero."""
        self.answered = 0
        """Bytes the server has answered over all connections."""
        self.refuse = False
        """New connections are reset."""
        self.reset_at: int | None = None
        """Every connection is reset once so much was answered, and new ones are refused."""
        self.stall_at: int | None = None
        """No byte goes either way once so much was answered; connections stay open."""
        self.delay_s = 0.0
        """How long each piece of an answer takes."""

    def serve(self) -> None:
        """Accept connections until closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                _reset(client)
                continue
            server = socket.create_connection(("127.0.0.1", self._upstream))
            with self._lock:
                self._open += [client, server]
            for here, there, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._forward, args=(here, there, counts), daemon=True).start()

    def close(self) -> None:
        """End every connection."""
        self._listener.close()
        self._end()

    def _forward(self, here: socket.socket, there: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while piece := here.recv(_PIECE):
                with self._lock:
                    self.answered += len(piece) if counts else 0
                    stalled = self.stall_at is not None and self.answered >= self.stall_at
                    broken = self.reset_at is not None and self.answered >= self.reset_at
                if broken:
                    self.refuse = True
                    self._end()
                if counts and self.delay_s:
                    time.sleep(self.delay_s)
                if not stalled:
                    there.sendall(piece)
        with suppress(OSError):
            there.shutdown(socket.SHUT_WR)

    def _end(self) -> None:
        with self._lock:
            for connection in self._open:
                _reset(connection)
            self._open = []


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def tcp_proxy(upstream: int) -> Iterator[TcpProxy]:
    """Run a proxy for the length of a `with` block."""
    proxy = TcpProxy(upstream)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
