"""Bridges with history, as SQL: each pair for every span in which it, its weight and its members' versions were so.

A bridge `history: type2` reads one staging table; its pairs through time are made from that table's versions, as those
of a snapshot are. A span ends where the pair goes, where its group gets or loses a pair (with `weight: equal`), and
where a type 2 member gets another version. At each moment a pair has one row.
"""

from __future__ import annotations

from collections.abc import Sequence

from starberg.etl.compile import LOAD, driver, lookups, source_select, with_relations
from starberg.etl.dimensions import header_of
from starberg.etl.facts import group, looked_up
from starberg.etl.headers import BridgeHeader
from starberg.etl.history import FIRST, NEVER, valid_versions
from starberg.etl.model import Table, Warehouse
from starberg.etl.sql_body import parse_body
from starberg.etl.sql_columns import with_columns
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import names, quote_name

STARTS, ENDS = "_starts", "_ends"
"""The half-open interval (UTC) in which a row was so."""


def pairs(table: Table, versions: str) -> str:
    """Return a bridge's pairs before lookups, each with its interval; `versions` are those of what it reads."""
    if not driver(table):
        hint = "Read one staging table, without GROUP BY or DISTINCT."
        raise DeclarationError(f"{table.path}: history", "the SELECT's rows are not rows of a staging table", hint=hint)
    select = with_columns(parse_body(source_select(table)), [STARTS, ENDS])
    return with_relations({table.reads[0]: f"FROM {versions}"}, select)


def through_time(table: Table, relation: str, columns: Sequence[str]) -> str:
    """Return the pairs of a relation with spans as long as they are; with `weight: equal` also their weights."""
    assert isinstance(table.header, BridgeHeader)
    if table.header.weight != "equal":
        return _joined_up(relation, columns)
    by = names(list(group(table.header)))
    bounds = " UNION ".join(f"SELECT {by}, {bound} AS _at FROM whole" for bound in (STARTS, ENDS))
    same = " AND ".join(f"p.{quote_name(c)} IS NOT DISTINCT FROM w.{quote_name(c)}" for c in group(table.header))
    among = names(list(group(table.header)), of="w")
    relations = {
        "whole": _joined_up(relation, columns),
        "parts": f"SELECT *, lead(_at) OVER (PARTITION BY {by} ORDER BY _at) AS _next FROM ({bounds})",
        "weighed": (
            f"SELECT w.* EXCLUDE ({STARTS}, {ENDS}), p._at AS {STARTS}, p._next AS {ENDS}, "
            f"1.0::DOUBLE / count(*) OVER (PARTITION BY {among}, p._at) AS weight "
            f"FROM whole w JOIN parts p ON {same} AND p._at >= w.{STARTS} AND p._next <= w.{ENDS}"
        ),
    }
    return with_relations(relations, _joined_up("weighed", [*columns, "weight"]))


def bridge(table: Table, warehouse: Warehouse, source: str) -> str:
    """Return all rows of a bridge with history, from its pairs through time."""
    joins, starts, ends = [], [f"s.{STARTS}"], [f"s.{ENDS}"]
    keys, others = looked_up(table, warehouse, but_type2=True)
    for number, (column, lookup) in enumerate(lookups(table).items()):
        target = warehouse.tables[lookup.dimension]
        if not header_of(target).is_type2:
            continue
        key, alias = names(header_of(target).natural_key), f"d{number}"
        pairs_on = lookup.pairs(header_of(target).natural_key)
        on = " AND ".join(f"{alias}.{quote_name(natural)} = s.{quote_name(own)}" for natural, own in pairs_on)
        # What was before a member's first version belongs to that version.
        first = f"CASE WHEN lag(_until) OVER (PARTITION BY {key} ORDER BY _until) IS NULL THEN {FIRST} "
        versions = (
            f"(SELECT * REPLACE ({first} ELSE effective_from END AS effective_from) FROM {valid_versions(target)})"
        )
        on += f" AND {alias}.effective_from < s.{ENDS} AND {alias}._until > s.{STARTS}"
        joins.append(f"\nLEFT JOIN {versions} {alias} ON {on}")
        starts.append(f"coalesce({alias}.effective_from, s.{STARTS})")
        ends.append(f"coalesce({alias}._until, s.{ENDS})")
        keys[column] = f"coalesce({alias}.{quote_name(target.surrogate_key)}, 0)::BIGINT"
    listed = "".join(f", {keys[column]} AS {quote_name(column)}" for column in lookups(table))
    since, until = f"greatest({', '.join(starts)})", f"least({', '.join(ends)})"
    return (
        f"SELECT s.* EXCLUDE ({LOAD}, {STARTS}, {ENDS}){listed}, {since} AS effective_from, "
        f"nullif({until}, {NEVER}) AS effective_to, {until} = {NEVER} AS is_current, s.{LOAD} "
        f"FROM {source} s{others}{''.join(joins)} WHERE {since} < {until}"
    )


def _joined_up(relation: str, columns: Sequence[str]) -> str:
    """Return a relation's rows with spans that follow one another joined where the columns are alike."""
    listed = names(list(columns))
    same = f"OVER (PARTITION BY {listed} ORDER BY {STARTS})"
    return (
        f"SELECT {listed}, max({LOAD}) AS {LOAD}, min({STARTS}) AS {STARTS}, max({ENDS}) AS {ENDS} FROM ("
        f"SELECT *, sum(_new) {same} AS _span FROM ("
        f"SELECT *, CASE WHEN lag({ENDS}) {same} = {STARTS} THEN 0 ELSE 1 END AS _new FROM {relation})) "
        f"GROUP BY {listed}, _span"
    )
