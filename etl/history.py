"""Dimensions of type 2, as SQL: versions from all changes of the touched keys, and the numbers they keep.

Versions are never made from versions: each build reads every change of a touched key again, so that a late change, a
delete and a re-add, or several changes in one run come out as if all had been known from the start.

| column | is |
|---|---|
| effective_from, effective_to | the version's interval, half-open, UTC; the end is null while it is current |
| is_current | it has no end |
| is_deleted | the last version of a member that its source has deleted |
| _changed_at | when the change took effect: `effective_from`, but for the first version; null for an inferred member |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starberg.etl.compile import DELETED_AT, LOAD, OBSERVED, OP, ROW_NUMBER, RUN, staging_key, with_relations
from starberg.etl.dimensions import header_of, unknown_member
from starberg.etl.headers import DimensionHeader, Lookup
from starberg.etl.model import UNKNOWN_KEY, Table, Warehouse
from starberg.etl.sql_body import output_name, parse_body
from starberg.etl.sql_columns import Columns, output_columns, with_columns
from starberg.etl.zone import Zone
from starberg.storage.columns import SqlColumn
from starberg.utils.sql import names, quote, quote_name

CHANGED_AT = "_changed_at"
ADDED = ("effective_from", "effective_to", "is_current", "is_deleted", "is_inferred", CHANGED_AT)
"""Columns the engine adds to a dimension's own."""
FIRST = "TIMESTAMP '1900-01-01'"
"""Where the first version starts, if nothing says when the member came to be."""
NEVER = "TIMESTAMP '290000-01-01'"
"""An end that never comes: not infinity, of which DuckDB's Iceberg reader cannot make a month partition's bound."""


