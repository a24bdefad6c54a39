"""Numbers: divisions, sums, averages, rounding and what is taken over windows, as Spark is to be told them. Pure."""

from __future__ import annotations

from sqlglot import exp

from starberg.engines.spark.syntax import (
    FLOATS,
    INTEGERS,
    D,
    NotInSpark,
    Rewrite,
    aggregated,
    call,
    cast,
    double,
    kind_of,
    literal,
    needs,
    scale_of,
)


def division(node: exp.Expr) -> exp.Expr:
    """`/` is a division of doubles in DuckDB; by zero it yields infinity or no number, where Spark fails."""
    top, bottom = double(node.this), double(node.expression)
    if isinstance(node.expression.unnest(), exp.Literal) and float(node.expression.unnest().name):
        return exp.Paren(this=exp.Div(this=top, expression=bottom, typed=True, safe=True))
    zero = exp.EQ(this=bottom.copy(), expression=double(literal(0)))
    limitless = exp.Mul(this=top.copy(), expression=double(exp.Literal.string("Infinity")))
    found = exp.Div(this=top, expression=call("nullif", bottom, double(literal(0))), typed=True, safe=True)
    return exp.Case(ifs=[exp.If(this=zero, true=limitless)], default=found)


def whole_division(node: exp.Expr) -> exp.Expr:
    """`//` and `%` by zero are null."""
    needs(node.this, INTEGERS | {D.DECIMAL} if isinstance(node, exp.Mod) else INTEGERS)
    if not isinstance(node.expression.unnest(), exp.Literal):
        node.set("expression", call("nullif", node.expression, literal(0)))
    return node


def summed(node: exp.Expr) -> exp.Expr:
    """Integers add up to 38 digits in DuckDB, decimals keep their places."""
    value = aggregated(node)
    if kind_of(value) in INTEGERS:
        value.replace(cast(value.copy(), "DECIMAL(38, 0)"))
    else:
        needs(value, FLOATS | {D.DECIMAL})
    return node


def average(node: exp.Expr) -> exp.Expr:
    """The average of whole numbers and decimals is their exact sum by their number, to the last digit of a double.

    DuckDB divides numbers of 64 bits; a sum that a double cannot hold is divided in two parts.
    """
    return node if isinstance(node.parent, (exp.Filter, exp.Window)) else _averaged(node, lambda aggregate: aggregate)


def _averaged(node: exp.Expr, around: Rewrite) -> exp.Expr:
    value = node.this
    if kind_of(value) in FLOATS:
        return around(node)
    scale = 0 if kind_of(value) in INTEGERS else scale_of(value)
    exact = around(exp.Sum(this=cast(value.copy(), f"DECIMAL(38, {scale})")))
    total = cast(exp.Mul(this=exact, expression=literal(10**scale)), "DECIMAL(38, 0)")
    number = cast(around(exp.Count(this=value.copy())), "DECIMAL(19, 0)")
    count = call("nullif", cast(exp.Mul(this=number, expression=literal(10**scale)), "DECIMAL(38, 0)"), literal(0))
    small = exp.LT(this=call("abs", total.copy()), expression=literal(2**53))
    whole = double(exp.IntDiv(this=total.copy(), expression=count.copy()))
    rest = _quotient(exp.Mod(this=total.copy(), expression=count.copy()), count.copy())
    return exp.Case(
        ifs=[exp.If(this=small, true=_quotient(total, count))], default=exp.Add(this=whole, expression=rest)
    )


def _quotient(top: exp.Expr, bottom: exp.Expr) -> exp.Expr:
    return exp.Div(this=cast(top, "DOUBLE"), expression=cast(bottom, "DOUBLE"), typed=True, safe=True)


def filtered(node: exp.Expr) -> exp.Expr:
    """A filtered aggregate; of one over a window the condition goes into its argument, as Spark has none there."""
    if isinstance(node.parent, exp.Window):
        return node
    if isinstance(node.this, exp.Avg):
        where = node.expression
        return _averaged(node.this, lambda of: exp.Filter(this=of, expression=where.copy()))
    return node


def windowed(node: exp.Expr) -> exp.Expr:
    """An aggregate over a window; its condition goes into its argument."""
    inner = node.this
    if isinstance(inner.this if isinstance(inner, exp.Filter) else inner, exp.Anonymous):
        raise NotInSpark(node, "arg_max over a window")
    if isinstance(inner, exp.Filter):
        condition, inner = inner.expression.this, inner.this
        if isinstance(inner, exp.Count) and isinstance(inner.this, exp.Star):
            value: exp.Expr = literal(1)
        else:
            value = aggregated(inner).copy()
        value.type = value.type or exp.DataType.build("INT")
        only = exp.Case(ifs=[exp.If(this=condition.copy(), true=value)])
        only.type = value.type
        inner.set("this", only)
        node.set("this", inner)
    if isinstance(inner, exp.Avg):
        return _averaged(inner, lambda of: _over(node, of))
    return node


def _over(window: exp.Expr, aggregate: exp.Expr) -> exp.Expr:
    found = window.copy()
    found.set("this", aggregate)
    return found


def rounded(node: exp.Expr) -> exp.Expr:
    """DuckDB rounds a double's multiple, half away from zero; Spark the text of the double."""
    places = node.args.get("decimals")
    if kind_of(node.this) in INTEGERS | {D.DECIMAL}:
        return node
    needs(node.this, FLOATS)
    if places is None:
        return node
    if not isinstance(places, exp.Literal):
        raise NotInSpark(node, "round needs a number of places that is written out")
    by = double(literal(10 ** int(places.name)))
    times = exp.Mul(this=double(node.this), expression=by)
    return exp.Paren(this=exp.Div(this=exp.Round(this=times), expression=by.copy(), typed=True, safe=True))
