"""What the columns of a SELECT are and where they come from, given what the tables it reads hold.

Enough lineage for three questions: does a column come out, is it a key passed on as it was, and could the compiler
add it. Names compare without case, as DuckDB does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from starberg.etl.sql_body import Body, SqlProblem, cte_of, first_select, output_name, select_list, star_of, table_name
from starberg.utils.sql import quote_name


@dataclass(frozen=True)
class Output:
    """One column a SELECT yields; `source` is the column of the first relation it passes on unchanged, if it does."""

    name: str
    source: str = ""


@dataclass(frozen=True)
class Columns:
    """The columns of a relation by lower-case name; not complete where a `*` reads a relation nobody declared."""

    by_name: Mapping[str, Output] = field(default_factory=dict)
    complete: bool = True

    @classmethod
    def of(cls, names: Iterable[str], *, complete: bool = True) -> Columns:
        """Return a relation's own columns, each its own source."""
        return cls({name.lower(): Output(name, name) for name in names}, complete)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self.by_name

    def lacks(self, name: str) -> bool:
        """Return whether a column is surely not there."""
        return self.complete and name not in self


UNKNOWN = Columns(complete=False)

ColumnsOf = Callable[[str], Columns]
"""Returns the columns of a table by its name as read."""

Relations = Sequence[tuple[str, Columns]]
"""What stands in FROM and JOIN, in order: lower-case alias and columns."""


def output_columns(body: Body, columns_of: ColumnsOf) -> Columns:
    """Return what the SELECT yields, given what the tables it reads hold."""
    return _outputs(body.query, columns_of)


def key_columns(body: Body, stream_key: Sequence[str], columns_of: ColumnsOf) -> list[str]:
    """Return the names under which a row-wise SELECT passes on its stream's key, in the key's order.

    SqlProblem names the first key column that is missing or computed.
    """
    columns = output_columns(body, columns_of)
    return [_key_column(columns, key) for key in stream_key]


def _key_column(columns: Columns, key: str) -> str:
    passed = [output.name for output in columns.by_name.values() if output.source.lower() == key.lower()]
    if not passed:
        raise SqlProblem(
            f"the stream's key column {key!r} is not passed on as it is",
            hint=f"Add {key}, or {key} AS another_name, to the SELECT.",
        )
    return key if key in passed else passed[0]


def driver_columns(body: Body, columns_of: ColumnsOf) -> Columns:
    """Return the columns the compiler may add to a SELECT: those of the first relation after FROM.

    None where a row of the result is not a row of it: a UNION, GROUP BY, DISTINCT or aggregate.
    """
    select = body.query
    source = _driver(select)
    if not isinstance(select, exp.Select) or source is None or not source.alias_or_name or select_list(body) is None:
        return Columns()
    if select.args.get("group") or select.args.get("distinct") or any(aggregates(select)):
        return Columns()
    return _relation(source, columns_of)


def with_columns(body: Body, names: Sequence[str]) -> str:
    """Return the SELECT with plain columns of its driver added after the written ones."""
    place, source = select_list(body), _driver(body.query)
    if not names or place is None or source is None:
        return body.select
    last = body.tokens[place[1] - 1]
    comma = " " if last.text == "," else ", "
    added = ", ".join(f"{quote_name(source.alias_or_name)}.{quote_name(name)}" for name in names)
    cut = last.end + 1 - body.tokens[0].start
    return body.select[:cut] + comma + added + body.select[cut:]


def aggregates(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield a SELECT's own aggregates: not those over windows or in subqueries."""
    for node in select.find_all(exp.AggFunc):
        above = node.parent
        while isinstance(above, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
            above = above.parent
        if not isinstance(above, exp.Window) and node.parent_select is select:
            yield node


def _driver(query: exp.Expr) -> exp.Expr | None:
    source = query.args.get("from_")
    return source.this if source is not None else None


def _relation(source: exp.Expr, columns_of: ColumnsOf) -> Columns:
    """Return the columns of something that stands in FROM or JOIN, each its own source."""
    if source.args.get("alias") and source.args["alias"].columns:
        return UNKNOWN
    if isinstance(source, exp.Subquery):
        return _outputs(source.this, columns_of)
    if not (isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier)):
        return UNKNOWN
    cte = cte_of(source)
    if cte is None:
        return columns_of(table_name(source))
    if cte.parent is None or cte.parent.args.get("recursive") or cte.args["alias"].columns:
        return UNKNOWN
    return _outputs(cte.this, columns_of)


def _outputs(query: exp.Expr, columns_of: ColumnsOf) -> Columns:
    select = first_select(query)
    if select is None:
        return UNKNOWN
    joins = [join.this for join in select.args.get("joins") or []]
    sources = [source for source in (_driver(select), *joins) if source is not None]
    relations = [(source.alias_or_name.lower(), _relation(source, columns_of)) for source in sources]
    found: dict[str, Output] = {}
    complete = True
    for projection in select.expressions:
        if star_of(projection) is None:
            outputs = [Output(output_name(projection), _origin(projection.unalias(), relations))]
        else:
            outputs, known = _star(projection, relations)
            complete = complete and known
        for output in outputs:
            found.setdefault(output.name.lower(), output)
    if not isinstance(query, exp.Select | exp.Subquery):  # a UNION's rows have several origins
        found = {key: Output(output.name) for key, output in found.items()}
    return Columns(found, complete)


def _origin(expression: exp.Expr, relations: Relations) -> str:
    """Return which source column of the first relation a plain column is, if it is one."""
    if not isinstance(expression, exp.Column) or expression.args.get("db") or not relations:
        return ""
    driver, columns = relations[0]
    of = expression.table.lower()
    if of != driver and (of or len(relations) > 1):
        return ""
    column = columns.by_name.get(expression.name.lower())
    if column is not None:
        return column.source
    return "" if columns.complete else expression.name


def _star(projection: exp.Expr, relations: Relations) -> tuple[list[Output], bool]:
    """Return the columns of `*`, `t.*` or `columns(…)`, and whether they are all of them."""
    star = star_of(projection)
    if not isinstance(star, exp.Star):
        return [], False
    of = projection.table.lower() if isinstance(projection, exp.Column) else ""
    read = [(i, columns) for i, (name, columns) in enumerate(relations) if of in ("", name)]
    outputs = [output if i == 0 else Output(output.name) for i, columns in read for output in _starred(star, columns)]
    return outputs, all(columns.complete for _, columns in read)


def _starred(star: exp.Star, columns: Columns) -> Iterator[Output]:
    """Yield what `* exclude (…) replace (…) rename (…)` makes of a relation's columns."""
    left_out = {column.name.lower() for column in star.args.get("except_") or []}
    replaced = {alias.alias.lower() for alias in star.args.get("replace") or []}
    renamed = {alias.this.name.lower(): alias.alias for alias in star.args.get("rename") or []}
    for key, output in columns.by_name.items():
        if key not in left_out:
            yield Output(renamed.get(key, output.name), "" if key in replaced else output.source)
