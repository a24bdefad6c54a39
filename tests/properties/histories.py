"""Histories: a random world, read and built run after run, each run compared with a plain reading of what was said."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from unittest.mock import patch

import invariants
from kept_engine import FAST, kept_engines
from memory_source import Feed, Said, feed_of, playing
from plain_reading import PlainStream, Row
from servers import FakeClock
from worlds import World

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl import keyed_build
from starberg.etl.control_tables import TABLES
from starberg.etl.results import Status
from starberg.ingestion import landing
from starberg.storage.raw_chain import RawStream
from starberg.utils.settings import Settings

PROJECT = Path(__file__).parent / "project"
BOOKKEEPING = {"_run_id", "_load_id"}
HOUR_S = 3600
INDEX_BYTES_WORTH_A_LOAD = 200
"""So small that some loads come between two key indexes, as in a large stream."""
RUNS, CHANGES = 6, 30
"""Of a history in the tests: runs, and changes between two of them."""


class Differs(AssertionError):
    """The tables are not what the source said."""


@dataclass
class History:
    """One warehouse over many runs. `kit` is the module with its world and its plain tables."""

    kit: ModuleType
    seed: int
    lake: Lake
    clock: FakeClock
    feed: Feed
    random: Random = field(init=False)
    world: World = field(init=False)
    streams: dict[str, PlainStream] = field(init=False)
    numbers: dict[str, dict[Any, int]] = field(default_factory=dict)
    highest: Counter[str] = field(default_factory=Counter)
    runs: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.world = self.kit.world(self.random)
        self.streams = self.kit.plain_streams()

    def go(self, runs: int, changes: int, *, verify_each: bool = False) -> None:
        """Run the warehouse again and again on a changing world; Differs names run and table of the first fault."""
        for number in range(1, runs + 1):
            self.runs = number
            if number > 1:
                self._pass_time(changes)
            said = self._say()
            self.run(said)
            self.check()
            if number == runs or verify_each:
                self.check_verify()
                self.check_idle(said)

    def _pass_time(self, changes: int) -> None:
        """Change the world; now and then what changed first is landed and not yet built."""
        if self.random.random() < 0.25:
            self.world.change(changes // 2)
            self.run(self._say(), etl=False)
            changes -= changes // 2
        self.world.change(changes)
        self.clock.sleep(self.random.choice([1, 5, 30]) * HOUR_S)

    def _say(self) -> dict[str, list[Said]]:
        return {stream: self.world.say(stream) for stream in self.streams}

    def run(self, said: Mapping[str, list[Said]], *, etl: bool = True) -> Status:
        """Let the source say something, run (or only land it), and tell the plain streams what was read."""
        self.feed.next.clear()
        self.feed.heard.clear()
        for stream, extracts in said.items():
            self.feed.say(stream, *extracts)
        staging = [name for name in self.lake.warehouses[self.kit.NAME].tables if name.startswith("stg_")]
        status = self.lake.run(self.kit.NAME, etl=etl, allow_deletes=staging).status
        for stream, extract, observed in self.feed.heard:
            self.streams[stream].hear(extract, observed)
        return status

    # What must hold after a run

    def check(self) -> None:
        """Compare every table with the plain one, keep book of surrogate keys, ask the invariants."""
        with self._published() as engine:
            actual = {name: self._rows(engine, name) for name in self._tables()}
            broken = list(invariants.broken(engine, self.lake, self.kit))
        self._check_numbers(actual)
        expected = self.kit.plain_tables(self.streams)
        self._same("tables", Counter(expected.keys()), Counter(n for n in actual if not n.startswith("quarantine_")))
        for table, rows in expected.items():
            self._same(table, bag(rows), bag(self._named(table, actual)))
        for stream, plain in self.streams.items():
            self._check_quarantine(stream, plain, actual.get(f"quarantine_{stream}", []))
            self._same(f"loads of {stream}", plain.landed, self._landed(stream))
        if broken:
            self._fail(broken[0])

    @contextmanager
    def _published(self) -> Iterator[DuckDBEngine]:
        """Give an engine that names every published table."""
        engine = self.lake.open_engine()
        try:
            engine.attach(self.lake.catalog.state().tables)
            engine.run(f"SET search_path = '{self.kit.NAME}'")
            yield engine
        finally:
            engine.close()

    def check_verify(self) -> None:
        result = self.lake.verify(self.kit.NAME)
        if not result.equal:
            self._fail(f"verify: {[t for t in result.tables if t.only_published or t.only_rebuilt]}")

    def check_idle(self, said: Mapping[str, list[Said]]) -> None:
        """The same said again changes nothing, and writes no file outside the control tables."""
        before, state = self._files(), self.lake.catalog.state().tables
        status = self.run(said)
        written = sorted(self._files() - before)
        moved = {name.split(".")[1] for name, at in self.lake.catalog.state().tables.items() if state.get(name) != at}
        if written or status is not Status.SKIPPED or len(moved) > 2:
            self._fail(f"a run without changes is {status}, wrote {written} and moved {moved}")

    def _tables(self) -> list[str]:
        names = [name.split(".", 1)[1] for name in self.lake.catalog.state().tables]
        return [name for name in names if name not in TABLES]

    def _files(self) -> set[str]:
        control = tuple(f"tables/{self.kit.NAME}/{name}/" for name in TABLES)
        passing = ("leases/", "requests/")
        return {o.key for o in self.lake.store.list("") if not o.key.startswith((*control, *passing))}

    @staticmethod
    def _rows(engine: DuckDBEngine, table: str) -> list[Row]:
        cursor = engine.execute(f'FROM "{table}"')
        names = [column[0] for column in cursor.description or []]
        return [
            {name: value for name, value in zip(names, row, strict=True) if name not in BOOKKEEPING}
            for row in cursor.fetchall()
        ]

    def _check_numbers(self, actual: Mapping[str, list[Row]]) -> None:
        """A natural key keeps its number while it is there; a number is never given to another key, or again."""
        for table, natural in self.kit.DIMENSIONS.items():
            key = f"{table.removeprefix('dim_')}_key"
            now = {row[natural]: row[key] for row in actual[table]}
            if now.pop(None, None) != 0:
                self._fail(f"{table} has no unknown member 0")
            before = self.numbers.get(table, {})
            if moved := {nk: (before[nk], number) for nk, number in now.items() if before.get(nk, number) != number}:
                self._fail(f"{table}: numbers changed: {moved}")
            new = {nk: number for nk, number in now.items() if nk not in before}
            if natural != "date" and any(number <= self.highest[table] for number in new.values()):
                self._fail(f"{table}: numbers were given again: {new} after {self.highest[table]}")
            self.numbers[table] = now
            self.highest[table] = max([self.highest[table], *now.values()])

    def _named(self, table: str, actual: Mapping[str, list[Row]]) -> list[Row]:
        """Replace surrogate keys by natural ones: a dimension loses its own."""
        if table in self.kit.DIMENSIONS:
            own = f"{table.removeprefix('dim_')}_key"
            return [{name: value for name, value in row.items() if name != own} for row in actual[table]]
        lookups = self.kit.KEYS.get(table, {})
        named = {dim: {number: nk for nk, number in self.numbers[dim].items()} | {0: None} for dim in lookups.values()}
        return [
            row | {column: named[dim].get(row[column], f"no {dim} {row[column]}") for column, dim in lookups.items()}
            for row in actual[table]
        ]

    def _check_quarantine(self, stream: str, plain: PlainStream, rows: list[Row]) -> None:
        wanted = Counter((text_of(record), observed) for record, observed in plain.quarantine)
        found = Counter((text_of(row["record"]), row["observed_at"]) for row in rows)
        self._same(f"quarantine_{stream}", wanted, found)

    def _landed(self, stream: str) -> Counter[str]:
        [source] = self.lake.warehouses[self.kit.NAME].sources
        loads = RawStream(self.lake.store, self.kit.NAME, source, stream).loads()
        return Counter(changed=sum(load.changed for load in loads), deleted=sum(load.deleted for load in loads))

    def _same(self, what: str, wanted: Counter[Any], found: Counter[Any]) -> None:
        if wanted != found:
            lacking, odd = list((wanted - found).elements()), list((found - wanted).elements())
            self._fail(f"{what}: {len(lacking)} rows lack: {lacking[:3]}\n {len(odd)} should not be: {odd[:3]}")

    def _fail(self, message: str) -> None:
        raise Differs(f"seed {self.seed}, run {self.runs} of {self.kit.NAME}: {message}")


def bag(rows: list[Row]) -> Counter[Any]:
    """Return rows as a multiset; columns by name, so that their order does not count."""
    return Counter(tuple(sorted((name, _plain(value)) for name, value in row.items())) for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _plain(item)) for key, item in value.items()))
    if isinstance(value, float):
        return round(value, 9 - math.ceil(math.log10(abs(value)))) if value else 0.0
    return value


def text_of(record: str) -> str:
    """Return JSON in one spelling."""
    return json.dumps(json.loads(record), sort_keys=True)


def keyed_share(seed: int) -> float:
    """Of two histories in three facts and bridges are computed by key whenever that is possible, else as is usual."""
    return 1e9 if seed % 3 else keyed_build.KEYED_SHARE


@contextmanager
def history(kit: ModuleType, seed: int) -> Iterator[History]:
    """Open an empty lake for one history."""
    with (
        tempfile.TemporaryDirectory(prefix="starberg-history-", dir=FAST) as home,
        patch.object(tempfile, "tempdir", home),
        patch.object(landing, "_BYTES_WORTH_A_LOAD", INDEX_BYTES_WORTH_A_LOAD),
        patch.object(keyed_build, "KEYED_SHARE", keyed_share(seed)),
        playing("memory", "rawg"),
        kept_engines() as open_engine,
    ):
        clock = FakeClock()
        settings = Settings.load(PROJECT, {"STARBERG_HOME": home}, {})
        lake = replace(open_lake(settings, clock=clock), open_engine=open_engine)
        try:
            yield History(kit, seed, lake, clock, feed_of(kit.URL))
        finally:
            lake.catalog.close()
