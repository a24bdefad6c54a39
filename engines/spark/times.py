"""Dates and times, as Spark is to be told them. Pure."""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp, parse_one

from starberg.engines.spark.syntax import (
    FLOATS,
    INTEGERS,
    STAMPS,
    D,
    NotInSpark,
    Rewrite,
    call,
    cast,
    kind_of,
    literal,
    needs,
)

_FORMATS = {"%Y": "yyyy", "%m": "MM", "%d": "dd", "%H": "HH", "%M": "mm", "%S": "ss"}
_ZONES = r"UTC|[A-Za-z_]+(/[A-Za-z0-9_+-]+)+"
_UTC = exp.Literal.string("UTC")
_CUTS = {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}


def added(node: exp.Expr) -> exp.Expr:
    """A date and a number is a date, a date and an interval a timestamp; of two dates the difference is days."""
    one, other = node.this, node.expression
    if isinstance(other.unnest(), exp.Interval):
        if kind_of(one) is D.DATE:
            node.set("this", cast(one.copy(), "TIMESTAMP_NTZ"))
        else:
            needs(one, STAMPS | {D.TIMESTAMPTZ})
        return node
    if isinstance(one.unnest(), exp.Interval):
        raise NotInSpark(node, "an interval stands behind what it is added to")
    if kind_of(one) is D.DATE and kind_of(other) is D.DATE and isinstance(node, exp.Sub):
        return _days_between(one.copy(), other.copy())
    if kind_of(one) is D.DATE:
        needs(other, INTEGERS)
        return call("date_add" if isinstance(node, exp.Add) else "date_sub", one.copy(), cast(other.copy(), "INT"))
    for part in (one, other):
        needs(part, INTEGERS | FLOATS | {D.DECIMAL})
    return node


def _days_between(later: exp.Expr, earlier: exp.Expr) -> exp.Expr:
    return cast(call("datediff", cast(later, "DATE"), cast(earlier, "DATE")), "BIGINT")


def date_diff(node: exp.Expr) -> exp.Expr:
    """The number of boundaries between two times, not of whole units."""
    later, earlier, unit = node.this, node.expression, node.text("unit").upper() or "DAY"
    for part in (later, earlier):
        needs(part, STAMPS | {D.DATE, D.TIMESTAMPTZ})
    if unit == "DAY":
        return _days_between(later.copy(), earlier.copy())
    if unit not in _BOUNDARIES:
        raise NotInSpark(node, f"date_diff of {unit.lower()}")
    count = _BOUNDARIES[unit]
    return exp.Paren(this=exp.Sub(this=count(later.copy()), expression=count(earlier.copy())))


def _counted(name: str) -> Rewrite:
    return lambda value: call(name, exp.cast(value, exp.DataType.build("TIMESTAMPTZ"), copy=False))


_seconds = _counted("unix_seconds")


def _since(seconds: int) -> Rewrite:
    return lambda value: call("floor", cast(exp.Div(this=_seconds(value), expression=literal(seconds)), "DOUBLE"))


def _months(per_year: int, name: str) -> Rewrite:
    def months(value: exp.Expr) -> exp.Expr:
        years = exp.Mul(this=cast(call("year", value), "BIGINT"), expression=literal(per_year))
        return exp.Paren(this=exp.Add(this=years, expression=call(name, value.copy()))) if name else years

    return months


_BOUNDARIES: dict[str, Rewrite] = {
    "MICROSECOND": _counted("unix_micros"),
    "MILLISECOND": _counted("unix_millis"),
    "SECOND": _seconds,
    "MINUTE": _since(60),
    "HOUR": _since(3600),
    "MONTH": _months(12, "month"),
    "QUARTER": _months(4, "quarter"),
    "YEAR": _months(1, ""),
}


def truncated(node: exp.Expr) -> exp.Expr:
    """Cut a time; a date, too, becomes a timestamp."""
    unit = node.text("unit").upper()
    if unit not in _CUTS:
        raise NotInSpark(node, f"date_trunc of {unit.lower()}")
    needs(node.this, STAMPS | {D.DATE})
    cut = call("date_trunc", exp.Literal.string(unit), exp.cast(node.this.copy(), exp.DataType.build("TIMESTAMPTZ")))
    return cast(cut, "TIMESTAMP_NTZ")


def formatted(node: exp.Expr) -> exp.Expr:
    """strftime with a format whose parts mean the same: numbers of fixed width."""
    needs(node.this, STAMPS | {D.DATE})
    written = node.args["format"]
    parts = re.findall(r"%.|[^%]", written.name) if isinstance(written, exp.Literal) else ["?"]
    if not all(part in _FORMATS or part in "-:/ ." for part in parts):
        raise NotInSpark(node, "strftime is for " + ", ".join(sorted(_FORMATS)))
    return call("date_format", node.this.copy(), exp.Literal.string("".join(_FORMATS.get(p, p) for p in parts)))


def month_name(node: exp.Expr) -> exp.Expr:
    """The name of a month, in English."""
    return call("date_format", node.this.copy(), exp.Literal.string("MMMM"))


def weekday(node: exp.Expr) -> exp.Expr:
    """The day of the week, Monday is 1."""
    return exp.Paren(this=exp.Add(this=call("weekday", node.this.copy()), expression=literal(1)))


def zoned_kind(annotator: Any, node: exp.Expr) -> exp.Expr:
    """Set the type of AT TIME ZONE: of a moment the time that clocks show, of a time the moment."""
    kind = node.this.type.this if node.this.type else D.UNKNOWN
    other = D.TIMESTAMPNTZ if kind is D.TIMESTAMPTZ else D.TIMESTAMPTZ if kind in STAMPS else D.UNKNOWN
    annotator._set_type(node, other)
    return node


def zoned(node: exp.Expr) -> exp.Expr:
    """A moment as a zone's clocks show it, or the moment when they show a time.

    Of a time that is shown twice DuckDB takes the second moment, Java the first. So the offset of a day later is tried:
    no clock is ever set back by more.
    """
    zone, value = node.args["zone"], node.this
    if not (isinstance(zone, exp.Literal) and re.fullmatch(_ZONES, zone.name)):
        raise NotInSpark(node, "a time zone is written by its name, as in 'Europe/Berlin'")
    if kind_of(value) is D.TIMESTAMPTZ:
        return _shown(_stamp(value.copy()), zone)
    needs(value, STAMPS)
    first = call("convert_timezone", zone.copy(), _UTC.copy(), _stamp(value.copy()))
    next_day = exp.Paren(this=exp.Add(this=first, expression=parse_one("INTERVAL 1 DAY", read="spark")))
    offset = exp.Paren(this=exp.Sub(this=_shown(next_day.copy(), zone), expression=next_day.copy()))
    second = exp.Paren(this=exp.Sub(this=_stamp(value.copy()), expression=offset))
    is_shown_again = exp.EQ(this=_shown(second.copy(), zone), expression=_stamp(value.copy()))
    moment = exp.If(this=is_shown_again, true=second, false=first.copy())
    return exp.cast(moment, exp.DataType.build("TIMESTAMPTZ"), copy=False)


def _stamp(value: exp.Expr) -> exp.Expr:
    return cast(value, "TIMESTAMP_NTZ")


def _shown(moment: exp.Expr, zone: exp.Expr) -> exp.Expr:
    return call("convert_timezone", _UTC.copy(), zone.copy(), moment)
