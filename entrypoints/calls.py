"""`CALL name(arguments)`: a function's rows, left in the temporary table that its declaration names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from sqlglot import Tokenizer
    from sqlglot.tokenizer_core import Token


@dataclass(frozen=True)
class Call:
    """One CALL; `function` is its name as written, `arguments` the text between the brackets."""

    function: str
    arguments: str

    @property
    def value(self) -> str:
        """The call as an expression."""
        return f"{self.function}({self.arguments})"

    @property
    def table(self) -> str:
        """The call as a SELECT of rows."""
        return f"SELECT * FROM {self.value}"


def read_call(statement: str) -> Call | None:
    """Return a statement's CALL, if it is one; UsageError if it has another form.

    >>> read_call("call sp_x('2026-01-01', 2)")
    Call(function='sp_x', arguments="'2026-01-01', 2")
    """
    tokens = split_tokens(statement) or []
    if not tokens or tokens[0].text.upper() != "CALL":
        return None
    opening = next((n for n, token in enumerate(tokens) if token.text == "("), 0)
    name = [token.text for token in tokens[1:opening]]
    if not _is_one_pair(tokens[opening:]) or name[1::2] not in ([], ["."]) or len(name) not in (1, 3):
        raise UsageError("this CALL cannot be read", hint="Write CALL name(arguments).")
    return Call("".join(name).lower(), statement[tokens[opening].end + 1 : tokens[-1].start].strip())


def _is_one_pair(tokens: Sequence[Token]) -> bool:
    """Tell whether the first bracket is closed by the last token."""
    depth = 0
    for n, token in enumerate(tokens, 1):
        kind = token.token_type.name
        depth += (kind == "L_PAREN") - (kind == "R_PAREN")
        if depth == 0:
            return n == len(tokens) > 1
    return False


def statements(text: str) -> list[str]:
    """Split SQL at its semicolons, not at those in strings, names and comments.

    >>> statements("select ';'; select 2 -- ; the end")
    ["select ';'", 'select 2 -- ; the end']
    """
    found: list[str] = []
    start: int | None = None
    for token in split_tokens(text) or []:
        if token.token_type.name == "SEMICOLON":
            found += [text[start : token.start].strip()] if start is not None else []
            start = None
        elif start is None:
            start = token.start
    return found if start is None else [*found, text[start:].strip()]


def split_tokens(text: str) -> Sequence[Token] | None:
    """Return the SQL's tokens, None inside an open string or comment."""
    from sqlglot.errors import TokenError

    try:
        return _tokenizer().tokenize(text)
    except TokenError:
        return None


@cache
def _tokenizer() -> Tokenizer:
    from sqlglot.dialects.duckdb import DuckDB

    class Plain(DuckDB.Tokenizer):
        """Reads what follows CALL, SHOW and their like as it reads all else, not as one text."""

        COMMANDS: ClassVar = set()

    return Plain()
