"""`starberg query`: one statement, those on stdin, or a prompt. Statements end with a semicolon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from starberg.entrypoints.calls import read_call, split_tokens, statements
from starberg.utils.errors import StarbergError, UsageError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from starberg.entrypoints.session import Format, Session

HELP = ".tables lists the tables, .exit (or Ctrl-D) leaves; a statement ends with a semicolon"


class Queries:
    """Runs statements and prints their rows, each on the state of the lake at its own start.

    What a CALL leaves is there for the statements after it, computed on their state.
    """

    def __init__(
        self,
        session: Session,
        warehouse: str | None,
        at: str | None,
        form: Format,
        *,
        engine: str = "duckdb",
        output: Path | None = None,
    ) -> None:
        self._session = session
        self._warehouse = warehouse
        self._at = at
        self._engine = engine
        self._form = form
        self._output = output
        self._called: dict[str, str] = {}

    def run(self, sql: str) -> None:
        """Run one statement, or several of which the last one answers."""
        words = {token.text.lower() for token in split_tokens(sql) or []}
        before = [call for left, call in self._called.items() if left in words]
        text = ";\n".join([*before, sql]) if before else sql
        result = self._session.lake.query(text, warehouse=self._warehouse, at=self._at, engine=self._engine)
        if self._output is None:
            self._session.answer_rows(result.columns, result.rows, self._form)
            return
        from starberg.entrypoints.export import write

        self._session.answer({"file": str(self._output), "rows": write(result, self._output)})

    def _run_one(self, sql: str) -> None:
        """Run one statement of several; remember a CALL."""
        self.run(sql)
        if read_call(sql) and (left := self._session.lake.left_by(sql, self._warehouse)):
            self._called[left] = sql

    def run_stdin(self) -> None:
        """Run the statements on stdin; the first error ends it."""
        found = statements(sys.stdin.read())
        if not found:
            raise UsageError("there is no SQL on stdin", hint='Type `starberg query "select …"`')
        if self._output is not None:
            found = [";\n".join(found)]
        for sql in found:
            self._run_one(sql)

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
                self._run_one(sql)


def is_complete(text: str) -> bool:
    """Tell whether Enter ends the input: after a semicolon, a dot command, or nothing at all."""
    tokens = split_tokens(text)
    if text.strip().startswith(".") or tokens == []:
        return True
    return tokens is not None and tokens[-1].token_type.name == "SEMICOLON"


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
