"""Published facts and bridges follow their dimensions: rows that look up a member with another key get that key.

A fact keeps the natural keys and the times it looked up, so its rows need not be made again: not those of days that are
not built, and not those of a table that a run leaves as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from starberg.engines.base import Engine
from starberg.etl.build_writer import Writer, target
from starberg.etl.compile import RUN, lookups
from starberg.etl.dimensions import header_of
from starberg.etl.facts import grain, looked_up
from starberg.etl.headers import Lookup
from starberg.etl.model import UNKNOWN_KEY, Table, Warehouse
from starberg.etl.row_delta import Counts
from starberg.utils.sql import differing, names, quote, quote_name

FILE, POS = "_file", "_pos"


def placed(scan: str) -> str:
    """Return the SELECT of a scan's rows with where each stands, without a condition; the scan is `s`."""
    return f"SELECT s.* EXCLUDE (filename, file_row_number), filename AS {FILE}, file_row_number AS {POS} FROM {scan} s"


class Rekey:
    """Looks keys up again; `pointers` are the tables of the branch."""

    def __init__(self, warehouse: Warehouse, engine: Engine, writer: Writer, pointers: Mapping[str, str]) -> None:
        self._warehouse = warehouse
        self._engine = engine
        self._writer = writer
        self._pointers = pointers

    def find(self, table: Table, inputs: Mapping[str, str], but: str = "false") -> str:
        """Collect the published rows whose members may have other keys than when `inputs` were read.

        Returns the temporary table of them, with where they stand; nothing if there are none. `but` are rows to leave.
        """
        moved = list(self._moved(table, inputs))
        if not moved or table.id not in self._pointers:
            return ""
        relation = quote_name(f"rekeyed_{table.name}")
        scan = self._engine.scan(self._pointers[table.id])
        self._writer.temp(relation, f"{placed(scan)} WHERE ({' OR '.join(moved)}) AND NOT coalesce({but}, false)")
        [(count,)] = self._engine.rows(f"SELECT count(*) FROM {relation}")
        return relation if count else ""

    def rows(self, table: Table, found: str) -> str:
        """Return such rows with the keys their members have now."""
        keys, joins = looked_up(table, self._warehouse)
        listed = ", ".join(f"{key} AS {quote_name(column)}" for column, key in keys.items())
        return f"SELECT s.* EXCLUDE ({FILE}, {POS}, {RUN}) REPLACE ({listed}) FROM {found} s{joins}"

    def apply(self, table: Table, inputs: Mapping[str, str]) -> Counts:
        """Give the rows of a table that is not built the keys their members have now."""
        found = self.find(table, inputs)
        if not found:
            return Counts()
        self._writer.temp("computed", self.rows(table, found))
        return self._writer.bring(target(table, list(grain(table)), found, old=found), "computed")

    def looked_up(self, table: Table) -> set[str]:
        """Return the dimensions (`warehouse.table`) a table looks up."""
        return {f"{table.warehouse}.{lookup.dimension}" for lookup in lookups(table).values()}

    def _moved(self, table: Table, inputs: Mapping[str, str]) -> Iterator[str]:
        """Yield, for each lookup in a dimension that moved, the condition that a row `s` may have another key."""
        for number, lookup in enumerate(lookups(table).values()):
            dimension = self._warehouse.tables[lookup.dimension]
            before, now = inputs.get(dimension.id, ""), self._pointers.get(dimension.id, "")
            if not before or not now or before == now:
                continue
            header = header_of(dimension)
            if header.calendar:
                if lookup.missing == "unknown":
                    yield f"s.{quote_name(lookup.own_columns()[0])} IS NOT NULL"
                continue
            members = quote_name(f"moved_{number}")
            self._writer.temp(members, self._members(dimension, before))
            yield _looks_up(lookup, header.natural_key, members)

    def _members(self, dimension: Table, before: str) -> str:
        """Return the natural keys of members that have other keys, or versions from other times, than before."""
        header = header_of(dimension)
        key, number = names(header.natural_key), quote_name(dimension.surrogate_key)
        was = self._engine.scan(before)
        compared = [*header.natural_key, dimension.surrogate_key, *(["effective_from"] if header.is_type2 else [])]
        if not {*compared} <= {column.name for column in self._engine.columns(f"FROM {was}")}:
            return f"SELECT DISTINCT {key} FROM {quote(dimension.id)}"
        touched = self._writer.scopes.get(dimension.id) if before == self._writer.published.get(dimension.id) else None
        only = f" SEMI JOIN {touched.keys} USING ({key})" if touched else ""
        one, other = (
            f"SELECT {names(compared)} FROM {of}{only} WHERE {number} <> {UNKNOWN_KEY}"
            for of in (was, quote(dimension.id))
        )
        return f"SELECT DISTINCT {key} FROM ({differing(one, other)})"


def _looks_up(lookup: Lookup, natural_key: list[str], members: str) -> str:
    pairs = lookup.pairs(natural_key)
    on = " AND ".join(f"m.{quote_name(natural)} = s.{quote_name(own)}" for natural, own in pairs)
    return f"EXISTS (FROM {members} m WHERE {on})"