@dataclass(frozen=True)
class History:
    """One type 2 dimension. `key` maps its natural key to the columns of its staging table, `zone` is of its dates."""

    table: Table
    staging: Table
    key: Mapping[str, str]
    zone: Zone

    @classmethod
    def of(cls, table: Table, warehouse: Warehouse) -> History:
        """Return the history of a declared dimension."""
        staging = warehouse.tables[table.reads[0]]
        known = Columns.of(staging_key(staging, warehouse), complete=False)
        outputs = output_columns(parse_body(table.select), lambda _: known).by_name
        key = {name: outputs[name.lower()].source for name in header_of(table).natural_key}
        return cls(table, staging, key, warehouse.zone)

    @property
    def header(self) -> DimensionHeader:
        """The dimension's header."""
        return header_of(self.table)

    @property
    def changes(self) -> str:
        """The table, `warehouse.name`, of the changes it is made from."""
        return f"{self.table.warehouse}.{self.staging.changes}"

    @property
    def tracked(self) -> list[str]:
        """The columns whose change makes a version."""
        header = self.header
        others = {*self.key, header.valid_from, header.created_at}
        every = [output_name(projection) for projection in parse_body(self.table.select).projections]
        return header.track or [name for name in every if name not in others]

    @property
    def decisive(self) -> list[str]:
        """The columns of an observation that decide when versions start and end."""
        times = filter(None, (self.header.valid_from, self.header.created_at))
        return list(dict.fromkeys([*self.key, *self.tracked, *times, LOAD, ROW_NUMBER, OP, OBSERVED]))

    def observations(self, touched: str = "", *, after: int = 0, places: str = "") -> str:
        """Return the changes as the dimension sees them.

        By default all; or those of the keys in the relation `touched`, of loads after one, at some `places` (a relation
        of loads and row numbers).
        """
        rows = f"SELECT c.* EXCLUDE ({RUN}) FROM {quote(self.changes)} c"
        if touched:
            on = " AND ".join(f"c.{quote_name(own)} = t.{quote_name(name)}" for name, own in self.key.items())
            rows += f" SEMI JOIN {touched} t ON {on}"
        if places:
            rows += f" SEMI JOIN {places} p USING ({LOAD}, {ROW_NUMBER})"
        if after:
            rows += f" WHERE c.{LOAD} > {after}"
        select = with_columns(parse_body(self.table.select), [LOAD, ROW_NUMBER, OP, OBSERVED])
        return with_relations({self.staging.name: rows}, select)

    def changed_keys(self, condition: str) -> str:
        """Return the natural keys of changes for which a condition holds."""
        listed = ", ".join(f"{quote_name(own)} AS {quote_name(name)}" for name, own in self.key.items())
        return f"SELECT DISTINCT {listed} FROM {quote(self.changes)} WHERE {condition}"

    def decided(self, observations: str, *, unreadable: bool) -> str:
        """Return the versions that a relation of observations gives: what is engine's of them and where their last
        observation stands, in key, `_load_id`, `_row_number`, `_place` (from 1), and most of `ADDED`.

        A change takes effect at its declared time, else when it was observed. Of changes at one instant the last to
        arrive stands. A version ends where the next change of a tracked column, or the delete, takes effect.
        `unreadable` says that some observations are of records that could not be read.
        """
        key, header, tracked = names(list(self.key)), self.header, self.tracked
        was = ", ".join(f"lag({quote_name(name)}) OVER w AS _was{n}" for n, name in enumerate(tracked))
        moved = " OR ".join(f"{quote_name(name)} IS DISTINCT FROM _was{n}" for n, name in enumerate(tracked))
        born = self.zone.moment_of(quote_name(header.created_at)) if header.created_at else "NULL::TIMESTAMP"
        relations = self._accepted(observations, unreadable=unreadable) | {
            "based": f"SELECT *, coalesce(_valid, {OBSERVED}) AS _base FROM changes",
            "effective": _effective(key, by_valid_time=header.order == "valid_time"),
            "last_at_once": (
                f"SELECT * FROM effective QUALIFY row_number() OVER (PARTITION BY {key}, _at ORDER BY _seq DESC) = 1"
            ),
            "compared": (
                f"SELECT *, lag({OP}) OVER w AS _was{', ' + was if was else ''} "
                f"FROM last_at_once WINDOW w AS (PARTITION BY {key} ORDER BY _at)"
            ),
            "stepped": (
                f"SELECT *, CASE WHEN _was IS NULL THEN {OP} = 'U' "
                f"ELSE {OP} <> _was OR ({OP} = 'U' AND ({moved or 'false'})) END::BIGINT AS _step FROM compared"
            ),
            "dated": (
                f"SELECT *, max(CASE WHEN _step = 1 THEN _at END) OVER w AS {CHANGED_AT}, "
                "lead(_step, 1, 1) OVER w AS _ends "
                f"FROM stepped WINDOW w AS (PARTITION BY {key} ORDER BY _at)"
            ),
            "followed": (
                "SELECT *, row_number() OVER w AS _place, "
                f"lead({CHANGED_AT}) OVER w AS _next, lead({OP}) OVER w AS _next_op, lead({OP}, 2) OVER w AS _then_op "
                f"FROM dated WHERE {CHANGED_AT} IS NOT NULL AND _ends = 1 "
                f"WINDOW w AS (PARTITION BY {key} ORDER BY {CHANGED_AT})"
            ),
        }
        first = f"least(coalesce({born}, {FIRST}), {CHANGED_AT})"
        return with_relations(
            relations,
            f"SELECT {key}, {LOAD}, {ROW_NUMBER}, {CHANGED_AT}, _place, "
            f"CASE WHEN _place = 1 THEN {first} ELSE {CHANGED_AT} END AS effective_from, _next AS effective_to, "
            "_next IS NULL AS is_current, "
            "_next_op IS NOT NULL AND _next_op = 'D' AND _then_op IS NULL AS is_deleted, false AS is_inferred "
            f"FROM followed WHERE {OP} = 'U'",
        )

    def versions(self, decided: str, observations: str) -> str:
        """Return decided versions with the tracked columns as their last observations have them."""
        tracked = "".join(f", o.{quote_name(name)}" for name in self.tracked)
        return f"SELECT v.*{tracked} FROM {decided} v JOIN {observations} o USING ({LOAD}, {ROW_NUMBER})"

    def shown(self, numbered: str, values: str, columns: Sequence[str]) -> str:
        """Return numbered versions in all of the dimension's columns; `values` has them by load and row number."""
        own = {name.lower() for name in (*self.key, LOAD)}
        listed = ", ".join(f"{'n' if name.lower() in own else 'o'}.{quote_name(name)}" for name in columns)
        return (
            f"SELECT n.{quote_name(self.table.surrogate_key)}, {listed}, {names([CHANGED_AT, *ADDED[:-1]], of='n')} "
            f"FROM {numbered} n LEFT JOIN {values} o USING ({LOAD}, {ROW_NUMBER})"
        )

    def staged_values(self, before: str, versions: str, alone: str, columns: Sequence[str]) -> str:
        """Return the values of versions whose last observation staging had, before the build, as its live row.

        `alone` has the keys and loads with a single observation: a live row of that load has its values.
        """
        key = names([*self.key, LOAD])
        rows = f"SELECT * EXCLUDE ({DELETED_AT}, {RUN}, _file, _pos) FROM {before} WHERE {DELETED_AT} IS NULL"
        select = with_relations({self.staging.name: rows}, with_columns(parse_body(self.table.select), [LOAD]))
        return (
            f"SELECT {names(list(columns), of='k')}, v.{ROW_NUMBER} FROM ({select}) k "
            f"JOIN (SELECT DISTINCT {key}, {ROW_NUMBER} FROM {versions}) v USING ({key}) "
            f"SEMI JOIN {alone} USING ({key})"
        )

    def alone(self, observations: str) -> str:
        """Return the keys and loads with a single observation of a relation: key and load tell which it is."""
        key = names([*self.key, LOAD])
        return f"SELECT {key} FROM {observations} WHERE {OP} = 'U' GROUP BY ALL HAVING count(*) = 1"

    def kept(self, numbered: str, old: str, alone: str) -> str:
        """Return the old versions that have the number, span and flags of a numbered one.

        `_sure` tells that they show the same observation too; of others a column that is not tracked may differ.
        """
        alike = " AND ".join(f"n.{name} IS NOT DISTINCT FROM o.{name}" for name in ADDED)
        return (
            f"SELECT o.*, n.is_inferred OR (n.{LOAD} = o.{LOAD} AND a.{LOAD} IS NOT NULL) AS _sure "
            f"FROM {old} o JOIN {numbered} n USING ({quote_name(self.table.surrogate_key)}) "
            f"LEFT JOIN {alone} a ON {_same('a', 'n', [*self.key, LOAD])} "
            f"WHERE {_same('n', 'o', list(self.key))} AND {alike}"
        )

    def _accepted(self, observations: str, *, unreadable: bool) -> dict[str, str]:
        """Return the relation `changes`, with order of arrival and declared time, and what it is made from."""
        key, valid_from = names(list(self.key)), self.header.valid_from
        dated = self.zone.moment_of(quote_name(valid_from)) if valid_from else "NULL::TIMESTAMP"
        order = f"PARTITION BY {key} ORDER BY {LOAD}, {ROW_NUMBER}"
        arrived = f"SELECT {names(self.decisive)}, row_number() OVER ({order}) AS _seq FROM {observations}"
        accepted = (
            f"SELECT * REPLACE (CASE {OP} WHEN 'X' THEN 'D' ELSE {OP} END AS {OP}), "
            f"CASE WHEN {OP} = 'U' THEN {dated} END AS _valid FROM arrived WHERE {OP} <> 'P'"
        )
        if not unreadable:
            return {"arrived": arrived, "changes": accepted}
        seen = (
            f"SELECT *, lag({OP}) OVER w AS _before, max(_seq) FILTER ({OP} IN ('U', 'X')) OVER w AS _good "
            f"FROM arrived WINDOW w AS (PARTITION BY {key} ORDER BY _seq)"
        )
        # A record that cannot be read says that its key is there: after a delete, with its last good values.
        revived = (
            f"SELECT g.* EXCLUDE (_before, _good) REPLACE (p._seq AS _seq, p.{OBSERVED} AS {OBSERVED}) "
            f"FROM seen p JOIN seen g ON {_same('p', 'g', list(self.key))} AND g._seq = p._good "
            f"WHERE p.{OP} = 'P' AND p._before = 'D' AND g.{OP} = 'U'"
        )
        return {"arrived": arrived, "seen": seen, "changes": f"{accepted} UNION ALL BY NAME {revived}"}

    def members(self, versions: str, referenced: str) -> str:
        """Return the versions with one from 1900 for each referenced key that has none: its inferred member."""
        same = _same("v", "r", list(self.key))
        return (
            f"SELECT * FROM {versions} UNION ALL BY NAME "
            f"SELECT {names(list(self.key), of='r')}, {FIRST} AS effective_from, NULL::TIMESTAMP AS effective_to, "
            f"true AS is_current, false AS is_deleted, true AS is_inferred, NULL::TIMESTAMP AS {CHANGED_AT}, "
            f"1::BIGINT AS _place FROM {referenced} r WHERE NOT EXISTS (FROM {versions} v WHERE {same})"
        )

    def unknown(self, columns: Sequence[SqlColumn]) -> str:
        """Return the unknown member; `columns` are those `shown`."""
        row = unknown_member(self.table.surrogate_key, columns, skip=[*self.key, *ADDED, LOAD])
        return f"SELECT *, {FIRST} AS effective_from, true AS is_current FROM ({row})"

    def touched(self, changed: str, referenced: str, known: str) -> str:
        """Return the keys to compute again: the changed ones, and those whose inferred member comes or goes.

        `known` is the dimension as it is.
        """
        listed, same = names(list(self.key)), _same("r", "d", list(self.key))
        key = quote_name(self.table.surrogate_key)
        return (
            f"{changed} UNION SELECT {listed} FROM {referenced} r WHERE NOT EXISTS (FROM {known} d WHERE {same}) "
            f"UNION SELECT {listed} FROM {known} d WHERE is_inferred AND {key} <> {UNKNOWN_KEY} "
            f"AND NOT EXISTS (FROM {referenced} r WHERE {same})"
        )


