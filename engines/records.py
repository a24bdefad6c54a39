"""How JSON records become typed columns: pure SQL in DuckDB's dialect.

Every cast is a TRY_CAST; a value that is there but cannot be typed makes its record *bad*; the caller quarantines it.
Nothing is rounded, shifted or guessed on the way: an integer with a fraction, a decimal with more digits than its type,
or a date outside 0001 to 9999 is bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from starberg.utils.sql import quote_name, text

_D = exp.DataType.Type
_INTEGERS = {_D.TINYINT, _D.SMALLINT, _D.INT, _D.BIGINT, _D.UTINYINT, _D.USMALLINT, _D.UINT, _D.UBIGINT, _D.INT128}
_TIMES = {_D.TIMESTAMP, _D.TIMESTAMPNTZ}
_TEXTS = {_D.TEXT, _D.VARCHAR}
_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)\s*$"


@dataclass(frozen=True)
class JsonColumn:
    """A column of a record: its SQL type and the JSON path it is read from (`$.a.b`)."""

    type: str
    path: str


def typed_records(source: str, columns: Mapping[str, JsonColumn], timezone: str, keep: str) -> str:
    """Return a SELECT over `source` (with `record`): the columns `keep`, each column typed, and `_bad`, `_raw`.

    `_bad` is the first column that could not be typed (null: none), `_raw` its text.
    `timezone` is what zoneless timestamps are in; typed timestamps are UTC.
    """
    paths = ", ".join(text(column.path) for column in columns.values())
    names = list(columns)
    exprs = [typed(f"_x[{n}]", column.type, timezone) for n, column in enumerate(columns.values(), start=1)]
    listed = ", ".join(f"{expr} AS {quote_name(name)}" for expr, name in zip(exprs, names, strict=True))
    bad = " ".join(
        f"WHEN _x[{n}] IS NOT NULL AND {quote_name(name)} IS NULL THEN {n}" for n, name in enumerate(names, start=1)
    )
    labels = ", ".join(text(name) for name in names)
    return (
        f"SELECT {keep}, {', '.join(quote_name(name) for name in names)}, "
        f"[{labels}][_n] AS _bad, _x[_n] AS _raw FROM ("
        f"SELECT *, CASE {bad} END AS _n FROM ("
        f"SELECT {keep}, _x, {listed} FROM ("
        f"SELECT {keep}, json_extract_string(record, [{paths}]) AS _x FROM {source})))"
    )


def typed(value: str, sql_type: str, timezone: str = "UTC") -> str:
    """Return the SQL that types the text `value`, or yields null."""
    kind = exp.DataType.build(sql_type, dialect="duckdb")
    target = kind.sql("duckdb")
    if kind.this in _TEXTS or kind.this == _D.JSON:
        return value
    if kind.this in _INTEGERS:
        return _when(value, r"\s*[+-]?\d+(\.0*)?\s*", f"TRY_CAST({value} AS {target})")
    if kind.this == _D.DECIMAL:
        scale = kind.expressions[1].name if len(kind.expressions) > 1 else ("0" if kind.expressions else "3")
        return _when(value, rf"\s*[+-]?\d*(\.\d{{0,{scale}}}0*)?\s*", f"TRY_CAST({value} AS {target})")
    if kind.this == _D.DATE:
        return _within(f"TRY_CAST({value} AS DATE)", "DATE")
    if kind.this in _TIMES:
        return _within(_instant(value, timezone), "TIMESTAMP")
    if kind.this == _D.TIMESTAMPTZ:
        return f"{_within(_instant(value, timezone), 'TIMESTAMP')} AT TIME ZONE 'UTC'"
    if kind.expressions or kind.this in (_D.STRUCT, _D.MAP, _D.ARRAY, _D.LIST):
        return _nested(value, kind)
    return f"TRY_CAST({value} AS {target})"


def _nested(value: str, kind: exp.DataType) -> str:
    """Type a nested value; keys that are missing or undeclared are no fault, a leaf that cannot be typed is.

    A lenient cast nulls such a leaf silently, so the nulls are compared with those of a cast to text leaves.
    """
    texts = kind.copy()
    for leaf in [part for part in texts.find_all(exp.DataType) if not part.expressions]:
        leaf.replace(exp.DataType.build("VARCHAR"))
    found = f"TRY_CAST(TRY_CAST({value} AS JSON) AS {kind.sql('duckdb')})"
    as_text = f"TRY_CAST(TRY_CAST({value} AS JSON) AS {texts.sql('duckdb')})"
    again = f"CAST({found} AS {texts.sql('duckdb')})"
    return f"CASE WHEN {_nulls(as_text)} = {_nulls(again)} THEN {found} END"


def _nulls(value: str) -> str:
    """The shape of a value of text leaves: its JSON without its strings."""
    return rf"""regexp_replace(to_json({value})::VARCHAR, '"([^"\\]|\\.)*"', '', 'g')"""


def _when(value: str, pattern: str, then: str) -> str:
    return f"CASE WHEN regexp_full_match({value}, {text(pattern)}) THEN {then} END"


def _within(value: str, kind: str) -> str:
    low, high = (
        f"{kind} '0001-01-01'",
        "DATE '9999-12-31'" if kind == "DATE" else "TIMESTAMP '9999-12-31 23:59:59.999999'",
    )
    return f"CASE WHEN {value} BETWEEN {low} AND {high} THEN {value} END"


def _instant(value: str, timezone: str) -> str:
    """A stamp with a zone is that instant; one without is in the source's zone."""
    zoned = f"TRY_CAST({value} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    if timezone == "UTC":
        return f"({zoned})"
    local = f"(TRY_CAST({value} AS TIMESTAMP) AT TIME ZONE {text(timezone)}) AT TIME ZONE 'UTC'"
    return f"(CASE WHEN regexp_matches({value}, {text(_ZONE)}) THEN {zoned} ELSE {local} END)"
