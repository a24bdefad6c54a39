"""Build a warehouse's tables on a branch, in order, each by the cheapest strategy that is right.

| strategy | when |
|---|---|
| skip | declaration and inputs are those of the last build |
| incremental | staging with new loads: the keys they touch |
| restate | by request: a dimension with history, and the staging table it is made from, for keys of a range of days |
| dates | facts built by date: the days asked for or due, and keys of other days that moved |
| keys | facts and bridges that are not to be built: keys of members that moved |
| keyed | facts and bridges that pass the gate (`etl/keyed.py`), if few of their rows may have changed: those |
| full | all else: every row is computed and compared, only differences are written; of a dimension with history |
| | the versions of keys with new changes, and of inferred members that come or go |
| rebuild | a changed declaration, or by request: staging from all loads, all else as full |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

from starberg.engines.base import ELSEWHERE, Engine
from starberg.etl import dimensions, facts, graph
from starberg.etl.build_writer import BuildOptions, Touched, Writer, target
from starberg.etl.compile import LOAD, dependents_on, lookups, with_relations
from starberg.etl.control import BuildState
from starberg.etl.control_tables import TABLES
from starberg.etl.dated_build import DatedBuild
from starberg.etl.dates import is_by_date, without_dates
from starberg.etl.fingerprints import edits, fingerprint
from starberg.etl.headers import Lookup
from starberg.etl.history import History
from starberg.etl.history_build import HistoryBuild
from starberg.etl.keyed_build import KeyedBuild
from starberg.etl.model import Kind, Table, Warehouse, needs_history
from starberg.etl.results import TableDifference, TableResult
from starberg.etl.row_delta import Counts
from starberg.etl.selection import selected
from starberg.etl.staging_build import Loaded, StagingBuild, restated_keys
from starberg.etl.versioned_bridges import bridge
from starberg.storage.branch_tables import BranchTables
from starberg.storage.raw_chain import Chains, Manifest
from starberg.utils.clock import Clock
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import quote, quote_name, text


@dataclass
class BuildResult:
    """What a build did, by table.

    `states` are the new build states of tables that have one, `marks` the last loads of those that took some in, `read`
    the records these held, `began` when each was looked at (UTC), `scopes` what was computed of those not computed in
    full, `stale` the tables that were not to be built and are no longer what their inputs say.
    """

    tables: list[TableResult] = field(default_factory=list)
    states: dict[str, BuildState] = field(default_factory=dict)
    marks: dict[str, Manifest] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    began: dict[str, datetime] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    differences: list[TableDifference] = field(default_factory=list)
    scopes: dict[str, Touched] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)


class Build:
    """One build of one warehouse on one branch; temporary tables live in the engine's session."""

    def __init__(
        self,
        warehouse: Warehouse,
        engine: Engine,
        tables: BranchTables,
        chains: Chains,
        run_id: str,
        scratch: Path,
        clock: Clock,
        options: BuildOptions,
    ) -> None:
        self._warehouse = warehouse
        self._engine = engine
        self._tables = tables
        self._writer = Writer(engine, tables, run_id, verify=options.verify)
        self._staging = StagingBuild(warehouse, engine, self._writer, chains, scratch, options)
        self._keyed = KeyedBuild(warehouse, engine, self._writer, tables.pointers)
        today = warehouse.zone.today(clock.now())
        self._dated = DatedBuild(warehouse, engine, self._writer, tables.pointers, options, today)
        self._clock = clock
        self._options = options
        self._states: Mapping[str, BuildState] = {}
        self._sources: set[str] = set()
        self._by_key: set[str] = set()
        self._loaded: dict[str, Loaded] = {}
        self._attached = False
        self._result = BuildResult(
            notes=self._staging.notes, differences=self._writer.differences, scopes=self._writer.scopes
        )

    def run(self, states: Mapping[str, BuildState], loads: Mapping[str, int]) -> BuildResult:
        """Build every table; `states` and `loads` are what the last publish recorded.

        Raises CheckFailed (quarantine), GuardStopped, LakeError, DeclarationError (with `stop_on_edit`).
        """
        self._states = states
        self._engine.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(self._warehouse.name)}")
        self._engine.run(f"SET search_path = {text(self._warehouse.name)}")
        wanted = selected(self._warehouse, self._options.only, self._tables.pointers)
        self._check_declared(wanted)
        for table in self._warehouse.tables.values():
            if table.kind == Kind.CHECK:
                continue
            if table.name not in wanted:
                self._leave(table)
                continue
            started = self._clock.monotonic()
            self._result.began[table.name] = self._clock.now()
            strategy, counts = self._table(table, states.get(table.name), loads)
            duration_ms = round((self._clock.monotonic() - started) * 1000)
            self._result.tables.append(
                TableResult(
                    table.name,
                    strategy,
                    counts.inserted,
                    counts.updated,
                    counts.deleted,
                    duration_ms,
                    self._dated.built(table),
                )
            )
        self._result.notes += [*self._dated.notes, *self._left_over()]
        return self._result

    def _check_declared(self, wanted: Collection[str]) -> None:
        """Refuse what the engine cannot compute before anything is; staging SELECTs are the local engine's."""
        for table in self._warehouse.tables.values():
            computed = table.kind is Kind.CHECK or (table.kind is not Kind.STAGING and table.name in wanted)
            if computed and (problem := self._engine.refused(table.select)):
                raise DeclarationError(str(table.path), problem, hint=ELSEWHERE)

    def _leave(self, table: Table) -> None:
        """Note of a table that is not to be built whether it is stale; new loads do not make staging so.

        A fact's or bridge's rows follow the dimensions all the same.
        """
        state = self._states.get(table.name)
        if state is not None and table.kind in (Kind.FACT, Kind.BRIDGE):
            state = self._rekey(table, state)
        current = table.kind is Kind.STAGING or (
            state is not None and self._inputs(table) == without_dates(dict(state.inputs))
        )
        if not current or self._result.stale & {*graph.inputs(table)}:
            self._result.stale.add(table.name)

    def _rekey(self, table: Table, state: BuildState) -> BuildState:
        """Give a table that is not built the keys its members have now; return its state."""
        now = self._inputs(table)
        followed = {name: now[name] for name in self._dated.rekey.looked_up(table) if name in state.inputs}
        if all(state.inputs[name] == at for name, at in followed.items()):
            return state
        began = self._clock.now()
        self._attach()
        counts = self._dated.rekey.apply(table, state.inputs)
        new_state = replace(state, inputs={**state.inputs, **followed})
        self._result.states[table.name] = new_state
        if counts:
            self._result.began[table.name] = began
            self._result.tables.append(TableResult(table.name, "keys", counts.inserted, counts.updated, counts.deleted))
        return new_state

    def _table(self, table: Table, state: BuildState | None, loads: Mapping[str, int]) -> tuple[str, Counts]:
        declared, parts = fingerprint(table, self._warehouse)
        edited = state is not None and state.fingerprint != declared
        if edited and state:
            self._edited(table, state, parts)
        asked = self._is_asked(table)
        anew = asked or edited or state is None or table.id not in self._tables.pointers
        mark = state.key_mark if state else 0
        if table.kind == Kind.STAGING:
            loaded = self._loaded[table.name] = self._staging.plan(table, loads, anew=anew)
            strategy, inputs, counts = loaded.strategy, loaded.inputs, Counts()
            if loaded.moves_mark:
                self._result.marks[table.name] = loaded.manifests[-1]
            if loaded.is_due:
                self._result.read[table.name] = sum(manifest.rows for manifest in loaded.manifests)
                self._attach()
                counts = self._stage(loaded)
        else:
            inputs, restated = self._inputs(table), self._restated(table)
            known = without_dates(dict(state.inputs)) if state else {}
            days: Sequence[date] = ()
            if is_by_date(table):
                if anew or inputs != known:
                    self._attach()
                plan = self._dated.plan(table, state, inputs, anew=anew)
                days, dates = plan.days, plan.dates.inputs()
            if not anew and not restated and inputs == known and not days:
                return "skip", Counts()
            strategy = "rebuild" if edited or asked else "restate" if restated else "full"
            self._attach()
            counts, mark = self._built(table, mark, state if state and not anew else None)
            strategy = "keyed" if table.name in self._by_key else strategy
            if is_by_date(table):
                strategy, inputs = "dates" if strategy == "full" else strategy, inputs | dates
        new_state = BuildState(declared, parts, inputs, mark)
        if new_state != state:
            self._result.states[table.name] = new_state
        return strategy, counts

    def _is_asked(self, table: Table) -> bool:
        """Return whether a table is to be built anew by request."""
        return "*" in self._options.rebuild or table.name in self._options.rebuild

    def _built(self, table: Table, mark: int, state: BuildState | None) -> tuple[Counts, int]:
        """Compute a table that is not staging; `state` is its last build's, if that may be built upon."""
        if table.kind == Kind.DIMENSION:
            if dimensions.header_of(table).is_type2:
                return self._versions(table, state, mark)
            return self._dimension(table, mark)
        if table.kind == Kind.MART:
            return self._apply(table, list(getattr(table.header, "grain", [])), table.select), mark
        self._source(table)
        if is_by_date(table):
            return self._dated.apply(table), mark
        if facts.has_spans(table):
            rows = bridge(table, self._warehouse, facts.source_relation(table))
            return self._apply(table, list(facts.grain(table)), rows), mark
        if table.name in self._by_key:
            counts = self._keyed.apply(table)
            if counts is not None:
                return counts, mark
            self._by_key.discard(table.name)
            self._writer.temp(facts.source_relation(table), facts.source_rows(table))
        return self._apply(table, list(facts.grain(table)), facts.fact(table, self._warehouse)), mark

    def _edited(self, table: Table, state: BuildState, parts: Mapping[str, str]) -> None:
        said = edits(parts, state.columns, table, self._warehouse)
        if not said:
            return
        what = f"{table.id} was edited ({said})"
        if self._options.stop_on_edit:
            raise DeclarationError(str(table.path), what, hint="Run without --no-rebuild to rebuild it.")
        self._result.notes.append(f"{what}: rebuilt")

    def _left_over(self) -> list[str]:
        """Return a note for each table whose file is gone."""
        changes = [t.changes for t in self._warehouse.of_kind(Kind.STAGING) if self._warehouse.keeps_changes(t)]
        declared = {*self._warehouse.tables, *TABLES, *changes}
        names = sorted(name.split(".", 1)[1] for name in self._writer.published)
        return [
            f"{self._warehouse.name}.{name} is declared nowhere any more: its rows stay as they are"
            for name in names
            if name not in declared and not name.startswith("quarantine_")
        ]

    def _inputs(self, table: Table) -> dict[str, str]:
        """Return what a table reads, with where each stands now."""
        reads = {name if "." in name else f"{table.warehouse}.{name}" for name in table.reads if name != "calendar"}
        read = {*reads}
        for lookup in lookups(table).values():
            read.add(f"{table.warehouse}.{lookup.dimension}")
        if table.kind in (Kind.FACT, Kind.BRIDGE) and needs_history(table):
            read = {f"{name}_changes" if name in reads else name for name in read}
        if table.kind == Kind.DIMENSION:
            if dimensions.header_of(table).is_type2:
                read = {History.of(table, self._warehouse).changes}
            for other, lookup in dependents_on(self._warehouse, table.name):
                if lookup.missing == "infer":
                    read |= {f"{table.warehouse}.{name}" for name in other.reads}
        return {name: self._tables.pointers.get(name, "") for name in sorted(read)}

    def _stage(self, loaded: Loaded) -> Counts:
        """Build a staging table and, if it keeps one, its table of changes, which is told of by itself."""
        counts, changes = self._staging.apply(loaded)
        if changes:
            result = TableResult(
                loaded.table.changes, loaded.strategy, changes.inserted, changes.updated, changes.deleted
            )
            self._result.tables.append(result)
        return counts

    def _restated(self, table: Table) -> bool:
        """Return whether a dimension's history is asked to be restated."""
        asked = self._options.restate
        if asked is None or table.kind is not Kind.DIMENSION or not dimensions.header_of(table).is_type2:
            return False
        return not asked.tables or table.name in asked.tables

    def _changed_keys(self, table: Table, state: BuildState) -> str:
        """Return a SELECT of the natural keys with changes since a dimension was built; nothing if all may have."""
        history = History.of(table, self._warehouse)
        loaded = self._loaded.get(history.staging.name)
        if (
            loaded is None
            or loaded.anew
            or state.inputs.get(history.changes) != self._writer.published.get(history.changes)
        ):
            return ""
        if loaded.restated:
            listed = ", ".join(f"{quote_name(own)} AS {quote_name(name)}" for name, own in history.key.items())
            return f"SELECT {listed} FROM {restated_keys(history.staging)}"
        return history.changed_keys(f"{LOAD} > {loaded.published}")

    def _versions(self, table: Table, state: BuildState | None, mark: int) -> tuple[Counts, int]:
        there = table.id in self._tables.pointers
        before = self._engine.columns(f"SELECT * FROM {quote(table.id)}") if there else []
        history = History.of(table, self._warehouse)
        changed = self._changed_keys(table, state) if state else ""
        loaded = self._loaded.get(history.staging.name)
        build = HistoryBuild(history, self._engine, self._writer, self._references(table))
        published = loaded.published if loaded and changed and not loaded.restated else 0
        scope = self._writer.scopes.get(history.staging.id)
        return build.apply(before, changed, mark, published=published, staged=scope.before if scope else "")

    def _references(self, table: Table) -> list[tuple[str, Lookup]]:
        """Return the relations, computed, whose natural keys may become inferred members of a dimension."""
        dependents = {other.name: other for other, _ in dependents_on(self._warehouse, table.name)}
        references = []
        for other in dependents.values():
            inferring = {c: k for c, k in lookups(other).items() if k.missing == "infer"}
            staged = all(f"{table.warehouse}.{name}" in self._tables.pointers for name in other.reads)
            if staged and any(k.dimension == table.name for k in inferring.values()):
                self._source(other)
                build = self._dated if is_by_date(other) else self._keyed
                references += build.references(other, inferring, table.name)
        return references

    def _dimension(self, table: Table, mark: int) -> tuple[Counts, int]:
        references = self._references(table)
        header, key = dimensions.header_of(table), table.surrogate_key
        if header.calendar:
            calendar = dimensions.calendar_days(header.calendar, references, self._warehouse.zone)
            columns = self._engine.columns(with_relations({"calendar": calendar}, table.select))
            rows = dimensions.date_dimension(table, columns, references, self._warehouse.zone)
            return self._apply(table, [key], rows), 0
        columns = self._engine.columns(dimensions.members(table))
        before = self._tables.load(table.id)
        has = {f.name for f in before.schema.fields} if before else set()
        exists = {*header.natural_key, key} <= has
        select = dimensions.dimension(table, columns, references, exists=exists, mark=mark)
        counts = self._apply(table, [key], select)
        [(highest,)] = self._engine.rows(f"SELECT coalesce(max({quote_name(key)}), 0) FROM computed")
        return counts, max(mark, highest)

    def _source(self, table: Table) -> None:
        """Compute a fact's or bridge's rows before lookups, all or those that changed, once a build."""
        if table.name in self._sources:
            return
        self._sources.add(table.name)
        state = self._states.get(table.name)
        current = (
            state and table.id in self._tables.pointers and state.fingerprint == fingerprint(table, self._warehouse)[0]
        )
        if is_by_date(table):
            self._dated.plan(table, state, self._inputs(table), anew=not current or self._is_asked(table))
            self._dated.source(table)
        elif facts.has_spans(table):
            self._writer.temp(facts.source_relation(table), self._dated.snapshots.pairs(table))
        elif state and current and not self._is_asked(table) and self._keyed.prepare(table, state):
            self._by_key.add(table.name)
        else:
            self._writer.temp(facts.source_relation(table), facts.source_rows(table))

    def _apply(self, table: Table, key: Sequence[str], select: str) -> Counts:
        self._writer.temp("computed", select)
        return self._writer.bring(target(table, key), "computed")

    def _attach(self) -> None:
        """Open the warehouse's tables, once there is something to compute: an idle run reads none of them."""
        if not self._attached:
            self._engine.attach(self._writer.published)
            self._attached = True
