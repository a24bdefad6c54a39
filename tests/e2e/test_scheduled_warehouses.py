"""All shipped warehouses behind the scheduler for six hours of a clock that is played, over sources that live on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from servers import FakeClock

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.entrypoints.ledger import Ledger
from starberg.entrypoints.schedule import scheduler_of, timetable
from starberg.etl.due import TickState
from starberg.etl.schedule import ticks
from starberg.samples.demos import learning_settings, mafia_settings, retail_settings
from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.samples.operational.life import mutate
from starberg.samples.operational.seeding import seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import system_of
from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_server import RawgServer
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

# Over midnight and over all that runs once a night.
START = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(21, 58), UTC)
HOURS = timedelta(hours=6)
WAREHOUSES = ("games", "learning", "mafia", "projects", "retail")
Change = Callable[[int], None]


class Played(FakeClock):
    """The played clock."""

    def __init__(self) -> None:
        super().__init__()
        self._now = START


@contextmanager
def sources(folder: Path, clock: FakeClock) -> Iterator[tuple[dict[str, str], Change]]:
    """Run the sources of all warehouses; yield where they are, and what lets them live on."""
    catalogue = Catalogue(seed=7, games=200)
    with EmbeddedPostgres(folder) as server, RawgServer(catalogue) as rawg:
        systems = {name: system_of(name) for name in WAREHOUSES if name != "games"}
        connects = {
            # Two systems call their database `operations`.
            name: lambda database, name=name: server.connect(f"{name}_work" if name == "projects" else database)
            for name in systems
        }
        for name, system in systems.items():
            for database in system.databases:
                server.create(f"{name}_work" if name == "projects" else database)
            seed(system, connects[name], Size(12, 20, 7, START))

        def change(number: int) -> None:
            for name, system in systems.items():
                mutate(system, connects[name], transactions=15, seed=number, clock=clock)
            catalogue.change(3)
            catalogue.add(1)
            catalogue.remove(1)

        variables = {**retail_settings(server), **mafia_settings(server), **learning_settings(server)}
        variables |= {"PROJECTS_DATABASE_URL": server.url("projects_work"), "ETL_INTERVAL_MINUTES": "30"}
        variables |= {"RAWG_URL": rawg.url, "RAWG_API_KEY": "sample-key", "GAMES_REQUESTS_PER_SECOND": "1000"}
        yield variables, change


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
        for name in WAREHOUSES:
            found = lake.verify(name)
            assert found.equal, (name, found.tables)


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
