"""What PostgreSQL's types become, and how their values are read. Pure.

| PostgreSQL | here | read as |
|---|---|---|
| boolean, smallint, integer, bigint, real, double precision, bytea, date, time, uuid, json(b) | its equal | native |
| oid | BIGINT | native |
| numeric(p, s), p ≤ 38, 0 ≤ s ≤ p | DECIMAL(p, s); NaN has no place in it | native |
| numeric otherwise | as declared: VARCHAR (exact text) or a DECIMAL; undeclared the run stops | text |
| timestamp | TIMESTAMP in UTC, read in the source's `timezone` | native |
| timestamptz | TIMESTAMP in UTC (declared TIMESTAMPTZ: with zone) | native |
| text, varchar, name, citext, enums | VARCHAR | native or text |
| char(n) | VARCHAR without its padding | native |
| domains | as their base type | cast to it |
| arrays of the above, one dimension | a list; more dimensions are out of range | text |
| interval, timetz, money, ranges, composite, inet, macaddr, bit, xml, geometric, … | VARCHAR | PostgreSQL's text |

Text is what PostgreSQL writes with the settings `SESSION` (intervals in ISO 8601), in a snapshot and in the log alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starberg.utils.sql import quote_name, text

SESSION: Mapping[str, str] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
"""Settings of every session, so that one value has one text."""

_NATIVE = {
    "bool": "BOOLEAN",
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "oid": "BIGINT",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bytea": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "uuid": "UUID",
    "json": "JSON",
    "jsonb": "JSON",
    "text": "VARCHAR",
    "varchar": "VARCHAR",
    "bpchar": "VARCHAR",
}
_STAMPS = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


@dataclass(frozen=True)
class PgColumn:
    """A column as the catalog has it; `base` is the type below a domain, `element` that of an array ("" if none)."""

    name: str
    said: str
    """The type in PostgreSQL's words, such as `numeric(10,2)`."""
    base: str
    base_said: str
    modifier: int
    kind: str
    """pg_type.typtype of the base: b, e (enum), c (composite), r (range), m (multirange)."""
    element: str = ""
    element_kind: str = ""
    is_domain: bool = False


@dataclass(frozen=True)
class Reading:
    """How one column is read.

    `scanned` tells that a plain table scan gives the value; `query` is PostgreSQL's SELECT item otherwise, whose
    result `value` (SQL over it) turns into `raw_type`. `by_text`: what is queried is text, which may not fit its type.
    """

    name: str
    source_name: str
    said: str
    raw_type: str
    padded: bool = False
    scanned: bool = False
    by_text: bool = False
    cast: str = ""
    element: str = ""
    beyond_decimals: bool = False
    """A numeric no DECIMAL holds: the column needs a declaration."""

    @property
    def exposed(self) -> str:
        """Return the type SQL sees."""
        return "TIMESTAMP" if self.raw_type == "TIMESTAMP WITH TIME ZONE" else self.raw_type

    @property
    def has_nan(self) -> bool:
        """Tell whether a scan would read NaN as zero (DuckDB 1.5.5)."""
        return self.raw_type.startswith("DECIMAL")

    def query(self, *, careful: bool) -> str:
        """Return the SELECT item that asks PostgreSQL for the column."""
        column = quote_name(self.source_name)
        if self.by_text or (careful and self.has_nan):
            if self.said == "inet":  # its cast writes a mask where its output, and so the log, has none
                return f"CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END AS {column}"
            return f"{column}::text AS {column}"
        return f"{column}::{self.cast} AS {column}" if self.cast else column

    def value(self, *, careful: bool) -> str:
        """Return SQL for the value as its raw type, over a scan or the answer to `query`."""
        column = quote_name(self.source_name)
        if self.by_text or (careful and self.has_nan):
            return self.from_text(column)
        if self.padded and self.said == "character(1)":  # the common flag: trimming is slow
            return f"CASE {column} WHEN ' ' THEN '' ELSE {column} END"
        return f"rtrim({column}, ' ')" if self.padded else f"CAST({column} AS {self.raw_type})"

    def from_text(self, value: str) -> str:
        """Return SQL for the value of PostgreSQL's text; null if its type cannot hold it."""
        if self.raw_type.endswith("[]"):
            return _list(value, self.raw_type)
        if self.raw_type == "BLOB":
            return f"unhex(substr({value}, 3))"
        if self.raw_type in _STAMPS:
            return rf"TRY_CAST(regexp_replace({value}, '^(\S+)(.*) BC$', '\1 (BC)\2') AS {self.raw_type})"
        if self.raw_type == "VARCHAR":
            return f"rtrim({value}, ' ')" if self.padded else value
        return f"TRY_CAST({value} AS {self.raw_type})"


