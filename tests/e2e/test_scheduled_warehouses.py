"""All shipped warehouses behind the scheduler for six hours of a clock that is played, over sources that live on."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from living import WAREHOUSES, Change, sources
from servers import FakeClock

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.entrypoints.ledger import Ledger
from starberg.entrypoints.schedule import scheduler_of, timetable
from starberg.etl.due import TickState
from starberg.etl.schedule import ticks
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

# Over midnight and over all that runs once a night.
START = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(21, 58), UTC)
HOURS = timedelta(hours=6)


class Played(FakeClock):
    """The played clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now = START


def test_six_hours_of_all_warehouses_end_as_a_rebuild_would(tmp_path: Path) -> None:
    clock = Played()
    with sources(tmp_path / "sources", clock) as (variables, change):
        (tmp_path / "starberg.toml").touch()
        settings = Settings.load(tmp_path, {}, {"STARBERG_HOME": str(tmp_path / "home"), **variables})
        lake = open_lake(settings, clock=clock)
        go_on(lake, clock, change, START + HOURS / 2)
        go_on(lake, clock, change, START + HOURS)  # another scheduler, as after a restart
        check_ticks(lake)
        runs = [run for run in lake.status(limit=1000) if run["command"] in ("run", "etl", "run-job", "ingest")]
        assert 25 <= len(runs) <= 100
        assert {str(run["status"]) for run in runs} <= {"SUCCESS", "SKIPPED"}
        lake.run("learning", ingest=False)  # days whose rows came late since its facts were built at night
        found = {f"{name}.{table.name}": table for name in WAREHOUSES for table in lake.verify(name).tables}
        assert {name for name, table in found.items() if table.only_published or table.only_rebuilt} == set()


def go_on(lake: Lake, clock: FakeClock, change: Change, until: datetime) -> None:
    """Let the scheduler look until a time, and the sources live on about every half hour."""
    scheduler = scheduler_of(lake, WAREHOUSES)
    scheduler.start = lambda _, work: work()
    next_change = clock.now()
    while clock.now() < until:
        wait = scheduler.look()
        if clock.now() >= next_change:
            change(int(clock.now().timestamp()))  # a seed of its own
            next_change = clock.now() + timedelta(minutes=25)
        clock.sleep(min(max(wait, 1.0), 600.0))


def check_ticks(lake: Lake) -> None:
    """Check that each tick ran once, or is said to be covered by the one that ran in its place."""
    now = lake.clock.now() - timedelta(minutes=10)
    for warehouse, items in timetable(lake).items():
        assert isinstance(items, list)
        for item in items:
            records = Ledger(lake.store, warehouse).records(item.name)
            done = Counter(record.tick for record in records if record.state is TickState.DONE)
            assert set(done.values()) <= {1}
            spans = [(record.passed_from, record.tick) for record in records if record.passed_from]
            for tick in ticks(item.rule, START, now):
                assert done[tick] or any(since <= tick < until for since, until in spans), (warehouse, item.name, tick)
            assert all(r.status != "FAILED" for r in records), [
                (warehouse, r.item, r.error) for r in records if r.error
            ]
