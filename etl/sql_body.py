"""The SELECT of a declaration: parsed, what it reads, what it yields, where its columns come from.

Everything is found by sqlglot in DuckDB's dialect; text is cut and added to by token, never generated anew, so the
SQL that runs is the SQL that was written. Names compare without case, as DuckDB does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise

from sqlglot import ErrorLevel, Token, TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError

from starberg.utils.sql import quote_name

_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}
_NO_FROM = {TokenType.DISTINCT, TokenType.ALIAS, TokenType.DOT}
"""What stands before a FROM that is none: `a is distinct from b`, a column named from."""
_SET_OPERATORS = {TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT}


class SqlProblem(ValueError):
    """What is wrong with a SELECT, what to write instead, and where (1-based; 0: as a whole)."""

    def __init__(self, message: str, *, hint: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Parameter:
    """One `$name` in a text, from one offset to another."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Body:
    """One parsed SELECT. Offsets in `tokens` are those of `text`, lines count from its start."""

    text: str
    tokens: Sequence[Token]
    query: exp.Query

    @property
    def select(self) -> str:
        """The SELECT alone, without remarks before and after and without a semicolon."""
        return self.text[self.tokens[0].start : self.tokens[-1].end + 1]

    @property
    def first_line(self) -> int:
        """The line the SELECT starts at."""
        return self.tokens[0].line

    @cached_property
    def reads(self) -> Mapping[str, exp.Table]:
        """The tables read, in order: name as written (`table`, `warehouse.table`) and where it is first named."""
        found: dict[str, exp.Table] = {}
        for table in self.query.find_all(exp.Table):
            if isinstance(table.this, exp.Identifier) and cte_of(table) is None:
                found.setdefault(table_name(table), table)
        return dict(sorted(found.items(), key=lambda item: self.position(item[1])))

    @property
    def parameters(self) -> list[Parameter]:
        """The places of all `$name`, in order."""
        return [
            Parameter(name.text, dollar.start, name.end + 1)
            for dollar, name in pairwise(self.tokens)
            if dollar.token_type == TokenType.PARAMETER and dollar.text == "$"
        ]

    @property
    def projections(self) -> list[exp.Expr]:
        """What stands in the select list that names the outputs: the first of a UNION."""
        select = first_select(self.query)
        return select.expressions if select is not None else []

    def start(self, node: exp.Expr) -> int:
        """Return where a node starts in the text: the first thing in it that has a place, else what it stands in."""
        here: exp.Expr | None = node
        while here is not None:
            starts = [part.meta["start"] for part in here.walk() if "start" in part.meta]
            if starts:
                return int(min(starts))
            here = here.parent
        return self.tokens[0].start

    def position(self, node: exp.Expr) -> tuple[int, int]:
        """Return the line and column a node starts at."""
        start = self.start(node)
        return self.text.count("\n", 0, start) + 1, start - self.text.rfind("\n", 0, start)

    def problem(self, node: exp.Expr, message: str, hint: str = "") -> SqlProblem:
        """Return a problem at a node."""
        line, column = self.position(node)
        return SqlProblem(message, hint=hint, line=line, column=column)


@lru_cache(256)  # A build asks for the same few texts some forty times.
def parse_body(text: str) -> Body:
    """Parse exactly one SELECT, WITH … SELECT or UNION; SqlProblem says where it is not one."""
    tokens = _tokens(text)
    if not tokens:
        raise SqlProblem("there is no SELECT")
    statement = _one_statement(tokens)
    try:
        [query] = _duckdb().parser(error_level=ErrorLevel.IMMEDIATE).parse(list(statement), text)
    except ParseError as error:
        found = error.errors[0]
        word = str(found["highlight"] or "")
        column = max(1, int(found["col"] or 1) - len(word) + 1)
        message = f"SQL cannot be read at {word!r}: {str(found['description']).rstrip('.')}"
        raise SqlProblem(message, line=int(found["line"] or 0), column=column) from None
    select = first_select(query)
    if not isinstance(query, exp.Query) or select is None or not select.expressions:
        raise SqlProblem("a SELECT lists columns", line=statement[0].line)
    body = Body(text, statement, query)
    _check_commas(body)
    return body


def _check_commas(body: Body) -> None:
    """Refuse a select list such as `a,, b`: sqlglot reads two columns in it, DuckDB none."""
    start, end = select_list(body) or (0, 0)
    if start == end:
        return
    between = list(_split(body.tokens[start:end]))
    if len(between) != len(body.projections):
        empty = next(
            (i for i in range(start, end) if body.tokens[i].text == "," and body.tokens[i - 1].text == ","), start
        )
        token = body.tokens[empty]
        raise SqlProblem("a column is missing before or after a comma", line=token.line, column=token.col)


@cache
def _duckdb() -> Dialect:
    return Dialect.get_or_raise("duckdb")


def _tokens(text: str) -> Sequence[Token]:
    try:
        return _duckdb().tokenize(text)
    except TokenError as error:
        found = re.search(r"Missing (\S+) from (\d+):", str(error.__cause__))
        what = f"{found[1]} is never closed" if found else "a /* remark is never closed"
        raise SqlProblem(what, line=int(found[2]) if found else 0) from None


