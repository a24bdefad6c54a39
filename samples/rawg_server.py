"""A local server that keeps the RAWG API's contract over a generated catalogue, traps and failures included.

    with RawgServer(Catalogue(games=500)) as server:
        requests.get(f"{server.url}/games", params={"key": "sample-key"})

    python -m starberg.samples.rawg_server --games 5000 --port 8787     prints its URL, serves until interrupted

It listens on 127.0.0.1 only. Besides `/api`, `/_sample` lets another process change the catalogue, plan failures and
read counters (rawg_remote uses it).
"""

from __future__ import annotations

import argparse
import socket
import socketserver
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_contract import Contract
from starberg.samples.rawg_http import Handler
from starberg.samples.rawg_misbehaviour import (
    IN_PAGES,
    QUOTA_SPENT,
    Misbehaviour,
    Misbehaviours,
    answer_instead,
    page_that_misbehaves,
)
from starberg.samples.rawg_pages import WINDOW, Answer, NotFoundError, Request, detail, error
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HOST = "127.0.0.1"
SAMPLE_KEY = "sample-key"
LogLine = tuple[str, str, dict[str, str]]  # method, path below /api, parameters without the key
_LOG_LINES = 100_000


class RawgServer:
    """Serves a catalogue under the RAWG contract; start() and stop(), or a `with` block.

    `monthly_limit` requests are answered per month, then the quota is spent until `new_month()`. `latency_s` is added
    to every answer; `rate_per_s` delays requests so that no more are answered per second (it refuses none). `window`
    is how far a list with a filter can be paged.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        *,
        keys: Iterable[str] = (SAMPLE_KEY,),
        monthly_limit: int | None = None,
        latency_s: float = 0.0,
        rate_per_s: float | None = None,
        window: int = WINDOW,
        port: int = 0,
    ) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self._contract = Contract(self.catalogue, window=window)
        self._keys = frozenset(keys)
        self._monthly_limit = monthly_limit
        self._latency_s = latency_s
        self._seconds_per_request = 1 / rate_per_s if rate_per_s else 0.0
        self._next_turn = 0.0
        self._port = port
        self._misbehaviours = Misbehaviours()
        self._counting = threading.Lock()
        self._requests = 0
        self._spent = 0
        self._log: deque[LogLine] = deque(maxlen=_LOG_LINES)
        self._listener: _Listener | None = None

    # Life

    def start(self) -> Self:
        """Listen and serve in the background; raises UsageError if the port is taken."""
        try:
            listener = _Listener((HOST, self._port), Handler)
        except OSError as taken:
            raise UsageError(
                f"cannot listen on {HOST}:{self._port}: {taken.strerror}", hint="Pass another port"
            ) from taken
        listener.server = self
        self._listener = listener
        threading.Thread(target=listener.serve_forever, args=(0.02,), name="rawg-sample", daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop serving; open connections are closed, waiting answers are given up."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base URL of the API: http://127.0.0.1:PORT/api."""
        if self._listener is None:
            raise UsageError("the sample server is not started", hint="Call start() or use a with block")
        return f"http://{HOST}:{self._listener.server_address[1]}/api"

    # What was asked

    @property
    def requests(self) -> int:
        """Requests that came in under /api, refused ones included."""
        return self._requests

    @property
    def spent(self) -> int:
        """Requests of this month that counted against the quota."""
        return self._spent

    @property
    def log(self) -> list[LogLine]:
        """The last 100,000 requests as (method, path below /api, parameters without the key)."""
        return list(self._log)

    # How it behaves

    def misbehave(
        self, kind: str, times: int | None = 1, path_prefix: str | None = None, *, after: int = 0, **options: Any
    ) -> None:
        """Fail the next `times` matching requests (None: all); kinds and options: rawg_misbehaviour.

        `path_prefix` is below /api (`/games`), `after` spares that many matching requests first.
        """
        self._misbehaviours.plan(kind, times=times, path_prefix=path_prefix, after=after, **options)

    def behave(self) -> None:
        """Forget planned failures."""
        self._misbehaviours.clear()

    def new_month(self) -> None:
        """Give back the monthly quota."""
        with self._counting:
            self._spent = 0

    def answer(self, method: str, request: Request) -> tuple[Answer, Misbehaviour | None]:
        """Answer one request; the failure, if any, still has to be acted out while sending."""
        with self._counting:
            self._requests += 1
            shown = {name: value for name, value in request.parameters.items() if name != "key"}
            self._log.append((method, f"/{request.path}", shown))
        self._take_time()
        if method != "GET":
            return detail(405, f'Method "{method}" not allowed.'), None
        misbehaviour = self._misbehaviours.take(request)
        instead = answer_instead(misbehaviour) if misbehaviour else None
        return instead or self._refuse(request) or self._answer(request, misbehaviour), misbehaviour

    def wait(self, seconds: float) -> None:
        """Sleep, or return at once when the server stops."""
        if seconds > 0 and self._listener is not None:
            self._listener.closing.wait(seconds)

    def _answer(self, request: Request, misbehaviour: Misbehaviour | None) -> Answer:
        if misbehaviour is None or misbehaviour.kind not in IN_PAGES:
            return self._contract.answer(request)
        try:
            return page_that_misbehaves(misbehaviour, request, self._contract, self.catalogue).answer()
        except NotFoundError as missing:
            return detail(404, str(missing))

    def _refuse(self, request: Request) -> Answer | None:
        """Return the refusal of a missing or unknown key or a spent quota, else count the request."""
        key = request.parameters.get("key")
        if not key:
            return error(401, "The key parameter is not provided")
        if key not in self._keys:
            return error(401, "The API key is not found")
        with self._counting:
            if self._monthly_limit is not None and self._spent >= self._monthly_limit:
                return error(401, QUOTA_SPENT)
            self._spent += 1
        return None

    def _take_time(self) -> None:
        delay = self._latency_s
        if self._seconds_per_request:
            with self._counting:
                now = time.monotonic()
                turn = max(now, self._next_turn)
                self._next_turn = turn + self._seconds_per_request
            delay += turn - now
        self.wait(delay)


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections and remembers them, so that stopping also ends kept-alive ones."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    server: RawgServer

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        self.closing = threading.Event()
        self._connections: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve in the foreground; the first line on stdout is the URL. Returns an exit code."""
    try:
        _serve(_parser().parse_args(arguments))
    except UsageError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return wrong.exit_code
    return 0


def _serve(options: argparse.Namespace) -> None:
    server = RawgServer(
        Catalogue(options.seed, options.games),
        keys=options.key or (SAMPLE_KEY,),
        monthly_limit=options.monthly_limit,
        latency_s=options.latency,
        rate_per_s=options.rate,
        window=options.window,
        port=options.port,
    )
    with server, suppress(KeyboardInterrupt):
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        if options.until_eof:
            sys.stdin.read()
        else:
            threading.Event().wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rawg_server", description="Serve a generated catalogue as the RAWG API does."
    )
    parser.add_argument("--games", type=int, default=5000, help="games in the catalogue (5000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the catalogue (7)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (a free one)")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="added to every answer (0)")
    parser.add_argument("--rate", type=float, metavar="PER_SECOND", help="answer at most so many requests a second")
    parser.add_argument("--key", action="append", help=f"an accepted key, repeatable ({SAMPLE_KEY})")
    parser.add_argument("--monthly-limit", type=int, help="requests until the quota is spent")
    parser.add_argument("--window", type=int, default=WINDOW, help=f"rows a list with a filter shows ({WINDOW})")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
