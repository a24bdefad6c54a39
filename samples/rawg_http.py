"""The HTTP side of the sample server: parses requests, acts out failures while sending, and serves `/_sample`."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from starberg.samples.rawg_filters import whole_number
from starberg.samples.rawg_pages import Answer, Request, detail, error
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from starberg.samples.rawg_misbehaviour import Misbehaviour
    from starberg.samples.rawg_server import RawgServer

MUTATIONS = ("change", "add", "remove", "touch", "set_back", "merge")
_PIECES = 20  # of an answer that trickles
_MOST_BODY_BYTES = 1_000_000


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sample", ""
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one write

    @property
    def sample(self) -> RawgServer:
        """The server this connection belongs to."""
        sample: RawgServer = self.server.server  # type: ignore[attr-defined]
        return sample

    def do_GET(self) -> None:
        """Answer the API or show what was asked."""
        self._dispatch()

    def do_POST(self) -> None:
        """Change the sample; the API itself refuses it."""
        self._dispatch()

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests are kept in the server's log, not written to stderr."""

    def _dispatch(self) -> None:
        body = self._read_body()
        parts = urlsplit(self.path)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        top, _, path = parts.path.strip("/").partition("/")
        try:
            if top == "api":
                url = f"http://{self.headers.get('Host', '127.0.0.1')}{parts.path}"
                self._send(*self.sample.answer(self.command, Request(path, parameters, url)))
            elif top == "_sample":
                self._send(_administer(self.sample, self.command, path, parameters, body), None)
            else:
                self._send(detail(404, "Not found."), None)
        except ConnectionError:
            self.close_connection = True

    def _read_body(self) -> bytes:
        length = whole_number(self.headers.get("Content-Length") or "0")
        if length is None or length > _MOST_BODY_BYTES:
            self.close_connection = True
            return b""
        return self.rfile.read(length)

    def _send(self, answer: Answer, misbehaviour: Misbehaviour | None) -> None:
        kind = misbehaviour.kind if misbehaviour else ""
        seconds = float(misbehaviour.options.get("seconds", 0)) if misbehaviour else 0.0
        body = answer.body
        if kind == "hang":
            self.sample.wait(seconds)
        if kind == "malformed":
            body = body[: len(body) // 2]
        self._send_head(answer, len(body))
        if kind == "slow":
            self._trickle(body, seconds)
        elif kind == "drop":
            self._cut_off(body)
        else:
            self.wfile.write(body)

    def _send_head(self, answer: Answer, length: int) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _trickle(self, body: bytes, seconds: float) -> None:
        size = max(1, len(body) // _PIECES)
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            self.wfile.flush()
            self.sample.wait(seconds / _PIECES)

    def _cut_off(self, body: bytes) -> None:
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


def _administer(sample: RawgServer, method: str, action: str, parameters: dict[str, str], body: bytes) -> Answer:
    """Serve `/_sample`: GET state and games, POST a mutation (`?n=`), misbehave (JSON body), behave, new_month."""
    try:
        if method == "GET":
            return _json(_show(sample, action))
        if action in MUTATIONS:
            return _json({"ids": _mutate(sample, action, parameters)})
        if action == "misbehave":
            sample.misbehave(**json.loads(body))
        elif action in {"behave", "new_month"}:
            getattr(sample, action)()
        else:
            return detail(404, "Not found.")
        return _json({})
    except (UsageError, ValueError, TypeError, KeyError) as wrong:
        return error(400, f"{action}: {wrong}")


def _show(sample: RawgServer, action: str) -> Any:
    if action == "games":
        return sample.catalogue.games()
    if action == "state":
        return {
            "requests": sample.requests,
            "spent": sample.spent,
            "log": sample.log,
            "clock": sample.catalogue.clock.isoformat(),
            "games": len(sample.catalogue),
        }
    raise UsageError(f"/_sample/{action} is not known", hint="Known: state, games")


def _mutate(sample: RawgServer, action: str, parameters: dict[str, str]) -> list[int]:
    catalogue = sample.catalogue
    if action == "merge":
        return catalogue.merge(int(parameters["id"]), into=int(parameters["into"]))
    n = int(parameters["n"])
    if action == "change":
        return catalogue.change(n, platforms=parameters.get("platforms", "true") == "true")
    ids: list[int] = getattr(catalogue, action)(n)
    return ids


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode())