def _one_statement(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the tokens without closing semicolons, if they may be one SELECT."""
    end = next((i for i, token in enumerate(tokens) if token.token_type == TokenType.SEMICOLON), len(tokens))
    for token in tokens[end:]:
        if token.token_type != TokenType.SEMICOLON:
            raise SqlProblem("a second statement", hint="A file holds one SELECT; make another file.", line=token.line)
    if not end or tokens[0].token_type not in (TokenType.SELECT, TokenType.WITH):
        word = tokens[0].text.upper()
        raise SqlProblem(
            f"{word} is not a SELECT",
            hint="A file holds one SELECT, or WITH … SELECT: what is read; the engine writes.",
            line=tokens[0].line,
        )
    return tokens[:end]


def table_name(table: exp.Table) -> str:
    """Return a table's name as written."""
    return ".".join(part.name for part in table.parts)


def first_select(query: exp.Expr | None) -> exp.Select | None:
    """Return the SELECT that names the columns of a query, the first of a UNION; None for VALUES and such."""
    while query is not None and not isinstance(query, exp.Select):
        query = query.this if isinstance(query, exp.Query) else None
    return query


def cte_of(table: exp.Table) -> exp.CTE | None:
    """Return the CTE a table names: of an enclosing WITH, and there one before the reader (itself if recursive)."""
    if len(table.parts) > 1 or not isinstance(table.this, exp.Identifier):
        return None
    name = table.name.lower()
    here, inside = table.parent, None
    while here is not None:
        with_ = here.args.get("with_")
        if with_ is not None:
            for cte in with_.expressions:
                if cte is inside and not with_.args.get("recursive"):
                    break
                if cte.alias.lower() == name:
                    return cte  # type: ignore[no-any-return]
        if isinstance(here, exp.CTE):
            inside = here
        here = here.parent
    return None


def output_name(projection: exp.Expr) -> str:
    """Return the name a projection has been given, or nothing."""
    if isinstance(projection, exp.Dot):
        return str(projection.expression.name)
    return projection.name if isinstance(projection, exp.Column) else projection.alias


def fingerprint_parts(select: str, header: str) -> dict[str, str]:
    """Return what defines a table: the SQL of each column by name; all the rest, and the header, under the empty name.

    Remarks, line breaks and the case of words do not matter. A UNION's columns are told by the rest alone.
    """
    body = parse_body(select)
    place = select_list(body)
    if place is None:
        return {"": f"{_normal(body.tokens)} {header}"}
    start, end = place
    parts: dict[str, str] = {}
    for projection, tokens in zip(body.projections, _split(body.tokens[start:end]), strict=True):
        expression = _normal(tokens)
        parts[output_name(projection) if star_of(projection) is None else expression] = expression
    return parts | {"": f"{_normal(body.tokens[:start])} {_normal(body.tokens[end:])} {header}"}


def _normal(tokens: Sequence[Token]) -> str:
    return " ".join(_word(token) for token in tokens)


def _word(token: Token) -> str:
    if token.token_type == TokenType.IDENTIFIER:
        return quote_name(token.text)
    if token.token_type.name.endswith("STRING"):
        return f"{token.token_type.name[0].lower()}{token.text!r}"
    return token.text.lower()


def _split(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Cut a select list at its commas; a trailing comma ends it."""
    depth = start = 0
    for i, token in enumerate(tokens):
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        if depth == 0 and token.token_type == TokenType.COMMA:
            yield tokens[start:i]
            start = i + 1
    if start < len(tokens):
        yield tokens[start:]


def select_list(body: Body) -> tuple[int, int] | None:
    """Return the token range of the only outermost select list; the end is its FROM. None for a UNION or no FROM."""
    outer = _outermost(body.tokens)
    kinds = {body.tokens[i].token_type for i in outer}
    starts = [i for i in outer if body.tokens[i].token_type == TokenType.SELECT]
    if len(starts) != 1 or kinds & _SET_OPERATORS:
        return None
    start = starts[0] + 1
    for i in outer:
        if i > start and body.tokens[i].token_type == TokenType.FROM and body.tokens[i - 1].token_type not in _NO_FROM:
            return _after_distinct(body.tokens, start), i
    return None


def _after_distinct(tokens: Sequence[Token], start: int) -> int:
    return start + 1 if tokens[start].token_type in (TokenType.DISTINCT, TokenType.ALL) else start


def _outermost(tokens: Sequence[Token]) -> list[int]:
    """Return the indexes of tokens inside no bracket."""
    depth, found = 0, []
    for i, token in enumerate(tokens):
        depth -= token.token_type in _CLOSING
        if depth == 0:
            found.append(i)
        depth += token.token_type in _OPENING
    return found


def star_of(projection: exp.Expr) -> exp.Expr | None:
    """Return the `*` of a projection `*`, `t.*` or `columns(…)`."""
    if isinstance(projection, exp.Star | exp.Columns):
        return projection
    if isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star):
        return projection.this
    return None
