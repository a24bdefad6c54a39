"""`starberg compile`: the SQL of a table's step, tried on empty tables, so that what compiles also binds."""

from __future__ import annotations

from datetime import date

from starberg.engines.base import Engine
from starberg.etl import dimensions, facts
from starberg.etl.compile import OBSERVED, OP, ROW_NUMBER, dependents_on, lookups, with_relations
from starberg.etl.dates import header_of, is_by_date, zone_of
from starberg.etl.headers import Lookup, StagingHeader
from starberg.etl.history import History, referenced
from starberg.etl.keyed import Refused, keyed
from starberg.etl.model import Kind, Table, Warehouse, needs_history
from starberg.etl.snapshots import Snapshots
from starberg.etl.sql_body import parse_body
from starberg.etl.sql_columns import Columns, key_columns
from starberg.etl.staging import StagingStep
from starberg.etl.surrogate_keys import numbered_versions
from starberg.etl.versioned_bridges import bridge
from starberg.ingestion.columns import json_columns
from starberg.utils.sql import quote, quote_name, text

_DAY = date(2000, 1, 1)


class Compiler:
    """Compiles a warehouse's tables in order over an engine that has none of them."""

    def __init__(self, warehouse: Warehouse, engine: Engine) -> None:
        self._warehouse = warehouse
        self._engine = engine
        engine.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(warehouse.name)}")
        engine.run(f"SET search_path = {text(warehouse.name)}")

    def compiled(self, wanted: Table) -> str:
        """Return the SQL that computes a table, its inputs as temporary views where the engine makes some."""
        for table in self._warehouse.tables.values():
            sql = self._compile(table)
            if table.name == wanted.name:
                return sql
        raise AssertionError(wanted.name)

    def _compile(self, table: Table) -> str:
        match table.kind:
            case Kind.STAGING:
                views = self._staging(table)
            case Kind.DIMENSION:
                views = self._dimension(table)
            case Kind.BRIDGE | Kind.FACT:
                views = self._sources([table])
                source = facts.source_relation(table)
                spans = facts.has_spans(table)
                views[table.id] = (
                    bridge(table, self._warehouse, source) if spans else facts.fact(table, self._warehouse)
                )
            case _:
                views = {table.id: table.select}
        *before, (_, select) = views.items()
        self._engine.run(f"CREATE TABLE {quote(table.id)} AS SELECT *, '' AS _run_id FROM ({select}) LIMIT 0")
        said = [f"-- {self._said(table)}"] if table.kind in (Kind.BRIDGE, Kind.FACT) else []
        return "\n\n".join([*said, *(f"CREATE TEMP VIEW {name} AS\n{sql};" for name, sql in before), f"{select};"])

    def _said(self, table: Table) -> str:
        """Say whether changes are computed by key, and if not, why."""
        if is_by_date(table):
            return "The days that are asked for or due are computed, here 2000-01-01; of others, keys that moved."
        try:
            unit = ", ".join(keyed(table, self._warehouse).unit)
        except Refused as refused:
            return f"Computed in full at every change: {refused}."
        return f"Where few rows may have changed, those with their {unit} are computed and no others."

    def _staging(self, table: Table) -> dict[str, str]:
        assert isinstance(table.header, StagingHeader)
        source, stream = self._warehouse.stream_of(table)
        columns = json_columns(stream, {})
        outputs = key_columns(parse_body(table.select), stream.key, lambda _: Columns.of(columns))
        key = dict(zip(stream.key, outputs, strict=True))
        step = StagingStep(table, [], columns, key, source.timezone, incremental=False)
        views = {"observed": step.observed(), "touched": step.touched()}
        for name, select in views.items():
            self._engine.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
        if self._warehouse.keeps_changes(table):
            name = quote(f"{table.warehouse}.{table.changes}")
            self._engine.run(f"CREATE TABLE {name} AS SELECT *, '' AS _run_id FROM ({step.changes()}) LIMIT 0")
        return views | {table.id: step.wanted()}

    def _dimension(self, table: Table) -> dict[str, str]:
        others = {other.name: other for other, _ in dependents_on(self._warehouse, table.name)}
        views = self._sources(list(others.values()))
        references = [
            found for other in others.values() for found in facts.references(lookups(other), other, table.name)
        ]
        header = dimensions.header_of(table)
        if header.is_type2:
            return views | self._history(History.of(table, self._warehouse), references)
        if header.calendar:
            zone = self._warehouse.zone
            calendar = dimensions.calendar_days(header.calendar, references, zone)
            columns = self._engine.columns(with_relations({"calendar": calendar}, table.select))
            return views | {table.id: dimensions.date_dimension(table, columns, references, zone)}
        columns = self._engine.columns(dimensions.members(table))
        return views | {table.id: dimensions.dimension(table, columns, references, exists=False, mark=0)}

    def _history(self, history: History, references: list[tuple[str, Lookup]]) -> dict[str, str]:
        """The first build's; a later one reads the changes of touched keys alone."""
        seen = self._engine.columns(history.observations())
        types = {column.name: column.type for column in seen}
        columns = [column.name for column in seen if column.name not in (ROW_NUMBER, OP, OBSERVED)]
        views = {
            "referenced": referenced(list(history.key), references, types),
            "observations": history.observations(),
            "decided": history.decided("observations", unreadable=True),
            "versions": history.versions("decided", "observations"),
            "members": history.members("versions", "referenced"),
            "numbered": numbered_versions("members", "", list(history.key), [], history.table.surrogate_key, 0),
        }
        for name, select in views.items():
            self._engine.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
        rows = history.shown("numbered", "observations", columns)
        unknown = history.unknown(self._engine.columns(rows))
        return views | {history.table.id: f"{rows} UNION ALL BY NAME {unknown}"}

    def _sources(self, tables: list[Table]) -> dict[str, str]:
        views: dict[str, str] = {}
        for table in tables:
            views |= self._source(table)
        for name, select in views.items():
            self._engine.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {select}")
        return views

    def _source(self, table: Table) -> dict[str, str]:
        """Return a fact's or bridge's rows before lookups, of one built by date those of a day."""
        source = facts.source_relation(table)
        if facts.has_spans(table):
            snapshots = Snapshots(self._warehouse, self._engine)
            return snapshots.views(table) | {source: snapshots.pairs(table)}
        if not is_by_date(table):
            return {source: facts.source_rows(table)}
        if needs_history(table):
            snapshots = Snapshots(self._warehouse, self._engine)
            return snapshots.views(table) | {source: snapshots.source(table, [_DAY])}
        on_day = zone_of(table, self._warehouse).within(quote_name(header_of(table).date), [_DAY])
        return {source: f"SELECT * FROM ({facts.source_rows(table)}) WHERE {on_day}"}
