"""What type a column has, as far as declarations tell without computing anything. Pure."""

from __future__ import annotations

from sqlglot import exp

from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.sql_body import Body, cte_of, first_select, output_name, parse_body, table_name
from starberg.etl.sql_columns import UNKNOWN, Columns, output_columns
from starberg.etl.sql_refused import called_name


def is_date(table: Table, column: str, warehouse: Warehouse) -> bool | None:
    """Return whether a column of a table's SELECT is a date and no time; None if that cannot be told.

    Told are casts, `run_date()`, and columns passed on from the first table after FROM that are one of these, or are
    declared by a stream.
    """
    body = parse_body(table.select)
    written = next((p.unalias() for p in body.projections if output_name(p).lower() == column.lower()), None)
    if isinstance(body.query, exp.Select) and isinstance(written, exp.Cast):
        return written.to.is_type("date")
    if isinstance(body.query, exp.Select) and written is not None and called_name(written) == "run_date":
        return True
    if table.kind is Kind.STAGING:
        _, stream = warehouse.stream_of(table)
        passed = _passed(body, column, Columns.of(stream.columns, complete=False))
        return stream.column(passed).type.upper() == "DATE" if passed in stream.columns else None
    first = warehouse.tables.get(_first_table(body.query))
    if first is None or first.kind is not Kind.STAGING:
        return None
    passed = _passed(body, column, _columns(first, warehouse))
    return is_date(first, passed, warehouse) if passed else None


def is_passed_on(table: Table, column: str) -> bool:
    """Return whether a column of a table's SELECT is one of the first table after FROM, as it is."""
    return bool(_passed(parse_body(table.select), column, Columns(complete=False)))


def _passed(body: Body, column: str, known: Columns) -> str:
    """Return the column of the first table, whose columns are `known`, that a SELECT passes on under a name."""
    first = _first_table(body.query)
    output = output_columns(body, lambda name: known if name == first else UNKNOWN).by_name.get(column.lower())
    return output.source if output else ""


def _columns(staging: Table, warehouse: Warehouse) -> Columns:
    _, stream = warehouse.stream_of(staging)
    found = output_columns(parse_body(staging.select), lambda _: Columns.of(stream.columns, complete=False))
    return Columns.of([output.name for output in found.by_name.values()], complete=found.complete)


def _first_table(query: exp.Expr | None) -> str:
    """Return the table whose rows a SELECT reads first, through WITH and subqueries."""
    while (select := first_select(query)) is not None and (source := select.args.get("from_")) is not None:
        query = source.this
        if isinstance(query, exp.Table):
            cte = cte_of(query)
            if cte is None:
                return table_name(query)
            query = cte.this
    return ""
