"""`python -m benchmarks.upkeep`: what a lake costs after many runs, with upkeep and without, beside a fresh rebuild.

A small warehouse (two staging tables, a dimension with history, a fact by month, a mart) on a local lake: runs after
small changes and runs after none, mixed. Prints the ratios; with `--quick` it does not write RESULTS-upkeep.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from upkept import Upkept, upkept

from benchmarks.report import Claim, claims_table, machine, table
from starberg.storage.maintenance import Policy

RESULTS = Path(__file__).with_name("RESULTS-upkeep.md")
SMALL, IDLE = 100, 300
_NEVER = Policy(commits=10**9, log_commits=10**9)
_REPEATS = 9
_FRESH, _BARE, _KEEPING, _KEPT, _REBUILT = (
    "after the first run",
    "without upkeep",
    "with upkeep by runs",
    "and `starberg maintain`",
    "rebuilt from raw",
)


@dataclass(frozen=True)
class Cost:
    """What a lake costs at one moment: files a reader opens, of one table at most and in all; the least CPU seconds to
    read all tables; what a run without changes asks the store, and its least CPU seconds; the largest metadata file."""

    most_files: int
    files: int
    read_s: float
    idle_requests: int
    idle_s: float
    metadata_bytes: int

    @classmethod
    def of(cls, lake: Upkept) -> Cost:
        """Measure a lake; it gets some runs without changes."""
        files, metadata = lake.files(), _metadata(lake)
        read_s = min(_cpu_s(lake.content) for _ in range(_REPEATS))
        idle_s, requests = 1e9, 0
        for _ in range(_REPEATS):
            before = lake.lake.store.counters.requests
            idle_s = min(idle_s, _cpu_s(lambda: lake.run(remember=False)))
            requests = lake.lake.store.counters.requests - before
        return cls(max(files.values()), sum(files.values()), read_s, requests, idle_s, metadata)


def measured(folder: Path, small: int, idle: int, members: int) -> dict[str, Cost]:
    """Return what each lake costs, by its name; `folder` holds them."""
    found: dict[str, Cost] = {}
    for name, policy in ((_BARE, _NEVER), (_KEEPING, None)):
        with _policy(policy), upkept(folder / name.replace(" ", "-")) as lake:
            lake.members = members
            lake.start()
            found.setdefault(_FRESH, Cost.of(lake))
            _live(lake, small, idle)
            found[name] = Cost.of(lake)
            if not policy:
                lake.lake.maintain(lake.name)
                found[_KEPT] = Cost.of(lake)
                found[_REBUILT] = _rebuilt(lake, folder / "rebuilt")
    return found


def claims(costs: Mapping[str, Cost], *, judged: bool) -> list[Claim]:
    """Return each lake beside the one that was rebuilt."""
    fresh, found = costs[_REBUILT], []
    for name in (_KEPT, _KEEPING, _BARE):
        cost = costs[name]
        files, read = cost.most_files / fresh.most_files, cost.read_s / fresh.read_s
        wanted = "<= 2 x" if name == _KEPT else ""
        found += [
            Claim(
                f"files of a table, {name} : rebuilt",
                f"{files:.1f} x",
                f"{cost.most_files} : {fresh.most_files}; of all tables {cost.files} : {fresh.files}",
                wanted,
                files <= 2 if wanted and judged else None,
            ),
            Claim(
                f"all tables read, {name} : rebuilt",
                f"{read:.2f} x",
                f"{1000 * cost.read_s:.0f} ms : {1000 * fresh.read_s:.0f} ms of CPU",
                wanted,
                read <= 2 if wanted and judged else None,
            ),
        ]
    return found


def page(costs: Mapping[str, Cost], found: Sequence[Claim], load_before: float, runs: str) -> str:
    """Return the page for people."""
    rows = [
        ["lake", "files, most", "files, all", "read, ms of CPU", "idle run: requests", "ms of CPU", "metadata, KiB"]
    ]
    for name, c in costs.items():
        cells = [c.most_files, c.files, f"{1000 * c.read_s:.0f}", c.idle_requests, f"{1000 * c.idle_s:.0f}"]
        rows.append([name, *map(str, cells), f"{c.metadata_bytes / 1024:.0f}"])
    said = "Written by `python -m benchmarks.upkeep`. CPU seconds are the least of several; compare ratios."
    parts = ["# What upkeep is for", said, machine(load_before), f"## {runs}", claims_table(found), table(rows)]
    return "\n\n".join(parts) + "\n"


def _policy(policy: Policy | None) -> AbstractContextManager[Any]:
    return patch("starberg.etl.pipeline.Policy", lambda: policy) if policy else nullcontext()


def _live(lake: Upkept, small: int, idle: int) -> None:
    """Run after small changes, and after none in between."""
    for number in range(small):
        lake.run([(number * 7 + n) % lake.members for n in range(3)], remember=False)
        for _ in range(idle // small):
            lake.run(remember=False)


def _rebuilt(lake: Upkept, folder: Path) -> Cost:
    """Build another lake from the same raw zone."""
    with upkept(folder) as other:
        shutil.copytree(Path(lake.lake.store.root) / "raw", Path(other.lake.store.root) / "raw")
        other.lake.run(other.name, ingest=False)
        return Cost.of(other)


def _metadata(lake: Upkept) -> int:
    store = lake.lake.store
    return max(store.size(store.key(at)) or 0 for at in lake.tables().pointers.values())


def _cpu_s(act: Callable[[], Any]) -> float:
    """Return the CPU seconds of all threads, which do not depend on what else is running."""
    started = time.process_time()
    act()
    return time.process_time() - started


def main() -> int:
    """Return 1 if a ratio is not what was wanted of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upkeep", description=__doc__)
    parser.add_argument("--small", type=int, default=SMALL, metavar="N", help="runs after a small change")
    parser.add_argument("--idle", type=int, default=IDLE, metavar="N", help="runs after none")
    parser.add_argument("--members", type=int, default=2000, metavar="N", help="members at the start")
    parser.add_argument("--quick", action="store_true", help="no RESULTS-upkeep.md")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="starberg-bench-") as folder:
        costs = measured(Path(folder), given.small, given.idle, given.members)
    found = claims(costs, judged=given.small >= SMALL and given.idle >= IDLE)
    print(claims_table(found))
    if not given.quick:
        runs = f"{given.small} runs after a small change and {given.idle} after none, {given.members:,} members"
        RESULTS.write_text(page(costs, found, load_before, runs))
    return 1 if any(claim.met is False for claim in found) else 0


if __name__ == "__main__":
    sys.exit(main())
