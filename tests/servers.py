"""A small HTTP server on loopback that answers what a test tells it to, and stand-ins for clock and object store."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from starberg.storage.object_store import StoredObject
from starberg.utils.clock import Clock


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    url: str
    """Base URL of the server."""


@dataclass(frozen=True)
class Say:
    """What to answer: a JSON value or bytes; `act` writes to the connection itself instead."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    act: Callable[[Any], None] | None = None

    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Server:
    """Serves `answer(asked)` until the `with` block ends; `asked` holds every request."""

    def __init__(self, answer: Callable[[Asked], Say]) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(
                    self.command, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), body, outer.url
                )
                outer.asked.append(asked)
                say = answer(asked)
                with suppress(ConnectionError):
                    self._say(say)

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

            def _say(self, say: Say) -> None:
                if say.act:
                    self.close_connection = True
                    return say.act(self)
                payload = say.payload()
                self.send_response(say.status)
                for name, value in {"Content-Type": "application/json", **say.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(payload)
                return None

            def log_message(self, *args: object) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def in_turn(*says: Say) -> Callable[[Asked], Say]:
    """Answer one after the other, the last one for good."""
    left = list(says)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def closed_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class FakeClock(Clock):
    """A clock that sleeping moves on at once; `slept` notes every sleep."""

    def __init__(self, now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._monotonic += seconds
            self._now += timedelta(seconds=seconds)


class FakeStore:
    """An object store in a dictionary: what the budget needs of one."""

    root = "memory:"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        with self._lock:
            self.calls.append(f"put {key}")
            if if_absent and key in self.objects:
                return False
            self.objects[key] = data
            return True

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        with self._lock:
            self.calls.append(f"list {prefix}")
            found = sorted(key for key in self.objects if key.startswith(prefix) and key > start_after)
        return iter([StoredObject(key, len(self.objects[key]), datetime.now(UTC)) for key in found])

    def delete(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self.calls.append(f"delete {key}")
                self.objects.pop(key, None)
