"""One call of the command line: its global options, and the settings, lake and output made from them when needed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.utils.errors import one_line
from starberg.utils.secrets import Redactor

if TYPE_CHECKING:
    from starberg.utils.settings import Settings


class PipeClosed(Exception):
    """Whoever read our stdout has gone (`| head`): no error of ours, but there is nobody left to answer."""


class Format(StrEnum):
    """How the rows of a query are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True)
class Globals:
    """The global options as typed."""

    home: Path | None = None
    project: Path | None = None
    env: str | None = None
    debug: bool = False
    quiet: bool = False
    json: bool = False

    def overrides(self) -> dict[str, str]:
        """Return the options that are settings, by environment name."""
        given = {
            "STARBERG_HOME": str(self.home or ""),
            "STARBERG_ENV": self.env or "",
            "ETL_DEBUG": "true" if self.debug else "",
        }
        return {name: value for name, value in given.items() if value}


@dataclass
class Session:
    """What a command works with; imports happen where they are needed, so that `--help` is quick.

    `open_lake` makes the lake from the settings; by default it is `bootstrap.open_lake`.
    """

    environ: Mapping[str, str] = field(repr=False)
    open_lake: Callable[[Settings], Any] | None = None
    globals: Globals = field(default_factory=Globals)
    redact: Redactor = field(default_factory=Redactor)

    @cached_property
    def settings(self) -> Settings:
        """Load the settings, and set up logging with the secrets they know."""
        from starberg.utils.logging import configure
        from starberg.utils.settings import Settings

        settings = Settings.load(self.globals.project, self.globals.overrides(), self.environ)
        self.redact = configure(
            level=settings.log_level,
            secrets=settings.secret_values,
            quiet=self.globals.quiet,
            debug=settings.etl_debug,
        )
        return settings

    @cached_property
    def lake(self) -> Any:
        """Open the lake."""
        if self.open_lake is not None:
            return self.open_lake(self.settings)
        from starberg.entrypoints.bootstrap import open_lake

        return open_lake(self.settings)

    @property
    def debug(self) -> bool:
        """Whether traces are wanted."""
        return self.globals.debug or ("settings" in vars(self) and self.settings.etl_debug)

    def keep_secret(self, urls: Iterable[str]) -> None:
        """Hide the passwords of addresses given on the command line in whatever is logged or complained of."""
        for url in urls:
            self.settings.hide(url)

    def answer(self, value: Any) -> None:
        """Print a command's answer to stdout."""
        from starberg.entrypoints.output import show

        with _pipe_watched():
            show(value, as_json=self.globals.json, out=sys.stdout)
            sys.stdout.flush()

    def answer_rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], form: Format) -> None:
        """Print the rows of a query to stdout."""
        from starberg.entrypoints.output import show_rows

        with _pipe_watched(), _let_go(rows):
            show_rows(columns, rows, form, sys.stdout)
            sys.stdout.flush()

    def complain(self, message: str, error: BaseException | None = None) -> None:
        """Print one line to stderr, after the trace of the error if traces are wanted; no secrets in either."""
        if error and self.debug:
            sys.stderr.write(self.redact("".join(traceback.format_exception(error))))
        sys.stderr.write(f"starberg: {one_line(self.redact(message))}\n")


@contextmanager
def _let_go(rows: Iterable[Any]) -> Iterator[None]:
    """End a question whose rows were not all wanted (a terminal shows the first ones) at once, where it is computed."""
    try:
        yield
    finally:
        if isinstance(rows, Generator):
            rows.close()


@contextmanager
def _pipe_watched() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise PipeClosed from error
