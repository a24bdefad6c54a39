"""After hundreds of runs a lake with upkeep has hardly more files than a fresh rebuild, and is read as fast."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from kept_engine import FAST, kept_engines
from upkept import Upkept, upkept

from starberg.etl.control_tables import TABLES
from starberg.etl.results import Status
from starberg.storage.maintenance import Policy

SMALL, IDLE = 100, 300
REPEATS = 9


@pytest.mark.proof
def test_after_300_idle_and_100_small_runs_a_lake_is_at_most_twice_what_a_rebuild_is() -> None:
    """In files of each table, and in CPU time to read all tables, which does not depend on what else is running."""
    with (
        tempfile.TemporaryDirectory(prefix="starberg-files-", dir=FAST) as home,
        kept_engines() as open_engine,
        upkept(Path(home), open_engine=open_engine) as lake,
    ):
        lake.start()
        for number in range(SMALL):
            assert lake.run([number % 30, number * 7 % 30], remember=False).status == Status.SUCCESS
            for _ in range(IDLE // SMALL):
                assert lake.run(remember=False).status == Status.SKIPPED
            lake.after_days(1 / 8)
            data = {name: n for name, n in lake.files().items() if name.partition(".")[2] not in TABLES}
            assert max(data.values()) <= 2 * Policy().commits + 1, "runs keep themselves between two upkeeps"
        lake.maintain()
        kept = lake.files()
        tables = lake.tables()
        listed = {name: len(table.snapshots()) for name in tables.pointers if (table := tables.load(name))}
        raw = Path(lake.lake.store.root) / "raw"
        with upkept(Path(home) / "anew", open_engine=open_engine) as anew:
            shutil.copytree(raw, Path(anew.lake.store.root) / "raw")
            anew.lake.run(anew.name, ingest=False)
            fresh = anew.files()
            kept_tables, new_tables = lake.pointers(), anew.pointers()
            reads = [(_read_s(lake, kept_tables), _read_s(anew, new_tables)) for _ in range(REPEATS)]
    assert {name for name in kept if kept[name] > 2 * fresh[name]} == set()
    assert min(before for before, _ in reads) <= 2 * min(after for _, after in reads)
    assert max(listed.values()) <= Policy().keep_snapshots + 4, "metadata files stay small"


def _read_s(lake: Upkept, pointers: Mapping[str, str]) -> float:
    """Return the seconds of CPU, of all threads, that reading all tables takes."""
    before = time.process_time()
    lake.read(pointers)
    return time.process_time() - before
