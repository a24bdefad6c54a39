"""A lake: what the command line and the Python API both call. Commands return values and never print."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.assembly import loads_of, pipeline_of
from starberg.etl.jobs import Only
from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.project import Warehouses
from starberg.etl.results import (
    JobResult,
    JobState,
    MaintainResult,
    Plan,
    QueryResult,
    RunResult,
    Stage,
    Status,
    VerifyResult,
)
from starberg.storage.branches import MAIN, Catalog, State
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Chains
from starberg.utils.clock import Clock, new_run_id
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote_name, text

if TYPE_CHECKING:
    import duckdb

    from starberg.engines.base import Engine
    from starberg.engines.clients import QueryClient
    from starberg.etl.quality import DataQualityCheck
    from starberg.storage.maintenance import Policy


@dataclass(frozen=True)
class Lake:
    """One lake with its warehouses; see `starberg.entrypoints.bootstrap.open_lake`."""

    store: ObjectStore
    catalog: Catalog
    warehouses: Warehouses
    open_engine: Callable[[], DuckDBEngine]
    secret_of: Callable[[str], str | None]
    clock: Clock
    home: Path
    project: Path | None
    reopen: Callable[[Mapping[str, str]], Lake]
    open_client: Callable[[str], QueryClient]
    computing: Callable[[DuckDBEngine], Engine] = lambda engine: engine
    """Returns what builds tables: the engine of this machine itself, or Spark beside it."""

    def run(
        self,
        warehouse: str,
        *,
        ingest: bool = True,
        etl: bool = True,
        source: str | None = None,
        full: bool = False,
        allow_deletes: Sequence[str] = (),
        rebuild: bool = True,
        date: date | None = None,
        force: bool = False,
        only: Only | None = None,
        wait_s: float = 600.0,
        checks: Sequence[DataQualityCheck] = (),
    ) -> RunResult:
        """Ingest, build, check and publish a warehouse; without `etl`, only land what changed.

        A warehouse that declares jobs, and any with `date`, `force` or `only`, is run by its jobs: tables that are
        built by date for `date` (default: yesterday, and every date whose rows changed since), a job that
        succeeded for it before only with `force`. `only` picks the jobs over dimensions, or those over anything else.
        `checks` are made beside the warehouse's own.

        Raises StarbergError: Busy, Conflict, CheckFailed, GuardStopped, CredentialsError, QuotaSpent (what was fetched
        is published first), Unreachable, SourceDataError, DeclarationError (an edited table with `rebuild=False`).
        """
        declared = self.warehouse(warehouse)
        _check_tables(declared, allow_deletes)
        if not etl:
            return self._ingest_only(declared, source, full=full)
        from starberg.entrypoints.job_runs import Request, run

        request = Request(date, only=only, force=force, command="run" if ingest else "etl")
        how: dict[str, Any] = {"source": source, "full": full, "allow_deletes": allow_deletes, "checks": checks}
        return run(self, warehouse, request, ingest=ingest, rebuild=rebuild, wait_s=wait_s, **how)

    def run_stage(
        self,
        warehouse: str,
        stage: Stage,
        run_id: str,
        *,
        source: str | None = None,
        full: bool = False,
        allow_deletes: Sequence[str] = (),
        rebuild: bool = True,
        wait_s: float = 600.0,
    ) -> RunResult:
        """Do one stage of a run: ingest, build, check, publish, in this order, each with the same run id.

        The run holds the warehouse from stage to stage, for 15 minutes at most between two. A stage that was done is
        not done again; one that died or met a service that is down may be tried again. UsageError for a stage out of
        order or a run that has failed; all else as `run`.
        """
        from starberg.entrypoints.job_runs import run_stage

        _check_tables(self.warehouse(warehouse), allow_deletes)
        how: dict[str, Any] = {"allow_deletes": allow_deletes, "rebuild": rebuild, "wait_s": wait_s}
        return run_stage(self, warehouse, stage, run_id, source=source, full=full, **how)

    def run_job(
        self, warehouse: str, job: str, date: date | None = None, *, force: bool = False, wait_s: float = 600.0
    ) -> JobResult:
        """Run one job for a date (default: yesterday, and those that are due); return its counts.

        UsageError lists the jobs there are; all else as `run`.
        """
        [result] = self.run_jobs(warehouse, [job], date, force=force, wait_s=wait_s)
        return result

    def run_jobs(
        self,
        warehouse: str,
        jobs: Sequence[str],
        date: date | None = None,
        *,
        force: bool = False,
        wait_s: float = 600.0,
    ) -> list[JobResult]:
        """Run some jobs as one run, in the order of what they build; else as `run_job`."""
        from starberg.entrypoints.job_runs import Request, run

        request = Request(date, jobs, force=force, command="run-job")
        return run(self, warehouse, request, wait_s=wait_s).jobs

    def run_dimensions(
        self, warehouse: str, date: date | None = None, *, force: bool = False, wait_s: float = 600.0
    ) -> list[JobResult]:
        """Run all jobs over dimensions, as one run."""
        return self.run(warehouse, date=date, force=force, only="dimensions", wait_s=wait_s).jobs

    def run_facts(self, warehouse: str, date: date, *, force: bool = False, wait_s: float = 600.0) -> list[JobResult]:
        """Run all jobs over anything but dimensions for a date, as one run."""
        return self.run(warehouse, date=date, force=force, only="facts", wait_s=wait_s).jobs

    def backfill(
        self,
        warehouse: str,
        since: date,
        until: date,
        *,
        jobs: Sequence[str] = (),
        force: bool = False,
        wait_s: float = 600.0,
    ) -> Iterator[RunResult]:
        """Run what is built by date for each day of a range, both inclusive; yield each run as it is published.

        What succeeded is skipped, so that a backfill goes on where it was stopped. UsageError if nothing is built by
        date; all else as `run`.
        """
        from starberg.entrypoints.job_runs import backfill

        return backfill(self, warehouse, since, until, names=jobs, force=force, wait_s=wait_s)

    def jobs(self, warehouse: str | None = None) -> list[JobState]:
        """Return how each job stands, and when it is due next."""
        from starberg.entrypoints.job_runs import states

        if warehouse:
            self.warehouse(warehouse)
        return states(self, warehouse)

    def schedule(self, warehouses: Sequence[str] = (), *, grace_s: float = 600.0) -> None:
        """Run what `warehouse.yml` schedules, of some warehouses or of all, until SIGTERM or Ctrl-C.

        Runs at work then get `grace_s` to end. Busy if another scheduler is at work in this home.
        """
        from starberg.entrypoints.schedule import run_scheduler

        run_scheduler(self, warehouses, grace_s=grace_s)

    def schedules(self, warehouses: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return each schedule and job with its rule, its newest tick and what became of it, and the next tick, UTC."""
        from starberg.entrypoints.schedule import listed

        return listed(self, warehouses)

    def deploy(self, kind: str, warehouse: str) -> str:
        """Return what a warehouse schedules as a file for another scheduler: crontab, kubernetes or airflow."""
        from starberg.entrypoints.deploy import deploy

        self.check_known(warehouse)
        return deploy(kind, warehouse, self.warehouses.file(warehouse))

    def live(self) -> dict[str, Any]:
        """Return whether a scheduler is alive in this home, as an answer of `check`; asks no service."""
        from starberg.entrypoints.heartbeat import live

        return live(self.home, self.clock.now())

    def rebuild(self, warehouse: str, tables: Sequence[str] = (), *, wait_s: float = 600.0) -> RunResult:
        """Build tables (default: all) from raw and publish; surrogate keys keep their numbers."""
        from starberg.etl.build_writer import BuildOptions
        from starberg.etl.pipeline import RunOptions

        declared = self.warehouse(warehouse)
        _check_tables(declared, tables)
        options = RunOptions(command="rebuild", build=BuildOptions(rebuild=tables or "*"), wait_s=wait_s)
        with pipeline_of(self, declared) as pipeline:
            return pipeline.run(options)

    def restate(
        self, warehouse: str, since: date, until: date, tables: Sequence[str] = (), *, wait_s: float = 600.0
    ) -> RunResult:
        """Derive the history of some keys again from the raw loads that are published, check and publish.

        The keys are those of dimensions with history (`tables`; default: all) that were observed to change, or of which
        a version took effect, from one day to the other, both inclusive. UsageError if there is no such dimension.
        """
        from starberg.etl.build_writer import BuildOptions, Restate
        from starberg.etl.pipeline import RunOptions

        declared = self.warehouse(warehouse)
        _check_tables(declared, tables)
        with_history = [t.name for t in declared.of_kind(Kind.DIMENSION) if getattr(t.header, "is_type2", False)]
        if wrong := [name for name in tables if name not in with_history]:
            raise UsageError(f"{wrong[0]} keeps no history", hint=f"These do: {', '.join(with_history) or 'none'}.")
        if not with_history:
            raise UsageError(f"no dimension of {warehouse} keeps history", hint="Declare `history: type2` in one.")
        if until < since:
            raise UsageError(f"{until} is before {since}", hint="Write --from first day --to last day.")
        options = RunOptions("restate", build=BuildOptions(restate=Restate(since, until, tables)), wait_s=wait_s)
        with pipeline_of(self, declared) as pipeline:
            return pipeline.run(options)

    def verify(self, warehouse: str, *, wait_s: float = 600.0) -> VerifyResult:
        """Compare every published table with a rebuild from raw; publishes nothing."""
        with pipeline_of(self, self.warehouse(warehouse)) as pipeline:
            return pipeline.verify(wait_s)

    def maintain(
        self,
        warehouse: str | None = None,
        *,
        dry_run: bool = False,
        wait_s: float = 600.0,
        policy: Policy | None = None,
    ) -> list[MaintainResult]:
        """Fold the deletes and small files of a warehouse (default: of all that have tables); drop what is too old.

        No row changes. States of the last 7 days, branches, and tags stay; tags of days go after 90. With `dry_run`
        nothing changes at all. Raises StarbergError: Busy, Conflict, LakeError, Unreachable.
        """
        there = {name.split(".")[0] for name in self.look().tables}
        results = []
        for name in [warehouse] if warehouse else sorted(there & set(self.warehouses)):
            with pipeline_of(self, self.warehouse(name)) as pipeline:
                upkeep = pipeline.upkeep(policy)
                results.append(upkeep.outlook() if dry_run else upkeep.run(wait_s))
        return results

    def connect(self, warehouse: str | None = None, at: str | None = None) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB connection with all tables, views and functions, read-only, as they stood at one moment.

        `at` is a run id, a tag or a UTC timestamp. With `warehouse` it has the tables of that one only: opening a table
        costs about 10 ms, and what is wrong with another warehouse is of no concern.
        """
        return self.reader(warehouse, at, own=True, confined=False).connection

    def query(
        self, sql: str, *, warehouse: str | None = None, at: str | None = None, engine: str = "duckdb"
    ) -> QueryResult:
        """Answer one SQL question over one state of the catalog; UsageError for SQL that is wrong or ambiguous.

        The SQL is DuckDB's; another `engine` (dremio, trino, spark) is asked the same, translated.
        """
        if engine != "duckdb":
            from starberg.entrypoints import remote_query

            return remote_query.answer(self, self.open_client(engine), sql, warehouse, at)
        from starberg.entrypoints.query import answer

        return answer(self, sql, warehouse, at)

    def left_by(self, call: str, warehouse: str | None = None) -> str:
        """Return the temporary table that a CALL leaves for the statements after it in one query, if it leaves one."""
        from starberg.entrypoints.query import into

        return into(self, call, warehouse)

    def tables(self, warehouse: str | None = None) -> list[dict[str, Any]]:
        """Return every published table with rows, files, bytes, share of deleted rows and time of last change (UTC).

        Then the views, which have none of these.
        """
        from starberg.entrypoints.library import Library
        from starberg.storage.iceberg_tables import read_table

        rows: list[dict[str, Any]] = []
        state = self.look()
        for name, location in sorted(state.tables.items()):
            if warehouse and not name.startswith(f"{warehouse}."):
                continue
            facts = read_table(self.store, name, location).facts()
            rows.append({"table": name, **facts})
        views = Library(self.warehouses, state).names(Kind.VIEW, warehouse)
        rows += [dict.fromkeys(rows[0]) | {"table": name} for name in sorted(views)]
        if warehouse and not rows:
            self.warehouse(warehouse)
        return rows

    def status(self, warehouse: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return the newest runs first, the live ones (from leases) before those that ended."""
        from starberg.entrypoints.run_status import runs

        return runs(self, warehouse, limit)

    def check(self) -> list[dict[str, Any]]:
        """Try every service and secret; each answer has `name`, `ok`, `detail` and `hint`."""
        from starberg.entrypoints.check_services import check_lake

        return check_lake(self)

    def plan(self, warehouse: str, date: date | None = None, *, sql: bool = False) -> Plan:
        """Return what a run would ask of each source, and what is due for a date; changes nothing.

        With `sql` also the SQL of each table that is due.
        """
        from starberg.entrypoints.job_runs import plan

        return plan(self, warehouse, date, sql=sql)

    def compile(self, table: str) -> str:
        """Return the SQL that computes a table (`warehouse.table`)."""
        from starberg.etl.explain import Compiler

        declared = self.table(table)
        engine = self.open_engine()
        engine.confine([])
        try:
            return Compiler(self.warehouses[declared.warehouse], engine).compiled(declared)
        finally:
            engine.close()

    def explain(self, table: str, key: Sequence[str]) -> dict[str, Any]:
        """Return a row by its key with its SQL, its raw record, its run and its checks."""
        from starberg.entrypoints.explain import explain

        return explain(self, self.table(table), key)

    def new(self, kind: str, name: str) -> list[str]:
        """Write a declaration that runs into the project; return the files written."""
        import starberg.etl.templates as templates

        project = self.project or Path.cwd()
        write = {"warehouse": templates.new_warehouse, "dimension": templates.new_dimension, "fact": templates.new_fact}
        return [str(path) for path in write[kind](project, name)]

    def demo(self, warehouse: str) -> dict[str, Any]:
        """Run a warehouse on its sample source; return the runs, the row counts of its tables, and some answers.

        A source that can change is changed after the first run, and run again.
        """
        from starberg.entrypoints.demo import run_demo

        return run_demo(self, warehouse)

    def seed(
        self,
        warehouse: str,
        urls: Sequence[str] = (),
        *,
        people: int | None = None,
        days: int | None = None,
        until: date | None = None,
        seed: int = 7,
        replace: bool = False,
    ) -> list[dict[str, Any]]:
        """Fill the databases a warehouse reads with sample data; return the rows written, by table.

        The data's past ends where the day `until` begins (UTC; default: today).
        A database is where its `[source=]URL` says, else where the warehouse declares it. UsageError if one is not
        empty, unless `replace`.
        """
        from starberg.entrypoints.operational import seed as fill

        return fill(self, warehouse, urls, people=people, days=days, until=until, seed=seed, replace=replace)

    def mutate(
        self,
        warehouse: str,
        urls: Sequence[str] = (),
        *,
        transactions: int = 1000,
        seed: int = 7,
        sessions: int = 4,
        day: date | None = None,
    ) -> list[dict[str, Any]]:
        """Run transactions in the databases a warehouse reads, as applications would; return what they did, by kind.

        With one session the same seed does the same to the same data. With `day` they take place on that day (UTC).
        """
        from starberg.entrypoints.operational import mutate as live

        return live(self, warehouse, urls, transactions=transactions, seed=seed, sessions=sessions, day=day)

    def warehouse(self, name: str) -> Warehouse:
        """Return a declared warehouse; UsageError lists those there are."""
        self.check_known(name)
        return self.warehouses[name]

    def check_known(self, warehouse: str | None) -> None:
        """Raise UsageError if there is no such warehouse; its declarations are not read."""
        if warehouse is not None and warehouse not in self.warehouses:
            raise UsageError(f"no warehouse {warehouse}", hint=f"There are: {', '.join(sorted(self.warehouses))}.")

    def table(self, name: str) -> Table:
        """Return a declared table by `warehouse.table`, or by a name only one warehouse has."""
        whose = name.split(".")[0]
        looked = [whose] if whose in self.warehouses else self.warehouses  # a mistake elsewhere is not ours
        known = [table for warehouse in looked for table in self.warehouses[warehouse].tables.values()]
        found = [table for table in known if name in (table.id, table.name)]
        if len(found) != 1:
            which = f"{len(found)} warehouses have" if found else "no warehouse has"
            raise UsageError(f"{which} a table {name}", hint="Name it as warehouse.table; see `starberg tables`.")
        return found[0]

    def _ingest_only(self, declared: Warehouse, source: str | None, *, full: bool) -> RunResult:
        run_id, started_at, started = new_run_id(self.clock), self.clock.now(), self.clock.monotonic()
        chains = Chains(self.store, declared.name)
        loads = list(loads_of(self, declared, chains, source, full=full)(run_id))
        duration_ms = round((self.clock.monotonic() - started) * 1000)
        status = Status.SUCCESS if loads else Status.SKIPPED
        return RunResult(run_id, declared.name, status, started_at, self.clock.now(), duration_ms, loads=loads)

    def reader(
        self,
        warehouse: str | None = None,
        at: str | None = None,
        *,
        state: State | None = None,
        only: Collection[str] | None = None,
        own: bool = False,
        confined: bool = True,
        folders: Sequence[str] = (),
    ) -> DuckDBEngine:
        """Open an engine over all tables of one state of the catalog, with views and functions.

        `only` names the tables, views and functions to open, `own` picks the warehouse's. A confined engine reaches the
        lake and `folders`, no other file or address.
        """
        from starberg.entrypoints.library import Library

        self.check_known(warehouse)
        state = state or self.look(at or MAIN)
        library = Library(self.warehouses, state)
        schemas = [warehouse] if warehouse else sorted({name.split(".")[0] for name in state.tables})
        if only is not None:
            picked, items = library.needed(only)
        else:
            picked = {name for name in state.tables if not own or name.split(".")[0] in schemas}
            items = library.all(schemas)
        engine = self.open_engine()
        try:
            if confined:
                engine.confine([self.store.root, *folders])
            engine.attach({name: place for name, place in state.tables.items() if name in picked})
            for schema in schemas:
                engine.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(schema)}")
            library.define(engine, items, strict=only is not None)
            if schemas:
                engine.run(f"SET search_path = {text(','.join(schemas))}")
        except BaseException:
            engine.close()
            raise
        return engine

    def look(self, at: str = MAIN) -> State:
        """Return one state of the catalog; LakeError instead of an empty one that is not this lake's."""
        from starberg.storage.lake_file import check_claim

        state = self.catalog.state(at)
        if not state.tables:
            check_claim(self.store, self.catalog)
        if at != MAIN and not all(self._is_there(location) for location in state.tables.values()):
            hint = "Name a later run, a time within the last days, or one of the tags that `starberg maintain` keeps."
            raise UsageError(f"the state {at} is no longer kept", hint=hint)
        return state

    def _is_there(self, location: str) -> bool:
        """Tell whether a table's metadata file is there; what is not in this lake is not ours to look at."""
        if not location.startswith(f"{self.store.root}/"):
            return True
        return self.store.size(self.store.key(location)) is not None


def _check_tables(declared: Warehouse, names: Sequence[str]) -> None:
    for name in names:
        if name not in declared.tables:
            raise UsageError(f"{declared.name} has no table {name}", hint="See `starberg tables`.")
