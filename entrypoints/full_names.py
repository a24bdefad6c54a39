"""DuckDB's SQL with what it leaves unsaid: each column's table, what ALL stands for, and what hangs on types.

Other engines have no GROUP BY ALL and no `day - 7`, and an average of decimals is another number there. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from starberg.utils.errors import UsageError

Columns = Mapping[str, Mapping[str, str]]
"""The columns of tables (`warehouse.table`) with their types, in DuckDB's spelling."""

_DATE = exp.DataType.Type.DATE
_DAY = exp.var("DAY")


def qualified(query: exp.Query, columns: Columns, *, new_aliases: bool = False) -> exp.Query:
    """Return a query with every column named with its table; of tables without `columns` stars stay.

    The names of its own columns stay as they were written. With `new_aliases` its tables get others than people write.
    """
    written = {name.lower(): name for name in query.named_selects}
    try:
        found: exp.Query = qualify(
            query,
            schema=_schema(columns),
            dialect="duckdb",
            validate_qualify_columns=False,
            quote_identifiers=False,
            canonicalize_table_aliases=new_aliases,
        )
    except SqlglotError as error:
        raise UsageError(f"SQL: {str(error).splitlines()[0]}") from error
    for column in found.selects:
        if isinstance(column, exp.Alias):
            column.set("alias", exp.to_identifier(written.get(column.alias.lower(), column.alias)))
    return found


def said_in_full(query: exp.Query, columns: Columns) -> exp.Query:
    """Return a qualified query without ALL, with the arithmetic of dates by name, and with quotients as DuckDB's.

    The fields of a struct are named where a star stands for them.
    """
    for select in query.find_all(exp.Select):
        _all(select)
    typed: exp.Query = annotate_types(query, schema=_schema(columns), dialect="duckdb")
    for star in [found for found in typed.find_all(exp.Dot) if isinstance(found.expression, exp.Star)]:
        _name_fields(star)
    for node in list(typed.find_all(exp.Sub, exp.Add)):
        if (date := _of_dates(node)) is not None:
            node.replace(date)
    for found in typed.find_all(exp.Avg, exp.Div):
        _as_double(found)
    return typed


def _schema(columns: Columns) -> MappingSchema:
    schema = MappingSchema(dialect="duckdb")
    for name, found in columns.items():
        schema.add_table(exp.to_table(name, dialect="duckdb"), dict(found), dialect="duckdb")
    return schema


def _all(select: exp.Select) -> None:
    """Write GROUP BY ALL and ORDER BY ALL out."""
    group, order = select.args.get("group"), select.args.get("order")
    groups = bool(group and group.args.get("all"))
    orders = bool(order and isinstance(order.expressions[0].this, exp.Var))
    if select.is_star and (groups or orders):
        raise UsageError("ALL stands for columns that are not known here", hint="Name them.")
    if groups:
        keys = [one.unalias().copy() for one in select.selects if not one.find(exp.AggFunc)]
        select.set("group", exp.Group(expressions=keys) if keys else None)
    if order and orders:
        how = {name: value for name, value in order.expressions[0].args.items() if name != "this"}
        places = range(1, len(select.selects) + 1)
        order.set("expressions", [exp.Ordered(this=exp.Literal.number(place), **how) for place in places])


def _name_fields(star: exp.Dot) -> None:
    """Put the fields of a struct where `struct.*` stands, if they are known."""
    struct, select = star.this, star.parent
    fields = struct.type.expressions if struct.is_type(exp.DataType.Type.STRUCT) else []
    names = [field.name for field in fields if isinstance(field, exp.ColumnDef)]
    if isinstance(select, exp.Select) and names and star.index is not None:
        each = [exp.alias_(exp.Dot(this=struct.copy(), expression=exp.to_identifier(name)), name) for name in names]
        found = select.expressions
        select.set("expressions", [*found[: star.index], *each, *found[star.index + 1 :]])


def _as_double(node: exp.Expr) -> None:
    """Let an average or a quotient of decimals be a DOUBLE, as it is in DuckDB; others keep a few decimals."""
    if any(part.is_type(exp.DataType.Type.DECIMAL) for part in node.iter_expressions()):
        node.set("this", exp.cast(node.this.copy(), exp.DataType.Type.DOUBLE))


def _of_dates(node: exp.Binary) -> exp.Expr | None:
    """Return `date - date` and `date ± number` by their names, None for anything else."""
    one, other = node.this.unnest(), node.expression.unnest()
    if not one.is_type(_DATE):
        return None
    if other.is_type(_DATE):
        return exp.DateDiff(this=one.copy(), expression=other.copy(), unit=_DAY.copy())
    if not other.is_type(*exp.DataType.INTEGER_TYPES):
        return None
    by = exp.DateSub if isinstance(node, exp.Sub) else exp.DateAdd
    return exp.cast(by(this=one.copy(), expression=other.copy(), unit=_DAY.copy()), _DATE)
