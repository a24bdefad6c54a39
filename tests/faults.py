"""Faults at a chosen step: processes of a test that are killed, held or refused there.

A step is a moment just before or just after an effect that outlives the process: an object put, moved in or deleted, a
write to the catalog. What is done between two steps can be lost without a trace, so a process killed at every step has
been killed everywhere.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from starberg.storage.branches import Branch, Catalog, Move
from starberg.storage.object_store import ObjectStore

STORE_EFFECTS = ("put", "put_file", "delete", "abort_stale_uploads")
CATALOG_EFFECTS = ("create_branch", "move", "publish", "drop_branch", "tag", "drop_tag")
SERVER_EFFECTS = ("send",)
PATIENCE_S = 300.0
NAMES = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # UUID
    r"|\d{8}-\d{6}-[0-9a-f]{6}(\.\d{6,})?"  # run, and its block of the request budget
    r"|snap-\d+|[0-9a-f]{64}"  # snapshot, Nessie hash
)
"""What two runs that do the same call differently."""

_PROCESSES = multiprocessing.get_context("forkserver")
# Processes are forked from one that has imported all and opened nothing: one version of the code for a whole test, and
# no imports to wait for.
_PROCESSES.set_forkserver_preload(
    [
        "__main__",
        "asyncio.runners",
        "duckdb",
        "pandas",
        "places",
        "pyarrow.dataset",
        "pyiceberg.io.pyarrow",
        "sqlglot.dialects.duckdb",
        "starberg.entrypoints.cli",
        "starberg.entrypoints.query",
        "starberg.entrypoints.run_status",
        "starberg.etl.pipeline",
        "starberg.ingestion.ingest_pipeline",
        "starberg.ingestion.landing",
        "starberg.ingestion.rest",
        "starberg.storage.nessie_catalog",
        "starberg.storage.s3_store",
        "starberg.storage.sql_catalog",
    ]
)

_CODES = threading.Lock()
"""A start looks after all processes that ended, and an exit code can be read once: by one thread at a time."""


@dataclass(frozen=True)
class Step:
    """One step: its number from 1, `before` or `after`, the effect's method, what it is about (keys, tables, names)."""

    number: int
    when: str
    effect: str
    subject: str

    def __str__(self) -> str:
        return f"{self.number}: {self.when} {self.effect} {self.subject}"


@dataclass(frozen=True)
class At:
    """Which step: the one of a number, or any of a kind; `subject` is a part of the step's."""

    when: str = ""
    effect: str = ""
    subject: str = ""
    number: int = 0

    def fits(self, step: Step) -> bool:
        """Tell whether it is this step."""
        if self.number:
            return step.number == self.number
        return (step.when, step.effect) == (self.when, self.effect) and self.subject in step.subject

    def __str__(self) -> str:
        return " ".join(filter(None, (self.when, self.effect, self.subject, str(self.number or ""))))


Hook = Callable[[Step], None]


class Steps:
    """Numbers the steps of everything wrapped by `wrap` (see `open_lake`) and tells each to `hook`."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._lock = threading.Lock()
        self._number = 0

    def wrap(self, store: ObjectStore, catalog: Catalog) -> tuple[Any, Any]:
        """Return store and catalog with their effects told, and what a catalog asks its server to change."""
        if hasattr(catalog, "_service"):
            catalog._service = _Watched(catalog._service, SERVER_EFFECTS, self)
        return _Watched(store, STORE_EFFECTS, self), _Watched(catalog, CATALOG_EFFECTS, self)

    def tell(self, when: str, effect: str, arguments: Sequence[Any]) -> None:
        """Count a step and tell it."""
        with self._lock:
            self._number += 1
            step = Step(self._number, when, effect, ", ".join(_names(arguments)))
        self._hook(step)


class _Watched:
    def __init__(self, inner: Any, effects: Collection[str], steps: Steps) -> None:
        self._inner = inner
        self._effects = effects
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        return partial(self._told, name, member) if name in self._effects else member

    def _told(self, effect: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._steps.tell("before", effect, arguments)
        result = call(*arguments, **named)
        self._steps.tell("after", effect, arguments)
        return result


@dataclass(frozen=True)
class Failed:
    """How a task failed: the error's class, its line and exit code."""

    kind: str
    message: str
    exit_code: int | None


class Task:
    """`function(talk, *arguments)` at work in a process of its own.

    It may `talk.send(word)` to the test, which gets it from `hear`, and `talk.recv()` what the test `say`s.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._here, there = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_work, args=(there, function, arguments), daemon=True)
        with _CODES:
            self._process.start()
        there.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _CODES:
            is_alive = self._process.is_alive()
        if is_alive:
            self.signal(signal.SIGKILL)
        self._join()

    def hear(self) -> Any:
        """Wait for the next word; EOFError if the process ended instead."""
        if not self._here.poll(PATIENCE_S):
            raise TimeoutError(f"the process said nothing for {PATIENCE_S} s")
        return self._here.recv()

    def say(self, word: Any = "go on") -> None:
        """Answer the process."""
        self._here.send(word)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process: SIGSTOP freezes it with all its threads, SIGCONT wakes it."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self) -> Any:
        """Wait for the end; return what the function returned, `Failed`, or None if the process was killed."""
        try:
            result = self.hear()
        except EOFError:
            result = None
        self._join()
        return result

    def _join(self) -> None:
        wait([self._process.sentinel], PATIENCE_S)
        with _CODES:
            self._process.join(0)

    @property
    def was_killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self._process.exitcode == -signal.SIGKILL


def run_task(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task and return what it returned; AssertionError if it failed."""
    with Task(function, *arguments) as task:
        result = task.end()
        assert not isinstance(result, Failed), f"{result.kind}: {result.message}"
        assert not task.was_killed, f"{function.__name__} was killed"
        return result


def _work(talk: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    try:
        talk.send(function(talk, *arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test is told
        talk.send(Failed(type(error).__name__, str(error), getattr(error, "exit_code", None)))


def _names(arguments: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for argument in arguments[:2]:
        match argument:
            case str():
                names.append(argument)
            case Branch():
                names.append(argument.name)
            case [Move(), *_]:
                names += [move.table for move in argument]
            case list():
                names += [str(item) for item in argument]
    return names
