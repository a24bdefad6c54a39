"""Views and functions as DuckDB's views and macros.

Tables are named in full, so that a temporary table of a query never stands in for one; an argument is `$name` and never
a column, neither the SELECT's nor the caller's: its value is taken once, in a relation of its own that sees no table.
Pure: declarations in, SQL out.
"""

from __future__ import annotations

from sqlglot import TokenType, exp

from starberg.etl.headers import FunctionHeader
from starberg.etl.model import Kind, Table
from starberg.etl.sql_body import Body, cte_of, parse_body
from starberg.utils.sql import quote, quote_name

_ARGUMENTS = "_arguments"


def create(item: Table) -> str:
    """Return the statement that makes a view or function of its warehouse."""
    if item.kind is Kind.VIEW:
        return f"CREATE OR REPLACE VIEW {quote(item.id)} AS {_named_in_full(item, parse_body(item.select))}"
    header = function_header(item)
    parameters = ", ".join(f"_argument{number}" for number in range(len(header.arguments)))
    body = _with_arguments(header, _named_in_full(item, parse_body(item.select)))
    body = f"TABLE {body}" if header.returns == "table" else f"({body})"
    return f"CREATE OR REPLACE MACRO {quote(item.id)}({parameters}) AS {body}"


def function_header(function: Table) -> FunctionHeader:
    """Return a function's header."""
    assert isinstance(function.header, FunctionHeader)
    return function.header


def signature(function: Table) -> str:
    """Return a function as its users call it.

    >>> signature(function)  # doctest: +SKIP
    'fn_top_customers(n)'
    """
    return f"{function.name}({', '.join(function_header(function).arguments)})"


def _named_in_full(item: Table, body: Body) -> str:
    """Return the SELECT with the warehouse in front of its tables, and arguments read from their relation."""
    edits = [
        (table.this.meta["start"], table.this.meta["start"], f"{quote_name(item.warehouse)}.")
        for table in body.query.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier) and not table.db and cte_of(table) is None
    ]
    edits += [(p.start, p.end, f"(SELECT {quote_name(p.name)} FROM {_ARGUMENTS})") for p in body.parameters]
    text = body.text
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    added = len(text) - len(body.text)
    return text[body.tokens[0].start : body.tokens[-1].end + 1 + added]


def _with_arguments(header: FunctionHeader, select: str) -> str:
    """Put the relation of the arguments in front; it joins the SELECT's own WITH, as an order would be lost outside."""
    if not header.arguments:
        return select
    taken = ", ".join(
        f"CAST(_argument{number} AS {kind}) AS {quote_name(name)}"
        for number, (name, kind) in enumerate(header.arguments.items())
    )
    relation = f"{_ARGUMENTS} AS (SELECT {taken})"
    tokens = parse_body(select).tokens
    if tokens[0].token_type != TokenType.WITH:
        return f"WITH {relation} {select}"
    first = 2 if tokens[1].token_type == TokenType.RECURSIVE else 1
    return f"{select[: tokens[first].start]}{relation}, {select[tokens[first].start :]}"
