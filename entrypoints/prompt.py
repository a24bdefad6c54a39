"""`starberg query`: one statement, those on stdin, or a prompt. Statements end with a semicolon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from starberg.utils.errors import StarbergError, UsageError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from sqlglot.tokenizer_core import Token

    from starberg.entrypoints.session import Format, Session

HELP = ".tables lists the tables, .exit (or Ctrl-D) leaves; a statement ends with a semicolon"


class Queries:
    """Runs statements and prints their rows, each on the state of the lake at its own start."""

    def __init__(self, session: Session, warehouse: str | None, at: str | None, form: Format) -> None:
        self._session = session
        self._warehouse = warehouse
        self._at = at
        self._form = form

    def run(self, sql: str) -> None:
        """Run one statement."""
        result = self._session.lake.query(sql, warehouse=self._warehouse, at=self._at)
        self._session.answer_rows(result.columns, result.rows, self._form)

    def run_stdin(self) -> None:
        """Run the statements on stdin; the first error ends it."""
        found = statements(sys.stdin.read())
        if not found:
            raise UsageError("there is no SQL on stdin", hint='Type `starberg query "select …"`')
        for sql in found:
            self.run(sql)

    def converse(self) -> None:
        """Ask for statements until `.exit`; an error is told and the next statement asked for."""
        prompt = _prompt(self._session.settings.home / "query_history")
        sys.stderr.write(f"{HELP}\n")
        while True:
            try:
                text = prompt.prompt()
                if text.strip() in (".exit", ".quit"):
                    return
                self._obey(text.strip())
            except EOFError:
                return
            except KeyboardInterrupt:
                continue
            except StarbergError as error:
                self._session.complain(str(error), error)

    def _obey(self, text: str) -> None:
        if text == ".tables":
            self._session.answer(self._session.lake.tables(self._warehouse))
        elif text.startswith("."):
            sys.stderr.write(f"{HELP}\n")
        else:
            for sql in statements(text):
                self.run(sql)


def statements(text: str) -> list[str]:
    """Split SQL at its semicolons, not at those in strings, names and comments.

    >>> statements("select ';'; select 2 -- ; the end")
    ["select ';'", 'select 2 -- ; the end']
    """
    found: list[str] = []
    start: int | None = None
    for token in _tokens(text) or []:
        if token.token_type.name == "SEMICOLON":
            found += [text[start : token.start].strip()] if start is not None else []
            start = None
        elif start is None:
            start = token.start
    return found if start is None else [*found, text[start:].strip()]


def is_complete(text: str) -> bool:
    """Tell whether Enter ends the input: after a semicolon, a dot command, or nothing at all."""
    tokens = _tokens(text)
    if text.strip().startswith(".") or tokens == []:
        return True
    return tokens is not None and tokens[-1].token_type.name == "SEMICOLON"


def _tokens(text: str) -> list[Token] | None:
    """Return the SQL's tokens, None inside an open string or comment."""
    from sqlglot import tokenize
    from sqlglot.errors import TokenError

    try:
        return tokenize(text, read="duckdb")
    except TokenError:
        return None


def _prompt(history: Path) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.output import create_output

    history.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(history, os.O_CREAT | os.O_APPEND, 0o600))  # what was typed is nobody else's business
    return PromptSession(
        "starberg> ",
        history=FileHistory(str(history)),
        multiline=Condition(lambda: not is_complete(get_app().current_buffer.text)),
        prompt_continuation="     ...> ",
        output=create_output(stdout=sys.stderr),
    )
