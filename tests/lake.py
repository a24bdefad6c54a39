"""A small lake in a folder: declare tables, land records, build and publish, ask SQL.

    lake = TempLake(tmp_path)
    lake.stream("games", {"id": "BIGINT", "name": "VARCHAR"})
    lake.declare("staging/stg_games", "select id as game_id, name from games")
    lake.land("games", [{"id": 1, "name": "Tetris"}])
    lake.build()
    assert lake.rows("select game_id, name from stg_games") == [(1, "Tetris")]

Declarations are files read by the project's own reader; the sources are played by `land`.
"""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import settings
from servers import FakeClock

from starberg.engines.base import Engine
from starberg.engines.duckdb import DuckDBEngine
from starberg.etl.audit import due_checks
from starberg.etl.build import Build, BuildResult
from starberg.etl.build_writer import BuildOptions, Restate, Touched
from starberg.etl.control import BuildState
from starberg.etl.model import Warehouse
from starberg.etl.project import load_warehouse
from starberg.etl.quality import CheckResult, run_check
from starberg.etl.results import TableDifference, TableResult
from starberg.ingestion.landing import Landing
from starberg.ingestion.source import Extract
from starberg.storage.branch_tables import BranchTables
from starberg.storage.branches import Branch, Catalog
from starberg.storage.iceberg_tables import IcebergTable, read_table
from starberg.storage.local_store import LocalStore
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Chains, Manifest, RawStream
from starberg.storage.sql_catalog import SqlCatalog
from starberg.utils.errors import CheckFailed
from starberg.utils.sql import quote_name

Record = Mapping[str, Any] | str
"""A source's record; a string is its JSON text as the source wrote it."""

Computing = Callable[[DuckDBEngine], Engine]

_SOURCE = "api"


