"""Dimensions of type 1, and the generated date dimension, as SQL.

Every member ever staged is a row: one whose source rows are all deleted is marked `is_deleted` and keeps its last
values. Natural keys that facts or bridges refer to and no source row has become inferred members (`is_inferred`),
corrected in place when the source delivers them. Key 0 is the unknown member.
"""

from __future__ import annotations

from collections.abc import Sequence

from starberg.etl.compile import LOAD, lineage_select, over_staging, with_relations
from starberg.etl.headers import Calendar, DimensionHeader, Lookup
from starberg.etl.model import UNKNOWN_KEY, Table
from starberg.etl.surrogate_keys import numbered
from starberg.etl.zone import Zone
from starberg.storage.columns import SqlColumn
from starberg.utils.sql import names, quote, quote_name, text

UNKNOWN_TEXT = "Unknown"


def header_of(table: Table) -> DimensionHeader:
    """Return a dimension's header."""
    assert isinstance(table.header, DimensionHeader)
    return table.header


def members(table: Table) -> str:
    """Return the dimension's own members with `is_deleted` and lineage."""
    select = lineage_select(table)
    same = " AND ".join(f"l.{quote_name(k)} = e.{quote_name(k)}" for k in header_of(table).natural_key)
    relations = {
        "live": over_staging(table, select),
        "ever": over_staging(table, select, deleted=table.reads),
    }
    return with_relations(
        relations,
        "SELECT *, false AS is_deleted FROM live UNION ALL BY NAME "
        f"SELECT *, true AS is_deleted FROM ever e WHERE NOT EXISTS (FROM live l WHERE {same})",
    )


def dimension(
    table: Table, columns: Sequence[SqlColumn], references: Sequence[tuple[str, Lookup]], *, exists: bool, mark: int
) -> str:
    """Return all rows of a dimension.

    `columns` are those of `members`; `references` are relations that look the dimension up (each with its lookup) and
    may bring inferred members; `exists` says that the table is there, with numbers to keep.
    """
    key = header_of(table).natural_key
    relations = {"members": members(table), "referenced": _referenced(key, references)}
    same = " AND ".join(f"m.{quote_name(k)} = r.{quote_name(k)}" for k in key)
    relations["everyone"] = (
        "SELECT *, false AS is_inferred FROM members UNION ALL BY NAME "
        "SELECT *, false AS is_deleted, true AS is_inferred FROM referenced r "
        f"WHERE NOT EXISTS (FROM members m WHERE {same})"
    )
    known, number = "", quote_name(table.surrogate_key)
    if exists:
        relations["known"] = (
            f"SELECT {names(key)}, min({number}) AS {number} FROM {quote(table.id)} "
            f"WHERE {number} <> {UNKNOWN_KEY} GROUP BY ALL"  # several, if it kept versions until now
        )
        known = "known"
    rows = numbered("everyone", known, key, table.surrogate_key, mark)
    unknown = unknown_member(table.surrogate_key, columns, skip=[*key, "is_deleted", LOAD])
    return with_relations(relations, f"SELECT * FROM ({rows}) UNION ALL BY NAME {unknown}")


def unknown_member(key: str, columns: Sequence[SqlColumn], *, skip: Sequence[str]) -> str:
    """Return the row facts without a natural key point at: text attributes say so, all else is null."""
    texts = [c.name for c in columns if c.type == "VARCHAR" and c.name not in skip]
    said = "".join(f", {text(UNKNOWN_TEXT)} AS {quote_name(name)}" for name in texts)
    return f"SELECT {UNKNOWN_KEY}::BIGINT AS {quote_name(key)}, false AS is_deleted, false AS is_inferred{said}"


def _referenced(key: Sequence[str], references: Sequence[tuple[str, Lookup]]) -> str:
    selects = []
    for relation, lookup in references:
        pairs = lookup.pairs(list(key))
        listed = ", ".join(f"{quote_name(own)} AS {quote_name(natural)}" for natural, own in pairs)
        present = " AND ".join(f"{quote_name(own)} IS NOT NULL" for _, own in pairs)
        selects.append(f"SELECT DISTINCT {listed} FROM {relation} WHERE {present}")
    if not selects:
        return f"SELECT {names(list(key))} FROM members WHERE false"
    return " UNION ".join(selects)


def date_key(value: str) -> str:
    """Return a date's key, yyyymmdd; 0 for null."""
    return f"coalesce(year({value}) * 10000 + month({value}) * 100 + day({value}), {UNKNOWN_KEY})::BIGINT"


def date_of(value: str, zone: Zone) -> str:
    """Return what the key of a date or time (UTC) is made from: its day, or in UTC as well itself."""
    return value if zone.is_utc else zone.day_of(value)


def dates_in_use(references: Sequence[tuple[str, Lookup]], zone: Zone) -> str:
    """Return the years, one row each, of all dates and times that look a date dimension up."""
    columns = [(relation, quote_name(lookup.own_columns()[0])) for relation, lookup in references]
    selects = [
        f"SELECT DISTINCT year({date_of(column, zone)}) AS year FROM {relation} WHERE {column} IS NOT NULL"
        for relation, column in columns
    ]
    return " UNION ".join(selects) if selects else "SELECT NULL::BIGINT AS year WHERE false"


def date_dimension(
    table: Table, columns: Sequence[SqlColumn], references: Sequence[tuple[str, Lookup]], zone: Zone
) -> str:
    """Return all rows of a date dimension: its declared range and every whole year in use outside it."""
    key = table.surrogate_key
    rows = with_relations({"calendar": calendar_days(header_of(table).calendar, references, zone)}, table.select)
    unknown = unknown_member(key, columns, skip=[])
    return (
        f"SELECT {date_key(quote_name('date'))} AS {quote_name(key)}, *, false AS is_deleted, false AS is_inferred, "
        f"NULL::BIGINT AS {LOAD} FROM ({rows}) UNION ALL BY NAME {unknown}"
    )


def calendar_days(calendar: Calendar | None, references: Sequence[tuple[str, Lookup]], zone: Zone) -> str:
    """Return the relation `calendar(date)`."""
    assert calendar is not None
    start, end = f"DATE {text(calendar.start)}", f"DATE {text(calendar.end)}"
    return (
        f"SELECT unnest(generate_series({start}, {end}, INTERVAL 1 DAY))::DATE AS date UNION "
        "SELECT unnest(generate_series(make_date(year, 1, 1), make_date(year, 12, 31), INTERVAL 1 DAY))::DATE "
        f"FROM ({dates_in_use(references, zone)})"
    )
