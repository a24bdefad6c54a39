"""Build a warehouse's tables on a branch, in order, each by the cheapest strategy that is right.

| strategy | when |
|---|---|
| skip | declaration and inputs are those of the last build |
| incremental | staging with new loads: the keys they touch |
| full | all else: every row is computed and compared, only differences are written |
| rebuild | a changed declaration, or by request: staging from all loads, all else as full |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from starberg.engines.base import Engine
from starberg.etl import dimensions, facts
from starberg.etl.compile import dependents_on, lookups, with_relations
from starberg.etl.control import BuildState
from starberg.etl.model import Kind, StagingHeader, Table, Warehouse
from starberg.etl.results import TableDifference, TableResult
from starberg.etl.row_delta import BOOKKEEPING, Counts, RowDelta, Target
from starberg.etl.sql_body import fingerprint_parts, parse_body
from starberg.etl.sql_columns import Columns, key_columns
from starberg.etl.staging import StagingStep
from starberg.ingestion.columns import json_columns
from starberg.ingestion.streams import Stream
from starberg.storage.columns import PartitionBy
from starberg.storage.iceberg_tables import BranchTables
from starberg.storage.object_store import ObjectStore
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.errors import CheckFailed, DeclarationError, GuardStopped
from starberg.utils.sql import names, quote_name

COMPILER_VERSION = "1"
"""Part of every fingerprint: raised when the same declaration compiles to other rows."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build. `rebuild` names tables to build anew (`*`: all); `verify` compares instead of trusting."""

    rebuild: Collection[str] = ()
    allow_deletes: Collection[str] = ()
    stop_on_edit: bool = False
    verify: bool = False


@dataclass
class BuildResult:
    """What a build did; `states` are the new build states of tables that have one, `loads` the streams' new marks."""

    tables: list[TableResult] = field(default_factory=list)
    states: dict[str, BuildState] = field(default_factory=dict)
    marks: dict[str, Manifest] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    differences: list[TableDifference] = field(default_factory=list)


