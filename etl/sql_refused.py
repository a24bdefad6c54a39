"""What no SELECT of a declaration may say, and what to write instead.

One promise stands behind it: the same rows give the same table whenever and wherever it is computed. Names of functions
are looked for by token, so that no parser's idea of a function lets one pass.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from sqlglot import Token, TokenType, exp

from starberg.etl.sql_body import Body, SqlProblem, table_name
from starberg.utils.did_you_mean import did_you_mean

_CLOCK = ("depends on when it runs", "A snapshot has its day as run_date(); other tables have none.")
_CHANCE = ("gives another value every time", "Derive it from columns, such as md5(concat_ws('|', a, b)).")
_HASH = ("differs between engines and their versions", "Use md5(…).")
_STATE = ("reads the state of a session", "Take the value from a column, or write it down.")
_REFUSED_FUNCTIONS = {
    **dict.fromkeys(
        (
            "clock_timestamp",
            "current_date",
            "current_localtime",
            "current_localtimestamp",
            "current_time",
            "current_timestamp",
            "get_current_time",
            "get_current_timestamp",
            "localtime",
            "localtimestamp",
            "now",
            "statement_timestamp",
            "today",
            "transaction_timestamp",
        ),
        _CLOCK,
    ),
    **dict.fromkeys(("gen_random_uuid", "rand", "random", "setseed", "uuid", "uuidv4", "uuidv7"), _CHANCE),
    "hash": _HASH,
    **dict.fromkeys(
        (
            "currval",
            "current_catalog",
            "current_database",
            "current_query",
            "current_schema",
            "current_schemas",
            "current_setting",
            "current_user",
            "getenv",
            "getvariable",
            "nextval",
            "session_user",
            "txid_current",
            "version",
        ),
        _STATE,
    ),
}
_WITHOUT_BRACKETS = {
    "current_catalog",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
}
_TABLE_FUNCTIONS = {"generate_series", "generate_subscripts", "json_each", "json_tree", "range", "unnest"}
"""Table functions that read nothing but their arguments."""

_ORDERED_AGGREGATES = (exp.AnyValue, exp.ArrayAgg, exp.First, exp.GroupConcat, exp.Last)
_ORDERED_WINDOWS = (exp.FirstValue, exp.Lag, exp.LastValue, exp.Lead, exp.NthValue, exp.Ntile, exp.RowNumber)
_WRITES = (exp.Command, exp.Create, exp.Delete, exp.Drop, exp.Insert, exp.Into, exp.Merge, exp.Update)


def refused(body: Body, arguments: Collection[str] = (), *, snapshot: bool = False) -> Iterator[SqlProblem]:
    """Yield what is refused in every kind of table but run_date() in a `snapshot`; `arguments` are a function's."""
    yield from _refused_functions(body.tokens)
    if not snapshot:
        hint = "Declare `load: snapshot daily` and `date`; facts `by date` tell a row's day by a column of their own."
        for node in body.query.walk():
            if called_name(node) == "run_date":
                yield body.problem(node, "run_date() is the day of a snapshot; there is none here", hint)
    yield from _refused_shapes(body)
    yield from _refused_names(body, arguments)
    yield from _unordered(body)


def _refused_functions(tokens: Sequence[Token]) -> Iterator[SqlProblem]:
    before: Token | None = None
    for token, after in pairwise([*tokens, None]):
        assert token is not None
        word = token.text.lower()
        called = after is not None and after.token_type == TokenType.L_PAREN
        named = before is not None and before.token_type in (TokenType.DOT, TokenType.ALIAS)
        quoted = token.token_type in (TokenType.IDENTIFIER, TokenType.STRING) and not called
        if word in _REFUSED_FUNCTIONS and not quoted and (called or (word in _WITHOUT_BRACKETS and not named)):
            why, instead = _REFUSED_FUNCTIONS[word]
            shown = f"{word}()" if called else word
            yield SqlProblem(f"{shown} {why}", hint=instead, line=token.line, column=token.col - len(token.text) + 1)
        before = token


def _refused_shapes(body: Body) -> Iterator[SqlProblem]:
    for node in body.query.walk():
        if isinstance(node, _WRITES):
            yield body.problem(node, "it writes", "A file holds one SELECT; the engine writes.")
        elif isinstance(node, exp.TableSample):
            yield body.problem(node, "a sample is another one every time", "Filter by a column.")
        elif isinstance(node, exp.Table):
            yield from _refused_table(body, node)
        elif isinstance(node, exp.Join) and node.method.upper() == "POSITIONAL":
            yield body.problem(node, "rows have no position", "Join on columns.")
        elif isinstance(node, exp.Anonymous) and node.name.lower() == "age" and len(node.expressions) == 1:
            yield body.problem(node, "age() of one value depends on when it runs", "Write age(x, y).")


