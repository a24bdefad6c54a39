"""What the SQL of every kind shares: the relations a SELECT reads, the columns the engine adds to it.

Pure: declarations in, SQL text in DuckDB's dialect out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from starberg.etl.headers import Lookup
from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.sql_body import Body, output_name, parse_body, star_of, table_name
from starberg.etl.sql_columns import Columns, driver_columns, key_columns, with_columns
from starberg.utils.sql import quote, quote_name

LOAD = "_load_id"
RUN = "_run_id"
DELETED_AT = "_deleted_at"
ROW_NUMBER, OP, OBSERVED = "_row_number", "_op", "_observed"
"""Columns of a table of changes, beside `LOAD`: place in the load, what was seen (U, D, X, P), and when (UTC)."""

_HAS_WITH = re.compile(r"\s*with\b", re.IGNORECASE)


def live_rows(table_id: str) -> str:
    """Return the rows of a staging table that its source has now."""
    return f"SELECT * EXCLUDE ({DELETED_AT}, {RUN}) FROM {quote(table_id)} WHERE {DELETED_AT} IS NULL"


def all_rows(table_id: str) -> str:
    """Return the rows of a staging table with the last values of those its source has deleted."""
    return f"SELECT * EXCLUDE ({RUN}) FROM {quote(table_id)}"


def with_relations(relations: Mapping[str, str], select: str) -> str:
    """Return `select` with named relations in front; its own WITH clause stays inside.

    >>> print(with_relations({"a": "SELECT 1"}, "SELECT * FROM a"))
    WITH "a" AS (SELECT 1
    )
    SELECT * FROM a
    """
    if not relations:
        return select
    listed = ",\n".join(f"{quote_name(name)} AS ({body}\n)" for name, body in relations.items())
    if _HAS_WITH.match(select):
        select = f"SELECT * FROM (\n{select}\n)"
    return f"WITH {listed}\n{select}"


def over_staging(
    table: Table, select: str, *, deleted: Sequence[str] = (), part: Mapping[str, Callable[[str], str]] | None = None
) -> str:
    """Return a builder's SELECT over live staging rows; the tables in `deleted` keep their deleted rows.

    `part` maps a table to a function from its rows to some of them.
    """
    relations = {
        name: all_rows(f"{table.warehouse}.{name}") if name in deleted else live_rows(f"{table.warehouse}.{name}")
        for name in table.reads
        if "." not in name
    }
    relations |= {name: of(relations[name]) for name, of in (part or {}).items()}
    return with_relations(relations, select)


def source_select(table: Table) -> str:
    """Return a fact's or bridge's SELECT with the columns its lookups read, and its lineage, added."""
    body = parse_body(table.select)
    given = {output_name(projection) for projection in body.projections}
    wanted = [column for lookup in lookups(table).values() for column in lookup.read_columns()]
    extra = [column for column in dict.fromkeys(wanted) if column not in given]
    return _with_lineage(table, body, extra)


def lineage_select(table: Table) -> str:
    """Return a dimension's SELECT with its lineage added."""
    return _with_lineage(table, parse_body(table.select), [])


def staging_select(table: Table) -> str:
    """Return a staging SELECT that passes the engine's columns of its stream on."""
    body = parse_body(table.select)
    starred = any(star_of(projection) is not None for projection in body.projections)
    return body.select if starred else with_columns(body, [LOAD, DELETED_AT])


def changes_select(table: Table) -> str:
    """Return a staging SELECT that passes on a record's place and time."""
    body = parse_body(table.select)
    starred = any(star_of(projection) is not None for projection in body.projections)
    return body.select if starred else with_columns(body, [LOAD, ROW_NUMBER, OBSERVED])


def staging_key(table: Table, warehouse: Warehouse) -> list[str]:
    """Return the staging table's columns that hold its stream's key, in its order."""
    _, stream = warehouse.stream_of(table)
    columns = Columns.of([*stream.columns, *stream.key], complete=False)
    return key_columns(parse_body(table.select), stream.key, lambda _: columns)


def with_deleted_at(table: Table) -> str:
    """Return a fact's SELECT as `source_select`, with its driver's time of deletion."""
    return with_columns(parse_body(source_select(table)), [DELETED_AT])


def driver(table: Table) -> str:
    """Return the staging table a SELECT's rows are rows of, or nothing where rows cannot tell (groups, unions)."""
    body = parse_body(table.select)
    source = body.query.args.get("from_")
    name = table_name(source.this) if source and isinstance(source.this, exp.Table) else ""
    return name if name in table.reads and LOAD in driver_columns(body, lambda _: Columns.of([LOAD])) else ""


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


def _with_lineage(table: Table, body: Body, extra: Sequence[str]) -> str:
    """Add the load a row comes from: its driver's, or null where a row is not one of its driver's."""
    if driver(table):
        return with_columns(body, [*extra, LOAD])
    return f"SELECT *, NULL::BIGINT AS {LOAD} FROM ({with_columns(body, extra)})"
