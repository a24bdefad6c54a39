"""Periodic snapshots, as SQL: what a SELECT answers over the staging tables as they were at the end of a day.

Each staging table it reads is made from all its changes, as a type 2 dimension is: a row's versions, every column
tracked, each from when it took effect until the next. So a day comes out the same whenever it is built, and a late
change restates the days between when it took effect and the next change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path

from sqlglot import TokenType

from starberg.engines.base import Engine
from starberg.etl import versioned_bridges
from starberg.etl.compile import LOAD, OBSERVED, OP, ROW_NUMBER, RUN, source_select, staging_key, with_relations
from starberg.etl.day_ranges import DAY
from starberg.etl.headers import DimensionHeader, Times
from starberg.etl.history import CHANGED_AT, FIRST, NEVER, History
from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.sql_body import parse_body
from starberg.etl.sql_columns import UNKNOWN, output_columns
from starberg.etl.versioned_bridges import ENDS, STARTS
from starberg.utils.sql import differing, names, quote, quote_name, text


class Snapshots:
    """The rows of one warehouse's staging tables through time, in temporary tables."""

    def __init__(self, warehouse: Warehouse, engine: Engine) -> None:
        self._warehouse = warehouse
        self._engine = engine
        self._made: set[str] = set()

    def source(self, table: Table, days: Collection[date]) -> str:
        """Return a snapshot's rows before lookups, of some days; those of no day have the columns."""
        self._make(table)
        shown = sorted(days) or [date(2000, 1, 1)]
        selects = [self._as_of(table, day) for day in shown]
        every = "\nUNION ALL BY NAME\n".join(selects)
        return every if days else f"SELECT * FROM ({every}) WHERE false"

    def ever(self, table: Table) -> str:
        """Return a snapshot's rows before lookups as if all that ever was were so at once: more keys than any day."""
        self._make(table)
        relations = {name: f"SELECT * EXCLUDE ({STARTS}, {ENDS}) FROM {_relation(table, name)}" for name in table.reads}
        return with_relations(relations, on_day(source_select(table), date(2000, 1, 1)))

    def touched(self, table: Table, name: str, before: str) -> list[tuple[str, str]]:
        """Return the spans, first and last day (ISO), in which a staging table was otherwise than it is now.

        `before` reads its changes as they were; columns that came since are read by nobody yet.
        """
        history = self._history(table, name, {column.name for column in self._engine.columns(f"FROM {before}")})
        key, now = names(list(history.key.values())), quote(history.changes)
        compared = names([*self._columns(history), LOAD, ROW_NUMBER, OP, OBSERVED])
        moved = differing(f"SELECT {compared} FROM {now}", f"SELECT {compared} FROM {before}")
        self._engine.run(f"CREATE OR REPLACE TEMP TABLE changed AS SELECT DISTINCT {key} FROM ({moved})")
        for into, changes in (("versions_before", before), ("versions_now", now)):
            self._engine.run(f"CREATE OR REPLACE TEMP TABLE {into} AS {self._versions(history, changes, 'changed')}")
        return self._differing(list(history.key), self._columns(history))

    def _differing(self, key: Sequence[str], columns: Sequence[str]) -> list[tuple[str, str]]:
        """Return the spans in which a key of `versions_before` has other values in `versions_now`, or is not there."""
        listed = names(list(key))
        bounds = " UNION ".join(
            f"SELECT {listed}, {bound} AS _at FROM {versions}"
            for versions in ("versions_before", "versions_now")
            for bound in (STARTS, ENDS)
        )
        at = " AND ".join(f"v.{quote_name(name)} = p.{quote_name(name)}" for name in key)
        at += f" AND v.{STARTS} <= p._at AND p._at < v.{ENDS}"
        old, new = at.replace("v.", "o."), at.replace("v.", "n.")
        ends_after = self._warehouse.zone.first_to_end_after
        differs = " OR ".join(f"o.{quote_name(c)} IS DISTINCT FROM n.{quote_name(c)}" for c in columns)
        spans = self._engine.rows(
            f"WITH parts AS (SELECT *, lead(_at) OVER (PARTITION BY {listed} ORDER BY _at) AS _next FROM ({bounds})) "
            f"SELECT DISTINCT ({ends_after('p._at')})::VARCHAR, "
            f"CASE WHEN p._next < {NEVER} THEN ({ends_after('p._next')} - 1)::VARCHAR ELSE '9999-12-31' END "
            f"FROM parts p LEFT JOIN versions_before o ON {old} LEFT JOIN versions_now n ON {new} "
            f"WHERE p._next IS NOT NULL AND ({differs}) ORDER BY ALL"
        )
        return [(first, last) for first, last in spans if first <= last]

    def pairs(self, table: Table) -> str:
        """Return the pairs of a bridge with history through time, before lookups."""
        self._make(table)
        found = versioned_bridges.pairs(table, _relation(table, table.reads[0]))
        engines = (LOAD, STARTS, ENDS)
        columns = [column.name for column in self._engine.columns(found) if column.name not in engines]
        return versioned_bridges.through_time(table, f"({found})", columns)

    def views(self, table: Table) -> dict[str, str]:
        """Return the relations of versions that a snapshot is made from, by name."""
        found = {}
        for name in table.reads:
            history = self._history(table, name)
            found[_relation(table, name)] = self._versions(history, quote(history.changes))
        return found

    def _make(self, table: Table) -> None:
        """Fill the temporary tables of versions, once a build for each way to date changes."""
        for relation, select in self.views(table).items():
            if relation not in self._made:
                self._made.add(relation)
                self._engine.run(f"CREATE OR REPLACE TEMP TABLE {relation} AS {select}")

    def _versions(self, history: History, changes: str, touched: str = "") -> str:
        """Return the versions that a relation of changes gives, of all keys or those touched."""
        columns = self._columns(history)
        only = f" SEMI JOIN {touched} USING ({names(list(history.key))})" if touched else ""
        relations = {
            "observations": f"SELECT {names([*columns, LOAD, ROW_NUMBER, OP, OBSERVED])} FROM {changes}{only}",
            "decided": history.decided("observations", unreadable=True),
        }
        # A member of a dimension is valid from ever on; a row is there from when it was made, or first seen.
        return with_relations(
            relations,
            f"SELECT {names([*columns, LOAD], of='o')}, "
            f"CASE WHEN d.effective_from = {FIRST} THEN d.{CHANGED_AT} ELSE d.effective_from END AS {STARTS}, "
            f"coalesce(d.effective_to, {NEVER}) AS {ENDS} "
            f"FROM decided d JOIN observations o USING ({LOAD}, {ROW_NUMBER})",
        )

    def _columns(self, history: History) -> list[str]:
        return [p.name for p in parse_body(history.table.select).projections]

    def _history(self, table: Table, name: str, known: Collection[str] = ()) -> History:
        """Return a staging table's rows as members of a dimension with history that tracks every column (`known`)."""
        staging = self._warehouse.tables[name]
        key = staging_key(staging, self._warehouse)
        times = times_of(table, staging, self._warehouse)
        engines = {RUN, LOAD, ROW_NUMBER, OP, OBSERVED}
        changes = quote(f"{staging.warehouse}.{staging.changes}")
        columns = [c.name for c in self._engine.columns(f"FROM {changes}") if c.name not in engines]
        columns = [name for name in columns if name in known] if known else columns
        header = DimensionHeader(
            natural_key=key,
            history="type2",
            track=[column for column in columns if column not in key],
            **times.model_dump(exclude_defaults=True),
        )
        select = f"SELECT {names(columns)} FROM {quote_name(name)}"
        member = Table(staging.warehouse, Kind.DIMENSION, f"dim_{name}", header, select, Path(), reads=(name,))
        return History(member, staging, {column: column for column in key}, self._warehouse.zone)

    def _as_of(self, table: Table, day: date) -> str:
        end = self._warehouse.zone.start_of(f"TIMESTAMP {text(str(day + DAY))}")
        relations = {
            name: f"SELECT * EXCLUDE ({STARTS}, {ENDS}) FROM {_relation(table, name)} "
            f"WHERE {STARTS} < {end} AND {ENDS} >= {end}"
            for name in table.reads
        }
        return f"SELECT * FROM ({with_relations(relations, on_day(source_select(table), day))})"


