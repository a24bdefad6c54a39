"""The games warehouse over the sample server, which runs in a process of its own, beside what one would use instead."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import PEERS, compile_ourselves, peer_python
from benchmarks.measure import Figures, best, clean_environment, measured
from starberg.samples.rawg_remote import RemoteServer, spawn

LATENCY_S = 0.05
RATE_PER_S = 20
CHANGED = 100
_REPEATS = 3
_FIRST_YEAR = 1980
"""Everything in the sample's catalogue was released since then."""
_MOST_RUNS_UNTIL_IDLE = 8
_NO_LIMITS = {f"GAMES_REQUESTS_PER_{each}": "1000000" for each in ("SECOND", "RUN", "MONTH")}


@dataclass(frozen=True)
class Measure:
    """One process measured; `requests` is what the sample server counted meanwhile."""

    group: str
    name: str
    figures: Figures
    requests: int = 0
    games: int = 0


@dataclass
class Report:
    """Everything one benchmark measured, in order, and what the run's own log said."""

    games: int
    measures: list[Measure] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    tables: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, group: str, name: str, figures: Figures, *, requests: int = 0, games: int = 0) -> Figures:
        """Keep a measure and say so."""
        self.measures.append(Measure(group, name, figures, requests, games))
        print(f"  {group}: {name}: {figures.wall_s:.2f} s, {figures.cpu_s:.2f} s of CPU", file=sys.stderr, flush=True)
        return figures

    def get(self, group: str, name: str) -> Measure | None:
        """Return a measure, if it was taken."""
        return next((m for m in self.measures if (m.group, m.name) == (group, name)), None)


class Lake:
    """Starberg's command line on a lake of its own, against one sample server."""

    def __init__(self, server: RemoteServer, folder: Path, **variables: str) -> None:
        self._server = server
        self._folder = folder
        self.environment = clean_environment(
            STARBERG_HOME=str(folder / "home"),
            RAWG_URL=server.url,
            RAWG_API_KEY="sample-key",
            **{"GAMES_FROM": f"{_FIRST_YEAR}-01-01", "GAMES_MIN_ADDED": "0", **_NO_LIMITS, **variables},
        )

    def starberg(self, *arguments: str) -> tuple[Figures, int, Any]:
        """Run a command; return its figures, the requests it sent and its answer."""
        before = self._server.requests
        figures = measured([_script("starberg"), "--json", *arguments], self.environment, self._folder)
        return figures, self._server.requests - before, json.loads(figures.stdout)


def run(games: int, folder: Path, *, quick: bool) -> Report:
    """Measure everything; quick: without the environments of peers, and the rate limit over fewer requests."""
    report = Report(games)
    python = (lambda _name: sys.executable) if quick else peer_python
    if not quick:
        compile_ourselves()
    _start_up(report, folder, python)
    with _server(games, latency_s=LATENCY_S) as server:
        lake = Lake(server, _new(folder / "unlimited"))
        pages = _ingest(report, lake, server, folder)
        _peers_reading(report, server, pages, folder, python, quick=quick)
        _etl(report, lake, folder, None if quick else python("by_hand"))
        _reruns(report, lake, server, folder, None if quick else python("by_hand"))
    with _server(games, rate_per_s=RATE_PER_S) as server:
        _limited(report, server, folder, python, quick=quick)
    return report


def _server(games: int, **how: float) -> AbstractContextManager[RemoteServer]:
    return spawn(games=games, **how)  # type: ignore[arg-type]


def _start_up(report: Report, folder: Path, python: Any) -> None:
    """Commands that do nothing: what starting costs."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "starberg --help": [_script("starberg"), "--help"],
        "import requests, duckdb": [python("by_hand"), "-c", "import requests, duckdb"],
    }
    for name, command in commands.items():
        runs = [measured(command, clean_environment(), folder) for _ in range(1 + 2 * _REPEATS)]
        report.add("start-up", name, best(runs[1:]))


def _ingest(report: Report, lake: Lake, server: RemoteServer, folder: Path) -> Path:
    """Read the whole catalogue into the raw zone; return the list of pages that took."""
    figures, requests, answer = lake.starberg("ingest", "games")
    read = max(load["rows"] for load in answer["loads"] if load["stream"] == "rawg.games")
    report.add("ingest", "starberg", figures, requests=requests, games=read)
    return _pages_read(server, folder / "pages.json")


def _peers_reading(
    report: Report, server: RemoteServer, pages: Path, folder: Path, python: Any, *, quick: bool
) -> None:
    """The same pages in one thread and in eight, and dlt's source over the same catalogue."""
    for name, threads in {"requests, sequential": 1, "requests, 8 threads": 8}.items():
        _requests(report, "ingest", name, server, pages, folder / f"pages-{threads}.jsonl", python, threads)
    if quick:
        return
    for how in ("one", "parallel"):
        name = {"one": "dlt rest_api", "parallel": "dlt rest_api, parallelized"}[how]
        out = _new(folder / f"dlt-{how}")
        command = [python("dlt"), str(PEERS / "dlt_rest_api.py"), server.url, str(out / "lake"), how, str(_FIRST_YEAR)]
        environment = clean_environment(RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=str(out), EXTRACT__WORKERS="8")
        before = server.requests
        figures = measured(command, environment, out)
        report.add("ingest", name, figures, requests=server.requests - before, games=int(figures.stdout))


