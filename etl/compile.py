"""What the SQL of every kind shares: the relations a SELECT reads, the columns the engine adds to it.

Pure: declarations in, SQL text in DuckDB's dialect out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlglot
from sqlglot import exp

from starberg.etl.model import Kind, Lookup, Table, Warehouse
from starberg.utils.sql import quote, quote_name

LOAD = "_load_id"
RUN = "_run_id"
DELETED_AT = "_deleted_at"


def live_rows(table_id: str) -> str:
    """Return the rows of a staging table that its source has now."""
    return f"SELECT * EXCLUDE ({DELETED_AT}, {RUN}) FROM {quote(table_id)} WHERE {DELETED_AT} IS NULL"


def all_rows(table_id: str) -> str:
    """Return the rows of a staging table with the last values of those its source has deleted."""
    return f"SELECT * EXCLUDE ({RUN}) FROM {quote(table_id)}"


def with_relations(relations: Mapping[str, str], select: str) -> str:
    """Return `select` with named relations in front; its own WITH clause stays inside.

    >>> print(with_relations({"a": "SELECT 1"}, "SELECT * FROM a"))
    WITH "a" AS (SELECT 1)
    SELECT * FROM a
    """
    if not relations:
        return select
    listed = ",\n".join(f"{quote_name(name)} AS ({body})" for name, body in relations.items())
    return f"WITH {listed}\n{select}"


def over_staging(table: Table, select: str, *, deleted: Sequence[str] = ()) -> str:
    """Return a builder's SELECT over live staging rows; the tables in `deleted` keep their deleted rows."""
    relations = {
        name: all_rows(f"{table.warehouse}.{name}") if name in deleted else live_rows(f"{table.warehouse}.{name}")
        for name in table.reads
        if "." not in name
    }
    return with_relations(relations, select)


def source_select(table: Table, lookups: Mapping[str, Lookup]) -> str:
    """Return a fact's or bridge's SELECT with the columns its lookups read and its lineage added."""
    parsed = _parsed(table)
    if not isinstance(parsed, exp.Select):
        return _outer(table)
    given = {projection.alias_or_name for projection in parsed.selects}
    wanted = [column for lookup in lookups.values() for column in lookup.own_columns()]
    for column in dict.fromkeys(wanted):
        if column not in given:
            parsed = parsed.select(exp.column(column, quoted=True))
    return _with_lineage(table, parsed).sql("duckdb", pretty=True)


def lineage_select(table: Table) -> str:
    """Return a dimension's SELECT with its lineage added."""
    parsed = _parsed(table)
    if not isinstance(parsed, exp.Select):
        return _outer(table)
    return _with_lineage(table, parsed).sql("duckdb", pretty=True)


def staging_select(table: Table) -> str:
    """Return a staging SELECT that passes the engine's columns of its stream on."""
    parsed = _parsed(table)
    assert isinstance(parsed, exp.Select)
    if not parsed.is_star:
        alias = driver(parsed)
        parsed = parsed.select(exp.column(LOAD, alias), exp.column(DELETED_AT, alias))
    return parsed.sql("duckdb", pretty=True)


def driver(parsed: exp.Query) -> str:
    """Return the alias of the first relation a SELECT reads, or nothing."""
    source = parsed.args.get("from_") or parsed.args.get("from")
    return source.this.alias_or_name if source else ""


def driver_table(table: Table) -> str:
    """Return the staging table that drives a SELECT, or nothing if it is not one."""
    parsed = _parsed(table)
    source = (parsed.args.get("from_") or parsed.args.get("from")) if isinstance(parsed, exp.Select) else None
    name = source.this.name if source and isinstance(source.this, exp.Table) else ""
    return name if name in table.reads else ""


def lookups(table: Table) -> Mapping[str, Lookup]:
    """Return a table's key lookups: surrogate key column → lookup."""
    return getattr(table.header, "keys", {})


def dependents_on(warehouse: Warehouse, dimension: str) -> list[tuple[Table, Lookup]]:
    """Return the facts and bridges that look a dimension up, with each lookup."""
    return [
        (table, lookup)
        for table in warehouse.of_kind(Kind.FACT, Kind.BRIDGE)
        for lookup in lookups(table).values()
        if lookup.dimension == dimension
    ]


def _parsed(table: Table) -> exp.Query:
    parsed = sqlglot.parse_one(table.select, dialect="duckdb")
    assert isinstance(parsed, exp.Query)
    return parsed


def _outer(table: Table) -> str:
    return f"SELECT *, NULL::BIGINT AS {LOAD} FROM ({table.select})"


def _with_lineage(table: Table, parsed: exp.Select) -> exp.Select:
    """Add the load a row comes from: its driver's, the newest one of a group, or null where rows cannot tell."""
    known = bool(driver_table(table)) and not parsed.args.get("distinct")
    load: exp.Expression = exp.column(LOAD, driver(parsed)) if known else exp.cast(exp.null(), "BIGINT")
    grouped = parsed.args.get("group") or any(_aggregates(projection) for projection in parsed.selects)
    if known and grouped:
        load = exp.Max(this=load)
    return parsed.select(exp.alias_(load, LOAD))


def _aggregates(projection: exp.Expr) -> bool:
    return any(not found.find_ancestor(exp.Window) for found in projection.find_all(exp.AggFunc))
