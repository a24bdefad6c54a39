"""Logs and progress, all on stderr: short lines and bars for people at a terminal, JSON lines for everything else.

Modules log to `logging.getLogger(__name__)` with a constant message and `extra={...}`, whose keys become fields:
`log.info("load committed", extra={"stream": "games.games", "rows": 40})`. `log_context(run_id=…, warehouse=…)` adds
fields to every line inside it, in the same thread. Neither a secret nor a raw control character gets out: that is the
formatter's work, so that it holds for messages, arguments, fields and tracebacks of any library.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Protocol, TextIO

from starberg.utils.secrets import Redactor

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_context: ContextVar[Mapping[str, Any]] = ContextVar("starberg_log_context", default={})  # noqa: B039 - never changed


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add fields (run_id, warehouse, …) to every line logged inside."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def escaped(text: str) -> str:
    """Write control and other invisible characters as escapes, so that no text forges a line or moves the cursor.

    >>> escaped("two\\nlines \\x1b[31m")
    'two\\\\nlines \\\\x1b[31m'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@dataclass(frozen=True)
class Line:
    """One log line with the secrets already out: what the two formatters lay out differently."""

    at: datetime
    level: str
    event: str
    fields: Mapping[str, Any]
    trace: str


class _Formatter(logging.Formatter):
    def __init__(self, redact: Redactor, *, traces: bool) -> None:
        super().__init__()
        self._redact = redact
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """Return the laid-out line."""
        given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        fields: dict[str, Any] = self._clean({**_context.get(), **given})
        error = record.exc_info[1] if record.exc_info else None
        if error:
            fields["error"] = self._redact(f"{type(error).__name__}: {error}")
        trace = self._redact("".join(traceback.format_exception(error))) if error and self._traces else ""
        at = datetime.fromtimestamp(record.created, UTC)
        return self.lay_out(Line(at, record.levelname.lower(), self._redact(_message(record)), fields, trace))

    def lay_out(self, line: Line) -> str:
        raise NotImplementedError

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
            return value
        if isinstance(value, Mapping):
            return {self._redact(str(key)): self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item) for item in value]
        return self._redact(value.isoformat() if isinstance(value, datetime) else str(value))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit: logging itself would print them all in clear
        return str(record.msg)


class JsonFormatter(_Formatter):
    """One JSON object per line: ts (UTC), level, event, then run_id, warehouse and the other fields."""

    def lay_out(self, line: Line) -> str:
        """Return the line as JSON; everything but plain ASCII is escaped."""
        facts = {"ts": line.at.isoformat(timespec="milliseconds"), "level": line.level, "event": line.event}
        if line.trace:
            facts["trace"] = line.trace
        return json.dumps({**facts, **{key: value for key, value in line.fields.items() if key not in facts}})


class HumanFormatter(_Formatter):
    """`14:03:11 games: load committed  stream=games.games rows=40`; the run id is left to the JSON lines."""

    def lay_out(self, line: Line) -> str:
        """Return the line, and the trace below it if there is one."""
        level = "" if line.level == "info" else f"{line.level}: "
        warehouse = f"{line.fields['warehouse']}: " if "warehouse" in line.fields else ""
        fields = [f"{key}={value}" for key, value in line.fields.items() if key not in ("run_id", "warehouse")]
        text = f"{line.at.astimezone():%H:%M:%S} {level}{warehouse}{line.event}  {' '.join(fields)}".rstrip()
        return "\n".join(map(escaped, [text, *line.trace.splitlines()]))


class Task(Protocol):
    """One bar."""

    def advance(self, steps: int = 1) -> None:
        """Move on."""

    def total(self, steps: int) -> None:
        """Say how many steps it will be."""


class Progress(Protocol):
    """Shows what is under way, from any thread."""

    def task(self, description: str, total: int | None = None) -> AbstractContextManager[Task]:
        """Open a bar; without a total it only shows that something goes on."""


class NoProgress:
    """Shows nothing; its own task."""

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Task]:
        """See `Progress.task`."""
        del description, total
        yield self

    def advance(self, steps: int = 1) -> None:
        """See `Task.advance`."""

    def total(self, steps: int) -> None:
        """See `Task.total`."""


_progress: Progress = NoProgress()


def progress() -> Progress:
    """Return this process's progress display: bars only where `configure` found a terminal."""
    return _progress


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is now, since a bar replaces it to keep lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure(
    *, level: str = "info", secrets: Callable[[], Collection[str]] = tuple, quiet: bool = False, debug: bool = False
) -> Redactor:
    """Set up logging and progress of this process; a later call replaces an earlier one.

    `secrets` is asked at each line. quiet: warnings and errors only, no bars. debug: debug lines of our own modules and
    tracebacks; other libraries log warnings only, since their debug lines hold headers and keys.
    """
    global _progress
    terminal = sys.stderr.isatty()
    redact = Redactor(secrets)
    handler = _Handler()
    handler.setFormatter((HumanFormatter if terminal else JsonFormatter)(redact, traces=debug))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of SQL that only DuckDB knows
    wanted = logging.DEBUG if debug else logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("starberg").setLevel(max(wanted, logging.WARNING) if quiet else wanted)
    _progress = NoProgress()
    if terminal and not quiet:
        from starberg.utils.progress_bars import Bars

        _progress = Bars()
    return redact