def _requests(
    report: Report, group: str, name: str, server: RemoteServer, pages: Path, out: Path, python: Any, threads: int
) -> None:
    command = [python("requests"), str(PEERS / "requests_client.py"), server.url, str(pages), str(out), str(threads)]
    before = server.requests
    figures = measured(command, clean_environment(), out.parent)
    report.add(group, name, figures, requests=server.requests - before)


def _etl(report: Report, lake: Lake, folder: Path, by_hand: str | None) -> None:
    """Build, check and publish what was ingested."""
    figures, _, answer = lake.starberg("etl", "games")
    report.add("etl", "starberg", figures)
    report.tables = [table for table in answer["tables"] if table["strategy"] != "skip"]
    log = f"SELECT seconds_by_stage FROM games.etl_runs WHERE run_id = '{answer['run_id']}'"
    [row] = json.loads(measured([_script("starberg"), "query", log, "--json"], lake.environment, folder).stdout)
    report.stages = json.loads(row["seconds_by_stage"])
    if by_hand:
        pages = str(folder / "pages-8.jsonl")
        command = [by_hand, str(PEERS / "by_hand.py"), "build", pages, str(folder / "by-hand")]
        report.add("etl", "by hand", measured(command, clean_environment(), folder))


def _reruns(report: Report, lake: Lake, server: RemoteServer, folder: Path, by_hand: str | None) -> None:
    """Runs when nothing changed and when a few games did."""
    for _ in range(_MOST_RUNS_UNTIL_IDLE):  # pages of the full shape are read some each run
        if lake.starberg("run", "games")[2]["status"] == "SKIPPED":
            break
    command = [by_hand or "", str(PEERS / "by_hand.py"), "run", server.url, str(folder / "by-hand")]
    if by_hand:
        measured(command, clean_environment(), folder)
    idle = [lake.starberg("run", "games") for _ in range(_REPEATS)]
    report.add("nothing changed", "starberg", best([run[0] for run in idle]), requests=idle[0][1])
    if by_hand:
        runs = [measured(command, clean_environment(), folder) for _ in range(_REPEATS)]
        report.add("nothing changed", "by hand", best(runs))
    server.change(min(CHANGED, report.games // 2))
    figures, requests, _ = lake.starberg("run", "games")
    report.add("some changed", "starberg", figures, requests=requests)
    if by_hand:
        report.add("some changed", "by hand", measured(command, clean_environment(), folder))


def _limited(report: Report, server: RemoteServer, folder: Path, python: Any, *, quick: bool) -> None:
    """A server that answers so many requests a second: four years of releases, about a minute of them."""
    scope = {"GAMES_FROM": "2025-10-01" if quick else "2022-01-01", "GAMES_TO": "2025-12-31"}
    lake = Lake(server, _new(folder / "limited"), **scope, GAMES_REQUESTS_PER_SECOND=str(RATE_PER_S))
    figures, requests, _ = lake.starberg("ingest", "games")
    report.add("limited", "starberg", figures, requests=requests)
    pages = _pages_read(server, folder / "limited.json")
    for name, threads in {"requests, sequential": 1, "requests, 8 threads": 8}.items():
        _requests(report, "limited", name, server, pages, folder / f"limited-{threads}.jsonl", python, threads)


def _pages_read(server: RemoteServer, file: Path) -> Path:
    file.write_text(json.dumps([[path.strip("/"), parameters] for _method, path, parameters in server.log]))
    return file


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def stage_seconds(tables: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds spent per kind of table: stg, dim, bridge, fact, mart."""
    seconds: dict[str, float] = {}
    for table in tables:
        kind = table["name"].split("_", 1)[0]
        seconds[kind] = seconds.get(kind, 0.0) + table["duration_ms"] / 1000
    return seconds