def referenced(key: Sequence[str], references: Sequence[tuple[str, Lookup]], types: Mapping[str, str]) -> str:
    """Return the natural keys that relations look up, each once, in the dimension's types."""
    selects = []
    for relation, lookup in references:
        pairs = lookup.pairs(list(key))
        listed = ", ".join(f"CAST({quote_name(own)} AS {types[name]}) AS {quote_name(name)}" for name, own in pairs)
        present = " AND ".join(f"{quote_name(own)} IS NOT NULL" for _, own in pairs)
        selects.append(f"SELECT DISTINCT {listed} FROM {relation} WHERE {present}")
    nothing = ", ".join(f"NULL::{types[name]} AS {quote_name(name)}" for name in key)
    return " UNION ".join(selects) or f"SELECT {nothing} WHERE false"


def valid_versions(table: Table) -> str:
    """Return a dimension's versions, each with `_until`, where the next one of its member starts."""
    key = names(header_of(table).natural_key)
    return (
        f"(SELECT {key}, {quote_name(table.surrogate_key)}, effective_from, "
        f"lead(effective_from, 1, {NEVER}) OVER (PARTITION BY {key} ORDER BY effective_from) AS _until "
        f"FROM {quote(table.id)} WHERE {quote_name(table.surrogate_key)} <> {UNKNOWN_KEY})"
    )


