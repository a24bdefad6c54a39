"""Expressions and their types, as sqlglot has them: what the rewriting of DuckDB's SQL for Spark is made of. Pure."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from starberg.engines.base import ELSEWHERE

Rewrite = Callable[[exp.Expr], exp.Expr]

D = exp.DType
INTEGERS = {
    *(D.TINYINT, D.SMALLINT, D.INT, D.BIGINT, D.INT128),
    *(D.UTINYINT, D.USMALLINT, D.UINT, D.UBIGINT, D.UINT128),
}
FLOATS = {D.FLOAT, D.DOUBLE}
TEXTS = {D.TEXT, D.VARCHAR, D.CHAR, D.JSON}
STAMPS = {D.TIMESTAMP, D.TIMESTAMPNTZ, D.TIMESTAMP_S, D.TIMESTAMP_MS}
LISTS = {D.ARRAY, D.LIST}


class NotInSpark(Exception):
    """An expression that Spark would answer otherwise, or not at all."""

    def __init__(self, node: exp.Expr, why: str = "", hint: str = "") -> None:
        line = next((n.meta["line"] for n in (node, *node.walk()) if "line" in n.meta), None)
        why = why or f"{name_of(node)} is not among the functions that are the same in Spark"
        super().__init__(f"{f'line {line}: ' if line else ''}{why}: DuckDB only")
        self.hint = hint or ELSEWHERE


def name_of(node: exp.Expr) -> str:
    """Return how a function or an operator is called."""
    if isinstance(node, exp.Anonymous):
        return node.name
    return node.sql_name() if isinstance(node, exp.Func) else type(node).__name__


def kind_of(node: exp.Expr) -> exp.DType:
    """Return the class of an expression's type; NotInSpark if it cannot be told."""
    kind = node.type.this if node.type else D.UNKNOWN
    if kind in (D.UNKNOWN, None):
        raise NotInSpark(node, f"the type of {node.sql('duckdb')[:60]} cannot be told", hint="Cast it.")
    return kind


def shown(kind: exp.DType) -> str:
    """Return a type's name as DuckDB has it."""
    return exp.DataType(this=kind).sql("duckdb")


def cast(value: exp.Expr, kind: str) -> exp.Expr:
    """Return a value cast to a type in DuckDB's spelling."""
    return exp.cast(value, exp.DataType.build(kind, dialect="duckdb"), copy=False)


def call(name: str, *arguments: exp.Expr) -> exp.Expr:
    """Return the call of a function of Spark's."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def literal(value: int | str) -> exp.Expr:
    """Return a number as it is written."""
    return exp.Literal.number(value)


def needs(node: exp.Expr, kinds: set[exp.DType]) -> None:
    """Raise NotInSpark unless an expression is of one of these types; a null is of any."""
    if isinstance(node.unnest(), exp.Null) or kind_of(node) is D.NULL:
        return
    if kind_of(node) not in kinds:
        raise NotInSpark(node, f"{node.sql('duckdb')[:60]} is {shown(kind_of(node))} here")


def aggregated(node: exp.Expr) -> exp.Expr:
    """Return what an aggregate is taken of."""
    value: exp.Expr = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    return value


def double(value: exp.Expr) -> exp.Expr:
    """Return a value cast to a double."""
    return cast(value.unnest().copy(), "DOUBLE")


def scale_of(value: exp.Expr) -> int:
    """Return the places of a decimal."""
    parts = value.type.expressions if value.type and value.type.this is D.DECIMAL else []
    if not parts:
        raise NotInSpark(value, f"the places of {value.sql('duckdb')[:60]} cannot be told", hint="Cast it.")
    return int(parts[1].name) if len(parts) > 1 else 0
