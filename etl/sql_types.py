"""Which SQL types a column may be declared with: those Iceberg has an equal of.

Told by sqlglot's type classes alone, so that reading declarations loads no Iceberg library.
"""

from __future__ import annotations

from functools import cache

from sqlglot import ParseError, TokenError, exp

_D = exp.DataType.Type
_PLAIN = {
    *(_D.BOOLEAN, _D.TINYINT, _D.SMALLINT, _D.INT, _D.BIGINT, _D.UTINYINT, _D.USMALLINT, _D.UINT, _D.UBIGINT),
    *(_D.INT128, _D.FLOAT, _D.DOUBLE, _D.TEXT, _D.VARCHAR, _D.JSON, _D.ENUM, _D.DATE, _D.TIME, _D.TIMESTAMP),
    *(_D.TIMESTAMPNTZ, _D.TIMESTAMP_S, _D.TIMESTAMP_MS, _D.TIMESTAMPTZ, _D.UUID, _D.VARBINARY),
}
COMMON = ("BIGINT", "BOOLEAN", "DATE", "DECIMAL", "DOUBLE", "INTEGER", "JSON", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR")
_MAX_PRECISION = 38
"""Iceberg's decimals have at most 38 digits (spec, "Primitive Types")."""


@cache
def type_problem(sql_type: str) -> str:
    """Return what is wrong with a column type in DuckDB's spelling; nothing if it may be used."""
    if sql_type in COMMON:
        return ""
    try:
        parsed = exp.DataType.build(sql_type, dialect="duckdb")
    except (ParseError, TokenError):
        return f"{sql_type!r} is not a SQL type"
    return _problem(parsed)


def _problem(kind: exp.DataType) -> str:
    parts = kind.expressions
    if kind.this in _PLAIN:
        return ""
    if kind.this == _D.DECIMAL:
        digits = int(parts[0].name) if parts else 18
        return "" if digits <= _MAX_PRECISION else f"a decimal has at most {_MAX_PRECISION} digits, not {digits}"
    if kind.this in (_D.ARRAY, _D.LIST, _D.MAP) and parts:
        return next(filter(None, map(_problem, parts)), "")
    if kind.this == _D.STRUCT and parts:
        return next(filter(None, (_problem(part.args["kind"]) for part in parts)), "")
    return f"{kind.sql('duckdb')} has no Iceberg type"