class Build:
    """One build of one warehouse on one branch; temporary tables live in the engine's session."""

    def __init__(
        self,
        warehouse: Warehouse,
        engine: Engine,
        tables: BranchTables,
        store: ObjectStore,
        run_id: str,
        scratch: Path,
        clock: Clock,
        options: BuildOptions,
    ) -> None:
        self._warehouse = warehouse
        self._engine = engine
        self._tables = tables
        self._store = store
        self._delta = RowDelta(engine, tables, run_id)
        self._scratch = scratch
        self._clock = clock
        self._options = options
        self._published = dict(tables.pointers)
        self._sources: set[str] = set()
        self._attached = False
        self._result = BuildResult()

    def run(self, states: Mapping[str, BuildState], loads: Mapping[str, int]) -> BuildResult:
        """Build every table; `states` and `loads` are what the last publish recorded.

        Raises CheckFailed (quarantine), GuardStopped, LakeError, DeclarationError (with `stop_on_edit`).
        """
        self._engine.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(self._warehouse.name)}")
        self._engine.run(f"SET search_path = '{self._warehouse.name}'")
        for table in self._warehouse.tables.values():
            if table.kind == Kind.CHECK:
                continue
            started = self._clock.monotonic()
            strategy, counts = self._table(table, states.get(table.name), loads)
            duration_ms = round((self._clock.monotonic() - started) * 1000)
            self._result.tables.append(
                TableResult(table.name, strategy, counts.inserted, counts.updated, counts.deleted, duration_ms)
            )
        return self._result

    def _table(self, table: Table, state: BuildState | None, loads: Mapping[str, int]) -> tuple[str, Counts]:
        fingerprint, columns = self._fingerprint(table)
        edited = state is not None and state.fingerprint != fingerprint
        if edited and state:
            self._edited(table, state, columns)
        asked = "*" in self._options.rebuild or table.name in self._options.rebuild
        anew = asked or edited or state is None or table.id not in self._tables.pointers
        if table.kind == Kind.STAGING:
            strategy, counts, inputs = self._staging(table, loads, anew=anew)
        else:
            inputs = self._inputs(table)
            if not anew and state and inputs == state.inputs:
                return "skip", Counts()
            strategy, counts = ("rebuild" if edited or asked else "full"), Counts()
            self._attach()
        mark = state.key_mark if state else 0
        if table.kind == Kind.DIMENSION:
            counts, mark = self._dimension(table, mark)
        elif table.kind in (Kind.FACT, Kind.BRIDGE):
            self._source(table)
            counts = self._apply(table, list(facts.grain(table)), facts.fact(table, self._warehouse))
        elif table.kind == Kind.MART:
            counts = self._apply(table, list(getattr(table.header, "grain", [])), table.select)
        new_state = BuildState(fingerprint, columns, inputs, mark)
        if new_state != state:
            self._result.states[table.name] = new_state
        return strategy, counts

    def _fingerprint(self, table: Table) -> tuple[str, Mapping[str, str]]:
        """Return the declaration's fingerprint, and the SQL of each column for saying what changed."""
        parts = _parts(table)
        basis: list[object] = [COMPILER_VERSION, dict(parts)]
        if table.kind == Kind.STAGING:
            source, stream = self._warehouse.stream_of(table)
            declared = stream.model_dump(include={"key", "columns", "undeclared", "records"}, mode="json")
            basis += [declared, source.timezone]
        if table.kind == Kind.DIMENSION:
            basis += [_parts(other) for other, _ in dependents_on(self._warehouse, table.name)]
        body = json.dumps(basis, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(body.encode()).hexdigest(), parts

    def _edited(self, table: Table, state: BuildState, columns: Mapping[str, str]) -> None:
        added, gone = sorted(columns.keys() - state.columns.keys()), sorted(state.columns.keys() - columns.keys())
        changed = sorted(name for name in columns.keys() & state.columns.keys() if columns[name] != state.columns[name])
        said = [
            f"{what} {', '.join(name or 'header or FROM' for name in which)}"
            for what, which in (("added", added), ("removed", gone), ("changed", changed))
            if which
        ]
        what = f"{table.id} was edited ({'; '.join(said) or 'what it depends on'})"
        if self._options.stop_on_edit:
            raise DeclarationError(str(table.path), what, hint="Run without --no-rebuild to rebuild it.")
        self._result.notes.append(f"{what}: rebuilt")

    def _inputs(self, table: Table) -> dict[str, str]:
        """Return what a table reads, with where each stands now."""
        read = {name if "." in name else f"{table.warehouse}.{name}" for name in table.reads if name != "calendar"}
        for lookup in lookups(table).values():
            read.add(f"{table.warehouse}.{lookup.dimension}")
        if table.kind == Kind.DIMENSION:
            for other, lookup in dependents_on(self._warehouse, table.name):
                if lookup.missing == "infer":
                    read |= {f"{table.warehouse}.{name}" for name in other.reads}
        return {name: self._tables.pointers.get(name, "") for name in sorted(read)}

    def _staging(self, table: Table, loads: Mapping[str, int], *, anew: bool) -> tuple[str, Counts, dict[str, str]]:
        source, stream = self._warehouse.stream_of(table)
        assert isinstance(table.header, StagingHeader)
        chain = RawStream(self._store, self._warehouse.name, *table.header.stream.split("."))
        published = loads.get(chain.name, 0)
        manifests = chain.loads(0 if anew else published)
        if self._options.verify:
            manifests = [manifest for manifest in manifests if manifest.seq <= published]
        seq = manifests[-1].seq if manifests else published
        if manifests and seq != published:
            self._result.marks[table.name] = manifests[-1]
        parts = [part for manifest in manifests for part in manifest.parts]
        if not anew and not parts:
            return "skip", Counts(), {chain.name: str(seq)}
        self._attach()
        with ThreadPoolExecutor(8) as pool:
            files = [str(path) for path in pool.map(lambda part: chain.fetch(part, self._scratch), parts)]
        pinned = manifests[-1].columns if manifests else {}
        columns = json_columns(stream, pinned)
        outputs = key_columns(parse_body(table.select), stream.key, lambda _: Columns.of(columns))
        key = dict(zip(stream.key, outputs, strict=True))
        step = StagingStep(table, files, columns, key, source.timezone, incremental=not anew)
        counts = self._apply_staging(step, stream)
        return (
            ("rebuild" if anew and published else "incremental" if not anew else "full"),
            counts,
            {chain.name: str(seq)},
        )

    def _apply_staging(self, step: StagingStep, stream: Stream) -> Counts:
        for name, select in (("observed", step.observed()), ("touched", step.touched()), ("wanted", step.wanted())):
            self._temp(name, select)
        self._quarantine(step, stream)
        if step.incremental:
            self._guard(step)
        counts = self._to(step.table, list(step.key.values()), "wanted", scope="touched" if step.incremental else "")
        for name in ("observed", "touched", "wanted"):
            self._engine.run(f"DROP TABLE {name}")
        return counts

    def _quarantine(self, step: StagingStep, stream: Stream) -> None:
        """Move unreadable records aside; CheckFailed if they are more than the table's limit."""
        assert isinstance(step.table.header, StagingHeader)
        limit, name = step.table.header.quarantine, f"{self._warehouse.name}.quarantine_{stream.name}"
        self._temp("quarantined", step.quarantined())
        [(bad, total)] = self._engine.rows(
            "SELECT (SELECT count(*) FROM quarantined), (SELECT count(*) FROM observed WHERE _op = 'U')"
        )
        if bad >= limit.rows and bad > limit.share * total:
            [(column, reason, raw)] = self._engine.rows(
                "SELECT column_name, reason, left(raw_value, 80) FROM quarantined "
                "ORDER BY _load_id, _row_number LIMIT 1"
            )
            raise CheckFailed(
                f"{step.table.id}: {bad} of {total} records of stream {stream.name} cannot be read "
                f"(first: column {column} {reason}: {raw!r})",
                hint="Nothing was published. Correct the column's type in warehouse.yml, or raise `quarantine` in "
                f"{step.table.path.name}.",
            )
        if bad or name in self._tables.pointers:
            scope = "quarantined" if step.incremental else ""
            target = Target(name, ["_load_id", "_row_number"], scope=scope)
            self._delta.apply(target, "quarantined")
        if bad:
            self._result.notes.append(f"{bad} of {total} records of {stream.name} are in {name}")
        self._engine.run("DROP TABLE quarantined")

    def _guard(self, step: StagingStep) -> None:
        """Stop before a publish that would delete more than the table's limit, or everything."""
        assert isinstance(step.table.header, StagingHeader)
        limit, name = step.table.header.guard, step.table.name
        [(live, closed)] = self._engine.rows(step.closed())
        emptied = closed == live > 0
        if not emptied and not (closed >= limit.rows and closed > limit.share * live):
            return
        if name in self._options.allow_deletes:
            self._result.notes.append(f"{closed} of {live} rows of {name} deleted, as --allow-deletes said")
            return
        raise GuardStopped(
            f"{step.table.id}: the source would delete {closed} of {live} rows; nothing was published",
            hint=f"If that is right, run again with --allow-deletes {name}.",
        )

    def _dimension(self, table: Table, mark: int) -> tuple[Counts, int]:
        dependents = {other.name: other for other, _ in dependents_on(self._warehouse, table.name)}
        references = []
        for other in dependents.values():
            inferring = {c: k for c, k in lookups(other).items() if k.missing == "infer"}
            if any(k.dimension == table.name for k in inferring.values()):
                self._source(other)
                references += facts.references(inferring, other, table.name)
        header, key = dimensions.header_of(table), dimensions.surrogate_key(table)
        if header.calendar:
            calendar = dimensions.calendar_days(header.calendar, references)
            columns = self._engine.columns(with_relations({"calendar": calendar}, table.select))
            return self._apply(table, [key], dimensions.date_dimension(table, columns, references)), 0
        columns = self._engine.columns(dimensions.members(table))
        before = self._tables.load(table.id)
        has = {f.name for f in before.schema.fields} if before else set()
        exists = {*header.natural_key, key} <= has
        select = dimensions.dimension(table, columns, references, exists=exists, mark=mark)
        counts = self._apply(table, [key], select, keep="numbered")
        [(highest,)] = self._engine.rows(f"SELECT coalesce(max({quote_name(key)}), 0) FROM numbered")
        self._engine.run("DROP TABLE numbered")
        return counts, max(mark, highest)

    def _source(self, table: Table) -> None:
        """Compute a fact's or bridge's rows before lookups, once a build."""
        if table.name not in self._sources:
            self._temp(facts.source_relation(table), facts.source_rows(table))
            self._sources.add(table.name)

    def _apply(self, table: Table, key: Sequence[str], select: str, keep: str = "") -> Counts:
        relation = keep or "computed"
        self._temp(relation, select)
        counts = self._to(table, key, relation)
        if not keep:
            self._engine.run(f"DROP TABLE {relation}")
        return counts

    def _to(self, table: Table, key: Sequence[str], relation: str, scope: str = "") -> Counts:
        if self._options.verify:
            self._compare(table, relation)
        partition = [PartitionBy.parse(part) for part in getattr(table.header, "partition", [])]
        return self._delta.apply(Target(table.id, key, partition, scope), relation)

    def _compare(self, table: Table, relation: str) -> None:
        """Compare computed rows with the published table, independently of how differences are written."""
        [(rows,)] = self._engine.rows(f"SELECT count(*) FROM {relation}")
        if table.id not in self._published:
            self._result.differences.append(TableDifference(table.name, rows, 0, rows))
            return
        columns = [c.name for c in self._engine.columns(f"SELECT * FROM {relation}") if c.name not in BOOKKEEPING]
        published = f"SELECT {names(columns)} FROM {self._engine.scan(self._published[table.id])}"
        rebuilt = f"SELECT {names(columns)} FROM {relation}"
        [(only_published, only_rebuilt)] = self._engine.rows(
            f"SELECT (SELECT count(*) FROM ({published} EXCEPT ALL {rebuilt})), "
            f"(SELECT count(*) FROM ({rebuilt} EXCEPT ALL {published}))"
        )
        self._result.differences.append(TableDifference(table.name, rows, only_published, only_rebuilt))

    def _attach(self) -> None:
        """Open the warehouse's tables, once there is something to compute: an idle run reads none of them."""
        if not self._attached:
            self._engine.attach(self._published)
            self._attached = True

    def _temp(self, name: str, select: str) -> None:
        self._engine.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")


def _parts(table: Table) -> dict[str, str]:
    return fingerprint_parts(table.select, table.header.model_dump_json())
