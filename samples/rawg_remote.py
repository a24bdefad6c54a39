"""A sample server in a process of its own, driven over HTTP: for benchmarks, and for tests that kill processes.

    with spawn(games=50_000, latency_s=0.05) as server:
        ...                       # server.url is the API
        server.change(100)        # the same mutations as Catalogue's

The server ends with its `with` block, and by itself when the process that started it dies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urlsplit

from starberg.utils.errors import Unreachable, UsageError

if TYPE_CHECKING:
    from starberg.samples.rawg_server import LogLine

_TIMEOUT_S = 60.0
_STOP_S = 5.0


class RemoteServer:
    """A running sample server at `url`; `process` is ended by `stop()` if there is one."""

    def __init__(self, url: str, process: subprocess.Popen[str] | None = None) -> None:
        self.url = url
        self.process = process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process: it stops when its standard input closes, or is killed."""
        if self.process is None:
            return
        try:
            self.process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def change(self, n: int, *, platforms: bool = True) -> list[int]:
        """See Catalogue.change."""
        return self._mutate("change", n=n, platforms=str(platforms).lower())

    def add(self, n: int) -> list[int]:
        """See Catalogue.add."""
        return self._mutate("add", n=n)

    def remove(self, n: int) -> list[int]:
        """See Catalogue.remove."""
        return self._mutate("remove", n=n)

    def touch(self, n: int) -> list[int]:
        """See Catalogue.touch."""
        return self._mutate("touch", n=n)

    def set_back(self, n: int) -> list[int]:
        """See Catalogue.set_back."""
        return self._mutate("set_back", n=n)

    def merge(self, id: int, into: int) -> list[int]:  # noqa: A002  (the API's word)
        """See Catalogue.merge."""
        return self._mutate("merge", id=id, into=into)

    def misbehave(self, kind: str, times: int | None = 1, path_prefix: str | None = None, **options: Any) -> None:
        """See RawgServer.misbehave."""
        self._ask("POST", "misbehave", {"kind": kind, "times": times, "path_prefix": path_prefix, **options})

    def behave(self) -> None:
        """See RawgServer.behave."""
        self._ask("POST", "behave")

    def new_month(self) -> None:
        """See RawgServer.new_month."""
        self._ask("POST", "new_month")

    def games(self) -> list[dict[str, Any]]:
        """See Catalogue.games."""
        games: list[dict[str, Any]] = self._ask("GET", "games")
        return games

    @property
    def requests(self) -> int:
        """See RawgServer.requests."""
        return int(self._ask("GET", "state")["requests"])

    @property
    def spent(self) -> int:
        """See RawgServer.spent."""
        return int(self._ask("GET", "state")["spent"])

    @property
    def log(self) -> list[LogLine]:
        """See RawgServer.log."""
        return [(method, path, parameters) for method, path, parameters in self._ask("GET", "state")["log"]]

    @property
    def clock(self) -> datetime:
        """The catalogue's simulated time, UTC."""
        return datetime.fromisoformat(self._ask("GET", "state")["clock"])

    def _mutate(self, action: str, **parameters: int | str) -> list[int]:
        ids: list[int] = self._ask("POST", f"{action}?{urlencode(parameters)}")["ids"]
        return ids

    def _ask(self, method: str, action: str, body: dict[str, Any] | None = None) -> Any:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, f"/_sample/{action}", None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except OSError as gone:
            raise Unreachable(f"the sample server at {self.url} does not answer: {gone}") from gone
        finally:
            connection.close()
        if response.status != 200:
            raise UsageError(answer.get("error") or answer.get("detail") or f"the sample server refused {action}")
        return answer


def spawn(
    *,
    games: int = 5000,
    seed: int = 7,
    latency_s: float = 0.0,
    rate_per_s: float | None = None,
    monthly_limit: int | None = None,
    window: int | None = None,
    port: int = 0,
) -> RemoteServer:
    """Start a sample server in a process of its own and wait until it serves; raises Unreachable if it does not."""
    options = {
        "games": games,
        "seed": seed,
        "latency": latency_s,
        "rate": rate_per_s,
        "monthly-limit": monthly_limit,
        "window": window,
        "port": port,
    }
    command = [sys.executable, "-m", "starberg.samples.rawg_server", "--until-eof"]
    command += [f"--{name}={value}" for name, value in options.items() if value is not None]
    # A session of its own: a Ctrl-C meant for the process that started it would end it before its clients.
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url:
        process.communicate()
        raise Unreachable(f"the sample server ended at its start with exit code {process.returncode}")
    return RemoteServer(url, process)
