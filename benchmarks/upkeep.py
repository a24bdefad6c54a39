"""`python -m benchmarks.upkeep`: what a lake costs after many runs, with upkeep and without, beside a fresh rebuild.

A small warehouse (two staging tables, a dimension with history, a fact by month, a mart) on a local lake: small changes
and runs without any, mixed. Of each lake: files a reader opens, seconds to read all tables, and what an idle run costs
in seconds and requests to the store. Upkeep is what runs do by themselves; `kept` is after one `starberg maintain` too.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from upkept import Upkept, upkept

from starberg.storage.maintenance import Policy

_NEVER = Policy(commits=10**9, log_commits=10**9)
_REPEATS = 7


def main() -> None:
    """Measure and print one line a lake."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upkeep", description=__doc__)
    parser.add_argument("--small", type=int, default=100, metavar="N", help="runs after a small change")
    parser.add_argument("--idle", type=int, default=300, metavar="N", help="runs after none")
    parser.add_argument("--members", type=int, default=2000, metavar="N", help="members at the start")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="starberg-bench-") as folder:
        for name, policy in (("without upkeep", _NEVER), ("with upkeep", None)):
            home = Path(folder) / name.replace(" ", "-")
            home.mkdir()
            how = patch("starberg.etl.pipeline.Policy", lambda: _NEVER) if policy else nullcontext()
            with how, upkept(home) as lake:  # type: ignore[attr-defined]
                lake.members = given.members
                _show("fresh", lake, lambda lake=lake: lake.start())
                seconds = _seconds(lambda lake=lake: _live(lake, given.small, given.idle))
                _show(f"{name}, {seconds:.0f} s of runs", lake)
                if not policy:
                    _show("kept", lake, lambda lake=lake: lake.lake.maintain(lake.name))
                    _rebuilt(lake, Path(folder) / "rebuilt")


def _live(lake: Upkept, small: int, idle: int) -> None:
    """Run after small changes, and after none in between."""
    for number in range(max(small, idle)):
        if number < small:
            lake.run([(number * 7 + n) % lake.members for n in range(3)], remember=False)
        for _ in range(idle // small + (number < idle % small) if number < small else 0):
            lake.run(remember=False)


def _rebuilt(lake: Upkept, folder: Path) -> None:
    """Build another lake from the same raw zone."""
    folder.mkdir()
    with upkept(folder) as other:
        shutil.copytree(Path(lake.lake.store.root) / "raw", Path(other.lake.store.root) / "raw")
        _show("rebuilt", other, lambda: other.lake.run(other.name, ingest=False))


def _show(name: str, lake: Upkept, first: Callable[[], Any] = lambda: None) -> None:
    first()
    read = min(_seconds(lake.content) for _ in range(_REPEATS))
    files = lake.files()
    requests, seconds = _idle(lake)
    print(f"{name}: files {max(files.values())} at most, {sum(files.values())} in all; all tables read in {read:.3f} s")
    print(f"  idle run: {requests} requests, {seconds:.3f} s; metadata {_metadata(lake)} bytes at most", flush=True)


def _idle(lake: Upkept) -> tuple[int, float]:
    """Return the requests to the store and the least seconds of a run without changes."""
    best, asked = 1e9, 0
    for _ in range(_REPEATS):
        before = lake.lake.store.counters.requests
        best = min(best, _seconds(lambda: lake.run(remember=False)))
        asked = lake.lake.store.counters.requests - before
    return asked, best


def _metadata(lake: Upkept) -> int:
    tables: Mapping[str, str] = lake.tables().pointers
    return max(lake.lake.store.size(lake.lake.store.key(at)) or 0 for at in tables.values())


def _seconds(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
