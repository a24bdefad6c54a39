"""Texts, lists and rows of values, as Spark is to be told them. Pure."""

from __future__ import annotations

from sqlglot import exp

from starberg.engines.spark.syntax import LISTS, TEXTS, D, NotInSpark, call, kind_of, needs

SPACES = "\u0020\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
"""What DuckDB's trim takes for spaces: Unicode's category Zs."""


def compared(node: exp.Expr) -> exp.Expr:
    """Compare; a UUID is a text in Spark, and not every text of it is the same. Maps are not compared there."""
    types = [side.type for side in (node.this, node.expression) if side.type]
    if any(part.this is D.MAP for kind in types for part in kind.find_all(exp.DataType)):
        raise NotInSpark(node, "a MAP is compared")
    sides = {kind.this for kind in types}
    if D.UUID in sides and sides & TEXTS:
        raise NotInSpark(node, "a UUID is compared with a text", hint="Cast the UUID to VARCHAR.")
    return node


def joined(node: exp.Expr) -> exp.Expr:
    """`||` joins texts; of lists it would in one engine only."""
    for part in (node.this, node.expression):
        needs(part, TEXTS)
    return node


def trimmed(node: exp.Expr) -> exp.Expr:
    """Spark's own trims the one space only."""
    if node.args.get("expression") or node.args.get("position"):
        raise NotInSpark(node, "trim of other characters, or of one side")
    return exp.Trim(this=node.this.copy(), expression=exp.Literal.string(SPACES), position="BOTH")


def like(node: exp.Expr) -> exp.Expr:
    """DuckDB's LIKE has no escape character, Spark's has the backslash."""
    if not isinstance(node.expression, exp.Literal) or "\\" in node.expression.name:
        raise NotInSpark(node, "LIKE with a pattern that is not written out, or has a backslash")
    return node


def length(node: exp.Expr) -> exp.Expr:
    """The length of a text, in characters, or of a list."""
    of_list = kind_of(node.this) in LISTS
    if not of_list:
        needs(node.this, TEXTS)
    return call("size" if of_list else "char_length", node.this.copy())


def listed(node: exp.Expr) -> exp.Expr:
    """A list's items beside each row; what is joined after may ask of them, which a LATERAL VIEW would not let it."""
    join = node.parent
    crossed = isinstance(join, exp.Join) and not join.side and not join.args.get("on")
    if not crossed or len(node.expressions) != 1 or node.args.get("offset"):
        raise NotInSpark(node, "unnest is for CROSS JOIN unnest(list)")
    items = call("explode", node.expressions[0].copy())
    return exp.Lateral(this=items, alias=node.args["alias"].copy())


def field_of(node: exp.Expr) -> exp.Expr:
    """A field of a struct; an aggregate with a condition stands in parentheses."""
    if isinstance(node.this, (exp.Filter, exp.Window)):
        node.set("this", exp.Paren(this=node.this))
    return node


def row_of_values(node: exp.Expr) -> exp.Expr:
    """Values side by side, counted or compared; the greatest is null, as DuckDB has it."""
    ordering = isinstance(node.parent, (exp.ArgMax, exp.ArgMin))
    if not ordering and not isinstance(node.parent, exp.Distinct):
        raise NotInSpark(node, "a row of values is for count(DISTINCT …) and arg_max")
    fields: list[exp.Expr] = []
    for number, value in enumerate(node.expressions):
        if ordering:
            fields += [exp.Literal.string(f"n{number}"), exp.Is(this=value.copy(), expression=exp.Null())]
        fields += [exp.Literal.string(f"c{number}"), value.copy()]
    return call("named_struct", *fields)


def extreme(node: exp.Expr) -> exp.Expr:
    """arg_max looks at rows that have both values."""
    if node.args.get("count"):
        raise NotInSpark(node, "arg_max of several")
    there = [exp.Not(this=exp.Is(this=node.this.copy(), expression=exp.Null()))]
    if not isinstance(node.expression, exp.Anonymous):  # a row of values is never null
        there.append(exp.Not(this=exp.Is(this=node.expression.copy(), expression=exp.Null())))
    name = "max_by" if isinstance(node, exp.ArgMax) else "min_by"
    condition = exp.and_(*there, copy=False)
    found = call(name, node.this.copy(), node.expression.copy())
    if isinstance(node.parent, exp.Window):
        return found  # refused there
    if isinstance(node.parent, exp.Filter):
        where = node.parent.expression
        where.set("this", exp.and_(where.this, condition))
        return found
    return exp.Filter(this=found, expression=exp.Where(this=condition))
