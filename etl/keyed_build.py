"""Build facts and bridges by key: the units that new loads, and members that got other keys, can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starberg.engines.base import Engine
from starberg.etl import dimensions, facts
from starberg.etl.build_writer import Writer, target
from starberg.etl.compile import lookups, staging_key
from starberg.etl.control import BuildState
from starberg.etl.headers import Lookup
from starberg.etl.keyed import Keyed, Refused, keyed
from starberg.etl.model import UNKNOWN_KEY, Table, Warehouse
from starberg.etl.row_delta import Counts
from starberg.utils.sql import names, quote, quote_name

KEYED_SHARE = 0.2
"""Units are computed by key if they are at most so many for each row of the driver."""


@dataclass(frozen=True)
class _Part:
    """A table that is computed by key: its units stand in a temporary table, its state is its last build's."""

    how: Keyed
    units: str
    state: BuildState


class KeyedBuild:
    """Decides once a build for each table whether it is computed by key, and computes it so.

    Staging is built before anything is asked; dimensions before a table is applied.
    """

    def __init__(self, warehouse: Warehouse, engine: Engine, writer: Writer, pointers: Mapping[str, str]) -> None:
        self._warehouse = warehouse
        self._engine = engine
        self._writer = writer
        self._pointers = pointers
        self._parts: dict[str, _Part] = {}

    def prepare(self, table: Table, state: BuildState) -> bool:
        """Compute the rows before lookups of the units that new loads reach; False if the table is to be built whole.

        `state` is its last build's.
        """
        try:
            how = keyed(table, self._warehouse)
            selects = [select for name in table.reads for select in self._reached(how, name, state)]
        except Refused:
            return False
        part = _Part(how, quote_name(f"units_{table.name}"), state)
        if not self._fill(part, selects):
            return False
        self._parts[table.name] = part
        return True

    def references(self, table: Table, inferring: Mapping[str, Lookup], dimension: str) -> list[tuple[str, Lookup]]:
        """Return the relations through which a table will refer to a dimension, prepared or not."""
        part = self._parts.get(table.name)
        if part is None:
            return facts.references(inferring, table, dimension)
        own = names(list(dict.fromkeys(own for lookup in inferring.values() for own in lookup.read_columns())))
        unit = names(list(part.how.unit))
        others = f"SELECT {own} FROM {quote(table.id)} ANTI JOIN {part.units} USING ({unit})"
        rows = f"(SELECT {own} FROM {facts.source_relation(table)} UNION ALL {others})"
        return facts.references(inferring, table, dimension, rows)

    def apply(self, table: Table) -> Counts | None:
        """Bring a prepared table's units to what they are now; None if it is to be computed whole after all."""
        part = self._parts.pop(table.name, None)
        if part is None:
            return None
        try:
            selects = [select for lookup in lookups(table).values() for select in self._rekeyed(part, lookup)]
        except Refused:
            return None
        if selects and not self._fill(part, [f"FROM {part.units}", *selects]):
            return None
        self._writer.temp("computed", facts.fact(table, self._warehouse))
        return self._writer.bring(target(table, list(facts.grain(table)), part.units, list(part.how.unit)), "computed")

    def _fill(self, part: _Part, selects: Sequence[str]) -> bool:
        """Make the table of units and compute their source rows; False if they are too many, or one has a null."""
        how, unit = part.how, list(part.how.unit)
        nothing = f"SELECT {names(unit)} FROM {quote(how.table.id)} WHERE false"
        self._writer.temp("reached", " UNION ".join([*selects, nothing]))
        self._writer.temp(part.units, "FROM reached")
        nulls = " OR ".join(f"{quote_name(name)} IS NULL" for name in unit)
        driver = quote(self._driver(how))
        [(units, null, rows)] = self._engine.rows(
            f"SELECT count(*), count(*) FILTER ({nulls}), (SELECT count(*) FROM {driver}) FROM {part.units}"
        )
        if null or units > KEYED_SHARE * rows:
            return False
        narrow = {how.driver: lambda rows: how.of_units(rows, part.units)}
        self._writer.temp(facts.source_relation(how.table), facts.source_rows(how.table, narrow))
        return True

    def _reached(self, how: Keyed, name: str, state: BuildState) -> list[str]:
        """Return SELECTs of the units that the new loads of an input reach; Refused if they cannot be told."""
        staging = self._warehouse.tables[name]
        published, now = self._writer.published.get(staging.id), self._pointers.get(staging.id)
        if published is None or state.inputs.get(staging.id) != published:
            raise Refused(f"{name} was published since")
        if now == published:
            return []
        touched = self._writer.scopes.get(staging.id)
        if touched is None:
            raise Refused(f"{name} was built whole")
        key = names(staging_key(staging, self._warehouse))

        def rows(columns: Sequence[str]) -> str:
            """The touched rows, as they were and as they are."""
            both = (quote(staging.id), self._engine.scan(published))
            selects = (f"SELECT {names(list(columns))} FROM {of} SEMI JOIN {touched.keys} USING ({key})" for of in both)
            return f"({' UNION ALL '.join(selects)})"

        if name == how.driver:
            return [how.driven(rows(list(how.unit.values())))]
        return [how.reached(to, rows(list(to.on)), quote(self._driver(how))) for to in how.joined if to.table == name]

    def _driver(self, how: Keyed) -> str:
        return f"{self._warehouse.name}.{how.driver}"

    def _rekeyed(self, part: _Part, lookup: Lookup) -> list[str]:
        """Return SELECTs of the units whose rows look up a member with other keys than before, or another version."""
        dimension = self._warehouse.tables[lookup.dimension]
        header = dimensions.header_of(dimension)
        if header.calendar and lookup.missing != "unknown":
            return []  # Its key is computed from the date.
        published, now = self._writer.published.get(dimension.id), self._pointers.get(dimension.id)
        if published is None or part.state.inputs.get(dimension.id) != published:
            raise Refused(f"{dimension.name} was published since")
        if now == published:
            return []
        if header.calendar:
            raise Refused(f"{dimension.name} changed")
        return [part.how.looking_up(lookup.pairs(header.natural_key), self._moved(dimension, published))]

    def _moved(self, dimension: Table, published: str) -> str:
        """Return the natural keys of a dimension whose key may be another than was published."""
        header = dimensions.header_of(dimension)
        if header.is_type2:
            touched = self._writer.scopes.get(dimension.id)
            if touched is None:
                raise Refused(f"{dimension.name} was built whole")
            return touched.keys
        there = {column.name for column in self._engine.columns(f"FROM {self._engine.scan(published)}")}
        if not {*header.natural_key, dimension.surrogate_key} <= there:
            raise Refused(f"{dimension.name} had other key columns")
        key, number = names(header.natural_key), quote_name(dimension.surrogate_key)
        was = f"SELECT {key}, {number} FROM {self._engine.scan(published)} WHERE {number} <> {UNKNOWN_KEY}"
        now = f"SELECT {key}, {number} FROM {quote(dimension.id)} WHERE {number} <> {UNKNOWN_KEY}"
        return f"(SELECT {key} FROM (({was} EXCEPT {now}) UNION ALL ({now} EXCEPT {was})))"
