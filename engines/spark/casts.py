"""Casts that come out alike in both engines, and how those are written that do not. Pure."""

from __future__ import annotations

import re

from sqlglot import exp

from starberg.engines.spark.syntax import (
    FLOATS,
    INTEGERS,
    STAMPS,
    TEXTS,
    D,
    NotInSpark,
    call,
    cast,
    double,
    kind_of,
    literal,
    shown,
)
from starberg.engines.spark.types import spark_type

_LITERALS = {
    D.DATE: r"\d{4}-\d\d-\d\d",
    **dict.fromkeys(STAMPS | {D.TIMESTAMPTZ}, r"\d{4,6}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?"),
    D.DOUBLE: r"-?(\d+(\.\d+)?|Infinity|NaN)",
    **dict.fromkeys(INTEGERS, r"-?\d{1,18}"),
}
"""Texts that both engines read alike, by the type they are cast to."""
_CASTS: dict[exp.DType, set[exp.DType]] = {
    **dict.fromkeys(INTEGERS, INTEGERS | {D.BOOLEAN} | TEXTS),
    D.DECIMAL: INTEGERS | {D.DECIMAL},
    **dict.fromkeys(FLOATS, INTEGERS | {D.DECIMAL} | FLOATS),
    **dict.fromkeys(TEXTS, TEXTS | INTEGERS | STAMPS | {D.BOOLEAN, D.DATE, D.DECIMAL, D.UUID}),
    D.BOOLEAN: {D.BOOLEAN},
    D.DATE: {D.DATE, D.TIMESTAMPTZ} | STAMPS,
    **dict.fromkeys(STAMPS, {D.DATE, D.TIMESTAMPTZ} | STAMPS),
    D.TIMESTAMPTZ: {D.TIMESTAMPTZ} | STAMPS,
}
"""Casts that are alike, or fail loudly in Spark (a text that is no number)."""
_NAMES = {
    **dict.fromkeys(STAMPS - {D.TIMESTAMP_S, D.TIMESTAMP_MS}, "TIMESTAMP"),
    D.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    D.DATE: "DATE",
    D.BOOLEAN: "BOOLEAN",
    D.INT: "INTEGER",
    D.BIGINT: "BIGINT",
    D.DOUBLE: "DOUBLE",
    **dict.fromkeys((D.TEXT, D.VARCHAR), "VARCHAR"),
}
"""What DuckDB's typeof calls plain types."""


def casted(node: exp.Expr) -> exp.Expr:
    """A cast that comes out alike, or is written so that it does; NotInSpark for any other."""
    value, to = node.this, node.args["to"]
    target = to.this
    if isinstance(value, exp.Explode):
        return _days(node, value)
    if isinstance(value.unnest(), exp.Null):
        return cast(value, to.sql("duckdb"))
    kind = D.UNKNOWN if isinstance(value, exp.Literal) and value.is_string else kind_of(value)
    if kind is D.UNKNOWN:
        known = target in TEXTS or re.fullmatch(_LITERALS.get(target, "(?!)"), value.name)
        if not known:
            raise NotInSpark(node, f"the text {value.name[:40]!r} as {shown(target)} may be read otherwise")
    elif target in INTEGERS and kind is D.DECIMAL:
        value = exp.Round(this=value.copy(), decimals=literal(0))
    elif target in INTEGERS and kind in FLOATS:
        value = call("rint", value.copy())  # half to even
    elif target is D.DECIMAL and kind in FLOATS:
        return _decimal_of_double(value.copy(), to)
    elif kind not in _CASTS.get(target, set()) and not _alike(value.type, to):
        raise NotInSpark(node, f"the cast of {shown(kind)} to {shown(target)} may come out otherwise")
    node.set("this", value)
    node.set("to", spark_type(to))
    return node


def _alike(kind: exp.Expr | None, other: exp.Expr) -> bool:
    """Tell whether two types are one in Spark."""
    texts = [spark_type(one).sql("spark").replace("`", "").lower() for one in (kind, other) if one is not None]
    return len(texts) == 2 and texts[0] == texts[1]


def _decimal_of_double(value: exp.Expr, to: exp.Expr) -> exp.Expr:
    """Round the multiple, half away from zero, as DuckDB does; at most 18 digits."""
    scale = int(to.expressions[1].name) if len(to.expressions) > 1 else 0 if to.expressions else 3
    times = exp.Mul(this=cast(value, "DOUBLE"), expression=double(literal(10**scale)))
    whole = cast(cast(exp.Round(this=times), "BIGINT"), "DECIMAL(19, 0)")
    if scale:
        unit = literal("0." + "0" * (scale - 1) + "1")
        whole = exp.Mul(this=whole, expression=unit)
    return cast(whole, to.sql("duckdb"))


def _days(node: exp.Expr, exploded: exp.Expr) -> exp.Expr:
    """The days of a series, `unnest(generate_series(DATE, DATE, INTERVAL 1 DAY))::DATE`: a generator stands alone."""
    series = exploded.this
    ends = [series.args.get("start"), series.args.get("end")]
    if node.args["to"].this is not D.DATE or any(end is None or kind_of(end) is not D.DATE for end in ends):
        raise NotInSpark(node, "unnest in a SELECT's list is for series of days")
    return exploded


def type_of(node: exp.Expr) -> exp.Expr:
    """The name of a type that is a plain one; it is known before any row is."""
    kind = kind_of(node.this)
    if kind not in _NAMES:
        raise NotInSpark(node, f"typeof of {shown(kind)}")
    return exp.Literal.string(_NAMES[kind])
