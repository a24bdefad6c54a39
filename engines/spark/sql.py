"""DuckDB's SQL as Spark's: names, stars and joins written out, then what `functions` allows. Pure.

Spark 3.5 has no `* EXCLUDE`, no UNION BY NAME, no QUALIFY, no FROM without SELECT, and resolves names otherwise. So a
SELECT is first written with every column by its full name, over relations whose columns and types are known; what is
left are expressions, each of which is allowed, rewritten or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope
from sqlglot.schema import MappingSchema

from starberg.engines.spark.functions import METADATA, allowed, rewritten
from starberg.engines.spark.syntax import NotInSpark
from starberg.engines.spark.types import SparkSql, plain_name
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote_name

ROW_ID = "rowid"
"""DuckDB's number of a temporary table's row."""


@dataclass(frozen=True)
class Relation:
    """A table as Spark has it: the name of its view, and its columns with their types in DuckDB's spelling.

    `numbered` names a view of the same rows that has `rowid` too.
    """

    view: str
    columns: Mapping[str, str]
    numbered: str = ""


Resolve = Callable[[str, str], Relation]
"""Finds the relation of a schema (empty: not named) and a table's name."""


def parsed(select: str) -> exp.Expr:
    """Return a SELECT as sqlglot has it; UsageError if it cannot be read."""
    with _as_usage():
        return _parsed(select)


def _parsed(select: str) -> exp.Expr:
    """Return a SELECT as sqlglot has it, and `timezone(zone, time)` as AT TIME ZONE, which it is."""
    query = parse_one(select, read="duckdb")
    for call in list(query.find_all(exp.Anonymous)):
        if call.name.lower() == "timezone" and len(call.expressions) == 2:
            zone, time = call.expressions
            call.replace(exp.AtTimeZone(this=time, zone=zone))
    return query


def to_spark(query: exp.Expr, resolve: Resolve, *, strict: bool = True) -> str:
    """Return a SELECT in Spark's SQL; its columns come out in DuckDB's order, not always of its types.

    The query is used up. Functions that are on no list are refused, or without `strict` as sqlglot translates them.
    Raises UsageError for what Spark cannot do in just the same way, or for SQL that is wrong.
    """
    with _as_usage():
        _name_plainly(query)
        _name_joined(query)
        schema = _over_relations(query, resolve)
        query = qualify(
            query,
            schema=schema,
            dialect="duckdb",
            expand_alias_refs=True,
            validate_qualify_columns=True,
            identify=True,
        )
        _by_position(query)
        query = annotate_types(query, schema=schema, expression_metadata=METADATA, dialect="duckdb")
        return rewritten(query, strict=strict).sql(SparkSql)


@contextmanager
def _as_usage() -> Iterator[None]:
    try:
        yield
    except NotInSpark as refused:
        raise UsageError(f"Spark: {refused}", hint=refused.hint) from None
    except SqlglotError as error:
        raise UsageError(f"SQL for Spark: {str(error).splitlines()[0]}") from error


def refused(select: str) -> str:
    """Return what of a declared SELECT Spark cannot do, with its line; nothing if its functions are all allowed.

    >>> refused("select a,\\n  list_sort(b) as b from t")
    'line 2: ARRAY_SORT is not among the functions that are the same in Spark: DuckDB only'
    """
    try:
        query = _parsed(select)
    except SqlglotError as error:
        return str(error).splitlines()[0]
    return next((str(problem) for problem in allowed(query)), "")


def tables_of(query: exp.Expr) -> Iterator[exp.Table]:
    """Yield the tables of a query that are none of its own relations (WITH, subqueries)."""
    found = (source for scope in traverse_scope(query) for source in scope.sources.values())
    yield from {id(source): source for source in found if isinstance(source, exp.Table)}.values()


def _over_relations(query: exp.Expr, resolve: Resolve) -> MappingSchema:
    """Put Spark's views in the places of tables; return their schema."""
    found: dict[str, dict[str, str]] = {}
    for table in tables_of(query):
        if not isinstance(table.this, exp.Identifier):
            raise NotInSpark(table.this, "reads what is no table")
        relation = resolve(table.db, table.name)
        columns = {quote_name(plain_name(name.lower())): kind for name, kind in relation.columns.items()}
        view = relation.view
        if relation.numbered and _reads_row_id(table):
            columns, view = {**columns, ROW_ID: "BIGINT"}, relation.numbered
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        table.set("this", exp.to_identifier(view, quoted=True))
        for part in ("db", "catalog"):
            table.set(part, None)
        found[view] = columns
    schema = MappingSchema(dialect="duckdb", normalize=False)
    for view, columns in found.items():
        schema.add_table(exp.to_table(f'"{view}"', dialect="duckdb"), columns, dialect="duckdb", match_depth=False)
    return schema


def _name_plainly(query: exp.Expr) -> None:
    """Call columns as their views in Spark do."""
    for name in query.find_all(exp.Identifier):
        if not isinstance(name.parent, exp.Dot):
            name.set("this", plain_name(name.this))


def _name_joined(query: exp.Expr) -> None:
    """Give what is SEMI or ANTI joined a name that no column has: sqlglot would look for a field of that column."""
    for join in query.find_all(exp.Join):
        if join.kind not in ("SEMI", "ANTI"):
            continue
        old, new = join.this.alias_or_name, f"joined {join.this.alias_or_name}"
        join.this.set("alias", exp.TableAlias(this=exp.to_identifier(new, quoted=True)))
        condition = join.args.get("on")
        for column in condition.find_all(exp.Column) if condition else ():
            if column.table.lower() == old.lower():
                column.set("table", exp.to_identifier(new, quoted=True))


def _reads_row_id(table: exp.Table) -> bool:
    """Tell whether the SELECT that reads a table shows its row numbers."""
    select = table.find_ancestor(exp.Select)
    shown = select.expressions if select else []
    return any(column.name.lower() == ROW_ID for part in shown for column in part.find_all(exp.Column))


def _by_position(query: exp.Expr) -> None:
    """Write each UNION BY NAME as one by position: the left columns, then the right's own; what is lacking is null."""
    unions = [node for node in query.find_all(exp.SetOperation) if node.args.get("by_name")]
    for union in reversed(unions):
        sides: list[exp.Query] = [union.this, union.expression]
        names: dict[str, str] = {}
        for side in sides:
            for name in side.named_selects:
                names.setdefault(name.lower(), name)
        for part, side in zip(("this", "expression"), sides, strict=True):
            union.set(part, _with_columns(side, list(names.values())))
        union.set("by_name", False)


def _with_columns(side: exp.Query, names: list[str]) -> exp.Query:
    """Return a query with just these columns in this order."""
    has = {name.lower(): name for name in side.named_selects}
    if list(has) == [name.lower() for name in names]:
        return side
    if isinstance(side, exp.Select) and not side.args.get("distinct"):
        own = {select.alias_or_name.lower(): select for select in side.expressions}
        side.set("expressions", [own.get(name.lower()) or _nothing(name) for name in names])
        return side
    listed = [exp.column(has[n.lower()], table="u", quoted=True) if n.lower() in has else _nothing(n) for n in names]
    inner = side if isinstance(side, exp.Subquery) else side.subquery(copy=False)
    inner.set("alias", exp.TableAlias(this=exp.to_identifier("u", quoted=True)))
    return exp.select(*listed).from_(inner, copy=False)


def _nothing(name: str) -> exp.Expr:
    return exp.alias_(exp.Null(), name, quoted=True)