def examples(number: int) -> settings:
    """Return settings for a costly property: `number` examples, a hundred times as many in the soak profile."""
    return settings(max_examples=max(1, number * settings.default.max_examples // 100))  # type: ignore[union-attr]


@cache
def _engine(*, keep_order: bool) -> DuckDBEngine:
    """One engine for all lakes of a process: opening one costs more than a small build."""
    engine = DuckDBEngine()
    atexit.register(engine.close)
    engine.run(f"SET preserve_insertion_order = {keep_order}")
    return engine


def fresh_engine(*, keep_order: bool = False) -> DuckDBEngine:
    """Return the process's engine without any table of its last user."""
    engine = _engine(keep_order=keep_order)
    engine.run("RESET search_path")
    for (name,) in engine.rows("SELECT table_name FROM duckdb_tables() WHERE temporary"):
        engine.run(f"DROP TABLE {quote_name(name)}")
    for (name,) in engine.rows("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal"):
        engine.run(f"DROP SCHEMA {quote_name(name)} CASCADE")
    return engine


@dataclass(frozen=True)
class Built:
    """One build: what it did, and what the checks found."""

    result: BuildResult
    checks: Sequence[CheckResult]

    @property
    def tables(self) -> dict[str, TableResult]:
        """What happened to each table."""
        return {table.name: table for table in self.result.tables}

    @property
    def changed(self) -> dict[str, tuple[int, int, int]]:
        """Rows inserted, updated and deleted of the tables with any."""
        counts = {t.name: (t.rows_inserted, t.rows_updated, t.rows_deleted) for t in self.result.tables}
        return {name: found for name, found in counts.items() if any(found)}

    @property
    def notes(self) -> list[str]:
        """What a person should know of it."""
        return self.result.notes


class Default:
    """What lakes are built by that are not told: `pytest --computing spark` says so."""

    computing: Computing = staticmethod(lambda engine: engine)
    compares_maps = True


@dataclass
class TempLake:
    """A lake with one warehouse and one source, `api`; the clock stands unless it is moved.

    What control tables would record of builds is kept here: it halves their time.
    """

    folder: Path
    name: str = "shop"
    timezone: str = "UTC"
    calendar_timezone: str = "UTC"
    store: ObjectStore = None  # type: ignore[assignment]
    catalog: Catalog = None  # type: ignore[assignment]
    clock: FakeClock = field(default_factory=FakeClock)
    computing: Computing = field(default_factory=lambda: Default.computing)
    """Returns what builds tables: DuckDB itself, or Spark beside it."""
    _streams: dict[str, Any] = field(default_factory=dict)
    _warehouse: Warehouse | None = None
    _runs: int = 0
    spoilt: bool = False
    """Whether a test wrote to tables past the product."""
    _states: dict[str, BuildState] = field(default_factory=dict)
    _loads: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = self.store or LocalStore(self.folder / "lake")
        self.catalog = self.catalog or SqlCatalog(f"sqlite:///{self.folder}/catalog.db", clock=self.clock)

    # Declaring

    def stream(self, name: str, columns: Mapping[str, Any], key: str | Sequence[str] = "id", **more: Any) -> None:
        """Declare (or declare anew) a stream; `more` are further fields of it. Undeclared columns are left out."""
        keys = [key] if isinstance(key, str) else list(key)
        self._streams[name] = {"key": keys, "columns": dict(columns), "undeclared": "ignore", **more}
        self._warehouse = None

    def declare(self, path: str, sql: str) -> None:
        """Write a table's file, such as `facts/fact_sales`; its header stands in the leading comment."""
        file = self.folder / self.name / f"{path}.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sql)
        self._warehouse = None

    @property
    def warehouse(self) -> Warehouse:
        """The declarations as they are now."""
        if self._warehouse is None:
            home = self.folder / self.name
            home.mkdir(parents=True, exist_ok=True)
            source = {"kind": "rest", "timezone": self.timezone, "streams": self._streams}
            declared = {"calendar_timezone": self.calendar_timezone, "sources": {_SOURCE: source}}
            (home / "warehouse.yml").write_text(json.dumps(declared))
            self._warehouse = load_warehouse(home, {})
        return self._warehouse

    def count_days_in(self, zone: str) -> None:
        """Edit the time zone whose days are meant."""
        self.calendar_timezone = zone
        self._warehouse = None

    # Landing

    def chain(self, stream: str) -> RawStream:
        """Return a stream's loads."""
        return RawStream(self.store, self.name, _SOURCE, stream)

    def land(
        self,
        stream: str,
        records: Sequence[Record],
        *,
        whole: bool = False,
        keys_only: bool = False,
        cursor: Mapping[str, Any] | None = None,
        previous: Manifest | None = None,
        run_id: str = "ingest",
    ) -> Manifest | None:
        """Land what an extractor would have fetched; `previous` is the chain's last load unless given."""
        source = self.warehouse.sources[_SOURCE]
        chain = self.chain(stream)
        extract = Extract(
            spools=(self._spool(records),) if records else (),
            cursor=cursor or {},
            observed_at=self.clock.now(),
            whole=whole,
            keys_only=keys_only,
        )
        engine = fresh_engine(keep_order=True)
        landing = Landing(engine, chain, source, source.streams[stream], self.folder, self.clock)
        return landing.land(extract, previous or chain.last(), run_id, "api.example.org")

    def _spool(self, records: Sequence[Record]) -> Path:
        texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
        path = self.folder / "spool.jsonl"
        path.write_text(f'{{"page": "page 1", "records": [{", ".join(texts)}]}}\n')
        return path

    # Building

    def build(
        self,
        *,
        rebuild: Collection[str] = (),
        allow_deletes: Collection[str] = (),
        stop_on_edit: bool = False,
        only: Collection[str] = (),
        dates: Collection[date] = (),
        check: bool = True,
    ) -> Built:
        """Build every table on a branch, run the checks and publish; CheckFailed if one failed."""
        options = BuildOptions(rebuild, allow_deletes=allow_deletes, stop_on_edit=stop_on_edit, only=only, dates=dates)
        return self._publish(options, check=check)

    def restate(self, since: datetime, until: datetime) -> Built:
        """Restate the days of all dimensions with history from one to another, and publish."""
        return self._publish(BuildOptions(restate=Restate(since.date(), until.date())), check=True)

    def _publish(self, options: BuildOptions, *, check: bool) -> Built:
        with self.session() as (branch, engine, tables):
            result = self.build_on(branch, engine, tables, options)
            checks = self._checks(engine, tables, result) if check else []
            failed = [found for found in checks if found.status == "failed"]
            if failed:
                raise CheckFailed(f"{failed[0].check.name} of {failed[0].check.table}: {failed[0].sample}")
            tables.publish("build")
        self._states |= result.states
        self._loads |= {f"{load.source}.{load.stream}": load.seq for load in result.marks.values()}
        return Built(result, checks)

    @property
    def builds(self) -> int:
        """How many tables builds have left a state of."""
        return len(self._states)

    def failing(self, spoil: Callable[[DuckDBEngine, BranchTables], None] | None = None, **touched: str) -> list[str]:
        """Return the checks that fail on what is published, or after `spoil`, which stays unpublished.

        Of the tables in `touched` only the keys that a SELECT names are looked at.
        """
        with self.session() as (_, engine, tables):
            if spoil:
                spoil(engine, tables)
            scopes = {}
            for name, keys in touched.items():
                scopes[f"{self.name}.{name}"] = Touched(f"touched_{name}", f"checked_{name}")
                engine.run(f"CREATE TEMP TABLE touched_{name} AS {keys}")
                rows = f"FROM {self.name}.{name} NATURAL SEMI JOIN touched_{name}"
                engine.run(f"CREATE TEMP TABLE checked_{name} AS {rows}")
            return [
                found.check.name
                for found in self._checks(engine, tables, BuildResult(scopes=scopes))
                if found.status == "failed"
            ]

    def settle(self) -> None:
        """Take what is published for what the last build made, though another hand changed it."""
        tables = self.catalog.state().tables
        for name, state in self._states.items():
            inputs = {read: tables.get(read, at) for read, at in state.inputs.items()}
            self._states[name] = replace(state, inputs=inputs)

    def verify(self) -> list[TableDifference]:
        """Return the tables that a rebuild from raw would make other than they are."""
        with self.session() as (branch, engine, tables):
            result = self.build_on(branch, engine, tables, BuildOptions(rebuild="*", verify=True))
        return [found for found in result.differences if found.only_published or found.only_rebuilt]

    @contextmanager
    def session(self) -> Iterator[tuple[Branch, DuckDBEngine, BranchTables]]:
        """Cut a branch and read it; it is dropped at the end."""
        self._runs += 1
        branch = self.catalog.create_branch(f"run{self._runs}", self.name)
        pointers = dict(self.catalog.state(branch.name).tables)
        engine = self.computing(fresh_engine())
        engine.attach(pointers)
        try:
            yield branch, engine, BranchTables(self.catalog, self.store, branch, pointers)  # type: ignore[misc]
        finally:
            self.catalog.drop_branch(branch)

    def build_on(self, branch: Branch, engine: Engine, tables: BranchTables, options: BuildOptions) -> BuildResult:
        build = Build(
            self.warehouse,
            engine,
            tables,
            Chains(self.store, self.name),
            branch.run_id,
            self.folder,
            self.clock,
            options,
        )
        return build.run(self._states, self._loads)

    def _checks(self, engine: Engine, tables: BranchTables, build: BuildResult) -> list[CheckResult]:
        moved = {*tables.pointers} - {f"{self.name}.{name}" for name in build.stale}
        checks = due_checks(self.warehouse, moved, build, tables.pointers, self.clock.now())
        return [run_check(engine, check) for check in checks]

    # Asking

    def rows(self, sql: str, at: str = "main") -> list[tuple[Any, ...]]:
        """Answer SQL over the published tables."""
        return self.reader(at).rows(sql)

    def reader(self, at: str = "main") -> DuckDBEngine:
        """Return the engine over the published tables, until it is used for something else."""
        engine = fresh_engine()
        engine.attach(self.catalog.state(at).tables)
        engine.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(self.name)}")
        engine.run(f"SET search_path = '{self.name}'")
        return engine

    def table(self, name: str) -> IcebergTable:
        """Return a published table's metadata."""
        full = f"{self.name}.{name}"
        return read_table(self.store, full, self.catalog.state().tables[full])
