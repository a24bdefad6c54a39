"""An HTTP proxy that fails as told: before a server, on the way to it, or on the way back."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class FaultProxy(ThreadingHTTPServer):
    """Forwards to `upstream` (a URL), unless a fault is planned for the request.

    Faults: `refuse` (with a status and an S3 error code), `answer` (a made-up 200 body), `hang`, `cut request` (the
    connection breaks in the middle of the body), `drop answer` (the server did it, the client never hears),
    `refuse afterwards` (the server did it, the client hears it refused), `cut answer` (half the body), `flip answer`
    (one byte changed), `halve request` (the server gets half the body).
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.ended = threading.Event()
        self._planned: list[tuple[str, str, tuple[Any, ...]]] = []
        self._lock = threading.Lock()

    def plan(self, request: str, fault: str, *details: Any, times: int = 1) -> None:
        """Let the next requests fail whose `METHOD /path?query` matches the pattern."""
        with self._lock:
            self._planned += [(request, fault, details)] * times

    def take(self, request: str) -> tuple[str, tuple[Any, ...]]:
        """Return the fault planned for a request, once."""
        with self._lock:
            for index, (pattern, fault, details) in enumerate(self._planned):
                if re.search(pattern, request):
                    del self._planned[index]
                    return fault, details
        return "", ()

    @property
    def pending(self) -> list[str]:
        """The faults that no request has met yet."""
        with self._lock:
            return [fault for _, fault, _ in self._planned]

    def handle_error(self, *_: object) -> None:
        """Stay quiet: clients go away in these tests."""


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy for the length of a `with` block."""
    proxy = FaultProxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        fault, details = self.server.take(f"{self.command} {self.path}")
        if fault == "cut request":
            self.rfile.read(length // 2)
            return self._reset()
        body = self.rfile.read(length)
        if fault == "hang":
            self.server.ended.wait()
            return self._reset()
        if fault == "refuse":
            return self._answer(details[0], {}, _error_body(details[1]))
        if fault == "answer":
            return self._answer(200, {}, details[0].encode())
        status, headers, answer = self._forward(body[: length // 2] if fault == "halve request" else body)
        if fault == "drop answer":
            return self._reset()
        if fault == "refuse afterwards":
            return self._answer(details[0], {}, _error_body(details[1]))
        if fault == "flip answer":
            answer = bytes([answer[0] ^ 1]) + answer[1:]
        if fault == "cut answer":
            self._answer(status, headers, answer, cut=True)
            return self._reset()
        return self._answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        skip = {"content-length", "expect", "connection"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in skip}
        upstream.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
        answer = upstream.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        upstream.close()
        return found

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def _reset(self) -> None:
        """Break the connection as a dying machine does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _error_body(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as planned</Message></Error>".encode()