def times_of(table: Table, staging: Table, warehouse: Warehouse) -> Times:
    """Return how the changes of a staging table are dated: as the fact says, else as a type 2 dimension of it does."""
    own: dict[str, Times] = getattr(table.header, "times", {})
    if staging.name in own:
        return own[staging.name]
    for other in warehouse.of_kind(Kind.DIMENSION):
        header = other.header
        if isinstance(header, DimensionHeader) and header.is_type2 and other.reads == (staging.name,):
            outputs = output_columns(parse_body(other.select), lambda _: UNKNOWN).by_name
            dated = {f: _source(outputs, getattr(header, f)) for f in ("valid_from", "created_at")}
            if bool(dated["valid_from"]) == bool(header.valid_from):
                return Times(**{name: column for name, column in dated.items() if column}, order=header.order)
    return Times()


def on_day(select: str, day: date) -> str:
    """Return a SELECT with `run_date()` as a day.

    >>> on_day("select run_date() as day, 'run_date()' as said from t", date(2026, 1, 5))
    "select DATE '2026-01-05' as day, 'run_date()' as said from t"
    """
    body = parse_body(select)
    cut, parts = 0, []
    for token, opening, closing in zip(body.tokens, body.tokens[1:], body.tokens[2:], strict=False):
        called = opening.token_type is TokenType.L_PAREN and closing.token_type is TokenType.R_PAREN
        if called and token.token_type is not TokenType.STRING and token.text.lower() == "run_date":
            parts.append(f"{body.text[cut : token.start]}DATE {text(str(day))}")
            cut = closing.end + 1
    return "".join(parts) + body.text[cut:]


def _relation(table: Table, name: str) -> str:
    """Return the temporary table of a staging table's versions, dated as a fact wants them."""
    own = name in getattr(table.header, "times", {})
    return quote_name(f"versions_{name}_{table.name}" if own else f"versions_{name}")


def _source(outputs: Mapping[str, object], name: str) -> str:
    output = outputs.get(name.lower())
    return str(getattr(output, "source", "")) if output else ""


def covered(days: Collection[date], spans: Sequence[tuple[str, str]]) -> set[date]:
    """Return the days whose ends are in some spans."""
    return {day for day in days if any(first <= str(day) <= last for first, last in spans)}