def _refused_names(body: Body, arguments: Collection[str]) -> Iterator[SqlProblem]:
    for node in body.query.walk():
        if isinstance(node, exp.Placeholder | exp.Parameter | exp.SessionParameter):
            if not arguments:
                yield body.problem(node, "a parameter has no value here", "Write the value.")
            elif node.name not in arguments:
                yield body.problem(node, f"there is no argument {node.name!r}", did_you_mean(node.name, arguments))
        elif called_name(node).startswith(("fn_", "sp_")):
            yield body.problem(node, f"{called_name(node)}() is for queries", "Write its SELECT here.")


def _refused_table(body: Body, table: exp.Table) -> Iterator[SqlProblem]:
    if not isinstance(table.this, exp.Identifier):
        function = table.this
        name = function.sql_name() if isinstance(function, exp.Func) else ""
        name = called_name(function) or name.lower()
        if name and name not in _TABLE_FUNCTIONS:
            hint = "Declare a stream in warehouse.yml and read its staging table."
            yield body.problem(table, f"{name}() reads past the declared sources", hint)
    elif any(not re.fullmatch(r"\w+", part.name) for part in table.parts):
        hint = "Declare a stream in warehouse.yml and read its staging table."
        yield body.problem(table, f"{table_name(table)!r} is not the name of a table", hint)
    elif len(table.parts) > 2:
        yield body.problem(table, f"{table_name(table)} has three parts", "Write table, or warehouse.table.")


def called_name(node: exp.Expr) -> str:
    """Return the lower-case name of a function sqlglot has no class for."""
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


def _unordered(body: Body) -> Iterator[SqlProblem]:
    """Yield what picks or lists rows in an order nobody gave."""
    for node in body.query.walk():
        if isinstance(node, _ORDERED_AGGREGATES) or called_name(node) == "arbitrary":
            if not (any(isinstance(part, exp.Order) for part in node.iter_expressions()) or _over_order(node)):
                yield _unordered_aggregate(body, node)
        elif isinstance(node, _ORDERED_WINDOWS) and not _over_order(node):
            name = _function(body, node)
            yield body.problem(node, f"{name}() over rows in no order", f"Write {name}(…) OVER (… ORDER BY y).")
        elif _takes_some_rows(node) and not (node.parent and node.parent.args.get("order")):
            what = "DISTINCT ON" if isinstance(node, exp.Distinct) else "LIMIT"
            hint = "Add ORDER BY columns that tell the rows apart."
            yield body.problem(node, f"{what} takes any rows where there is no order", hint)


def _unordered_aggregate(body: Body, node: exp.Expr) -> SqlProblem:
    place = node.parent if isinstance(node.parent, exp.IgnoreNulls) else node  # any_value() is read as if it said so
    name = _function(body, place)
    hint = f"Write {name}(x ORDER BY y), y telling the rows apart; max(x) if any will do."
    return body.problem(place, f"{name}() takes rows in no order", hint)


def _takes_some_rows(node: exp.Expr) -> bool:
    if isinstance(node, exp.Distinct):
        return bool(node.args.get("on"))
    return isinstance(node, exp.Limit | exp.Fetch | exp.Offset) and not isinstance(node.parent, exp.GroupConcat)


def _over_order(node: exp.Expr) -> bool:
    """Return whether a function runs over a window with an order."""
    above = node.parent
    while isinstance(above, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        above = above.parent
    if not isinstance(above, exp.Window):
        return False
    select = above.parent_select
    named = {w.name.lower(): w for w in (select.args.get("windows") or [])} if select is not None else {}
    window = named.get(above.alias.lower(), above)
    return bool(window.args.get("order") or above.args.get("order"))


def _function(body: Body, node: exp.Expr) -> str:
    """Return the name of a function with arguments as written; sqlglot has several names for one class."""
    start = body.start(node)
    before = re.search(r"(\w+)\s*\(\s*(?:distinct\s+)?$", body.text[:start], re.IGNORECASE)
    here = re.match(r"(\w+)\s*\(", body.text[start:])
    found = here or before
    return found[1].lower() if found else "it"
