"""What of DuckDB's SQL is the same in Spark, what is written otherwise there, and what is refused. Pure.

An allow-list: an expression of a class that is not named here is refused, for sqlglot passes many on that parse and run
in both engines and answer differently. Each entry has a golden test that both engines answer alike
(tests/spark/test_golden.py). Types are those of DuckDB; where a rewriting depends on a type that cannot be told, the
expression is refused, and a cast around it helps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from starberg.engines.spark import arithmetic, casts, texts, times
from starberg.engines.spark.syntax import D, NotInSpark, Rewrite


def rewritten(query: exp.Expr, *, strict: bool = True) -> exp.Expr:
    """Return a qualified query, its types annotated by `METADATA`, as Spark is to be told it.

    Without `strict` what is not on the list stays as it is, but for clauses that Spark has not.
    """
    # Leaves first: a rewriting looks at what its parts have become, and at the types they had.
    for node in reversed(list(query.walk(bfs=False))):
        new = _rewritten(node, strict=strict)
        if new is not node:
            new.type = node.type
            if node is query:
                query = new
            else:
                node.replace(new)
    return query


def allowed(query: exp.Expr) -> Iterator[NotInSpark]:
    """Yield what of a query is not on the list, whatever its types."""
    for node in query.walk():
        if not _is_known(node):
            yield NotInSpark(node)


def _rewritten(node: exp.Expr, *, strict: bool) -> exp.Expr:
    if _is_odd(node) or (strict and not _is_known(node)):
        raise NotInSpark(node)
    try:
        return REWRITTEN.get(type(node), _same)(node)
    except NotInSpark:
        if strict:
            raise
        return node


def _is_known(node: exp.Expr) -> bool:
    if _is_odd(node):
        return False
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in ANONYMOUS
    checked = isinstance(node, (exp.Func, exp.Binary, exp.Unary, exp.Condition)) and not isinstance(node, exp.Query)
    return not checked or type(node) in SAME or type(node) in REWRITTEN


def _is_odd(node: exp.Expr) -> bool:
    """Tell whether a clause is one that Spark has not, or has otherwise."""
    match node:
        case exp.Pivot() | exp.TableSample() | exp.Lateral():
            return True
        case exp.With():
            return bool(node.recursive)
        case exp.Distinct():
            return bool(node.args.get("on"))
        case exp.Join():
            return node.method in ("ASOF", "POSITIONAL", "NATURAL")
    return False


def _same(node: exp.Expr) -> exp.Expr:
    return node


SAME: set[type[exp.Expr]] = {
    *(exp.Column, exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Star, exp.Alias, exp.Struct),
    *(exp.PropertyEQ, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between, exp.Exists, exp.Case, exp.If),
    *(exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.LT, exp.LTE, exp.GT, exp.GTE),
    *(exp.Neg, exp.Mul, exp.Abs, exp.Count, exp.Min, exp.Max),
    *(exp.LogicalOr, exp.LogicalAnd, exp.AnyValue, exp.Median, exp.RowNumber, exp.Rank, exp.DenseRank),
    *(exp.Lag, exp.Lead, exp.Explode, exp.GenerateSeries, exp.DateFromParts),
    *(exp.Year, exp.Quarter, exp.Month, exp.Day, exp.WeekOfYear, exp.Hour, exp.Minute, exp.Interval),
}
"""What both engines answer alike, as it is."""

REWRITTEN: dict[type[exp.Expr], Rewrite] = {
    exp.Div: arithmetic.division,
    exp.IntDiv: arithmetic.whole_division,
    exp.Mod: arithmetic.whole_division,
    exp.Sum: arithmetic.summed,
    exp.Avg: arithmetic.average,
    exp.Filter: arithmetic.filtered,
    exp.Window: arithmetic.windowed,
    exp.Round: arithmetic.rounded,
    exp.Cast: casts.casted,
    exp.Add: times.added,
    exp.Sub: times.added,
    exp.DateDiff: times.date_diff,
    exp.TimestampTrunc: times.truncated,
    exp.DateTrunc: times.truncated,
    exp.TimeToStr: times.formatted,
    exp.Monthname: times.month_name,
    exp.DayOfWeekIso: times.weekday,
    exp.AtTimeZone: times.zoned,
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ), texts.compared),
    exp.DPipe: texts.joined,
    exp.Trim: texts.trimmed,
    exp.Like: texts.like,
    exp.Length: texts.length,
    exp.Dot: texts.field_of,
    exp.Typeof: casts.type_of,
    exp.Unnest: texts.listed,
    exp.Tuple: texts.row_of_values,
    exp.ArgMax: texts.extreme,
    exp.ArgMin: texts.extreme,
}
"""What Spark is told otherwise."""

ANONYMOUS = {"run_date"}
"""Functions sqlglot has no class of; `run_date()` is a day by the time Spark is asked."""

METADATA: dict[type[exp.Expr], dict[str, Any]] = {
    **DuckDB.EXPRESSION_METADATA,
    exp.Div: {"returns": D.DOUBLE},
    exp.Median: {"returns": D.DOUBLE},
    exp.ArgMax: {"annotator": lambda self, node: self._annotate_by_args(node, "this")},
    exp.ArgMin: {"annotator": lambda self, node: self._annotate_by_args(node, "this")},
    exp.Round: {"annotator": lambda self, node: self._annotate_by_args(node, "this")},
    exp.TimestampTrunc: {"returns": D.TIMESTAMP},
    exp.DateTrunc: {"returns": D.TIMESTAMP},
    exp.AtTimeZone: {"annotator": times.zoned_kind},
}
"""How sqlglot tells the types of expressions, where its own way is not DuckDB's."""