def reading(column: PgColumn, name: str) -> Reading:
    """Return how a column is read under a name."""
    raw = "VARCHAR" if column.kind == "e" else _scalar(column.base, column.modifier)
    if column.element:
        inner = "VARCHAR" if column.element_kind == "e" else _element(column)
        return Reading(name, column.name, column.said, f"{inner}[]" if inner else "VARCHAR", by_text=True)
    if not raw:
        beyond = column.base == "numeric"
        return Reading(name, column.name, column.said, "VARCHAR", by_text=True, beyond_decimals=beyond)
    padded = column.base == "bpchar"
    if column.is_domain or column.kind == "e":
        cast = "text" if column.kind == "e" else column.base_said
        return Reading(name, column.name, column.said, raw, padded, scanned=False, cast=cast)
    return Reading(name, column.name, column.said, raw, padded, scanned=True)


def unread(values: Mapping[str, tuple[str, str]]) -> str:
    """Return SQL for `_unread`: name → text of the values that are there as text but not as their type.

    `values` are by name the SQL of the text and of the typed value.
    """
    pairs = ", ".join(
        f"CASE WHEN {said} IS NOT NULL AND {typed} IS NULL THEN {{name: {text(name)}, said: {said}}} END"
        for name, (said, typed) in values.items()
    )
    if not pairs:
        return "NULL::VARCHAR"
    found = f"list_filter([{pairs}], lambda p: p IS NOT NULL)"
    entries = f"map_from_entries(list_transform({found}, lambda p: {{k: p.name, v: p.said}}))"
    return f"CASE WHEN len({found}) > 0 THEN to_json({entries})::VARCHAR END"


def is_wider(before: str, now: str) -> bool:
    """Tell whether every value of a raw type fits another without change, as Iceberg's type promotion has it.

    >>> is_wider("INTEGER", "BIGINT"), is_wider("BIGINT", "INTEGER"), is_wider("DECIMAL(10,2)", "DECIMAL(12,2)")
    (True, False, True)
    """
    for order in (("SMALLINT", "INTEGER", "BIGINT"), ("FLOAT", "DOUBLE")):
        if before in order and now in order:
            return order.index(now) > order.index(before)
    old, new = (re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", kind) for kind in (before, now))
    return bool(old and new and old[2] == new[2] and int(new[1]) > int(old[1]))


def _scalar(base: str, modifier: int) -> str:
    if base != "numeric":
        return {"name": "VARCHAR", "citext": "VARCHAR"}.get(base) or _NATIVE.get(base, "")
    if modifier < 0:
        return ""
    precision, scale = (modifier - 4) >> 16 & 0xFFFF, ((modifier - 4) & 0x7FF ^ 1024) - 1024
    return f"DECIMAL({precision},{scale})" if precision <= 38 and 0 <= scale <= precision else ""


def _element(column: PgColumn) -> str:
    if column.element_kind != "b" or column.element == "bytea":
        return ""
    return _scalar(column.element, column.modifier)


def _list(value: str, kind: str) -> str:
    """PostgreSQL's `{1,NULL,"a b"}` is DuckDB's `[1,NULL,"a b"]`; an element that is lost makes the list null."""
    inside = f"'[' || substr({value}, 2, length({value}) - 2) || ']'"
    texts, typed = f"TRY_CAST({inside} AS VARCHAR[])", f"TRY_CAST({inside} AS {kind})"
    flat = rf"NOT regexp_matches({value}, '^(\[|\{{\{{)')"
    return f"CASE WHEN {flat} AND list_count({texts}) = list_count({typed}) THEN {typed} END"