def valid_at(version: str, fact: str, as_of: str, zone: Zone) -> str:
    """Return the condition that a version is the one valid at a fact's time, or the newest where no time is named."""
    if not as_of:
        return f"{version}._until = {NEVER}"
    at = zone.moment_of(f"{fact}.{quote_name(as_of)}")
    return f"{at} >= {version}.effective_from AND {at} < {version}._until"


def _effective(key: str, *, by_valid_time: bool) -> str:
    """Return when each change takes effect, `_at`.

    Where arrival decides the state, a change never takes effect before one that arrived earlier.
    """
    if by_valid_time:
        return "SELECT *, _base AS _at FROM based"
    earlier = f"PARTITION BY {key} ORDER BY _seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    late = f"SELECT *, max(_base) OVER ({earlier}) AS _latest FROM based"
    own = f"CASE WHEN _latest IS NULL OR _base > _latest THEN _base ELSE greatest({OBSERVED}, _latest) END"
    return f"SELECT * EXCLUDE (_latest), max({own}) OVER (PARTITION BY {key} ORDER BY _seq) AS _at FROM ({late})"


def _same(one: str, other: str, key: Sequence[str]) -> str:
    return " AND ".join(f"{one}.{quote_name(name)} = {other}.{quote_name(name)}" for name in key)
