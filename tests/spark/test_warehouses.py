"""The shipped warehouses built by Spark are those that DuckDB builds, row by row and number by number."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from living import WAREHOUSES, sources
from local_spark import beside
from servers import FakeClock

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl.compile import RUN
from starberg.etl.control_tables import TABLES
from starberg.utils.settings import Settings
from starberg.utils.sql import quote_name

START = datetime.combine(datetime.now(UTC).date() - timedelta(days=6), time(9, 30), UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
RUNS = 5
"""The first load, three with what changed since, and one by the other engine each."""


class Played(FakeClock):
    """A clock that stands where it is put."""

    def put(self, at: datetime) -> None:
        self._now = at


def opened(home: Path, variables: dict[str, str], clock: FakeClock) -> Lake:
    """Return an empty lake of its own."""
    home.mkdir()
    (home / "starberg.toml").touch()
    return open_lake(Settings.load(home, {}, {"STARBERG_HOME": str(home), **variables}), clock=clock)


def rows(lake: Lake, warehouse: str) -> dict[str, Counter[str]]:
    """Return the rows of each table, without what tells which run wrote them."""
    found = {}
    with closing(lake.connect(warehouse)) as connection:
        for table in sorted(name for name in lake.look().tables if name.partition(".")[2] not in TABLES):
            told = connection.execute(f"DESCRIBE {table}").fetchall()
            names = ", ".join(quote_name(name) for name, *_ in told if name != RUN)
            found[table] = Counter(map(repr, connection.execute(f"SELECT {names} FROM {table}").fetchall()))
    return found


@pytest.mark.proof  # for minutes each
@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_a_warehouse_is_the_same_on_both_engines(tmp_path: Path, warehouse: str) -> None:
    clock = Played(START)
    with sources(tmp_path / "sources", clock, [warehouse], games=40) as (variables, change):
        here, there = (opened(tmp_path / name, variables, clock) for name in ("duckdb", "spark"))
        there = replace(there, computing=beside)
        for number in range(RUNS):
            clock.put(START + number * DAY)
            here.run(warehouse, etl=False)
            shutil.copytree(tmp_path / "duckdb/lake/raw", tmp_path / "spark/lake/raw", dirs_exist_ok=True)
            if number == RUNS - 1:
                here, there = replace(here, computing=there.computing), replace(there, computing=here.computing)
            for lake in (here, there):
                clock.put(START + number * DAY + HOUR)
                assert lake.run(warehouse, ingest=False).status == "SUCCESS"
            expected, found = rows(here, warehouse), rows(there, warehouse)
            assert found.keys() == expected.keys()
            for table, there_are in found.items():
                differ = there_are - expected[table], expected[table] - there_are
                assert differ == (Counter(), Counter()), (number, table)
            clock.put(START + number * DAY + 2 * HOUR)
            change(number)
