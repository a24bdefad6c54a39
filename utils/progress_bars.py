"""Progress on a terminal: one display with a bar per task, which disappears when the last one is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Display
from rich.text import Text

from starberg.utils.logging import Task, escaped


class Bars:
    """See `logging.Progress`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._lock = threading.Lock()
        self._display: Display | None = None
        self._open = 0

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Task]:
        """See `Progress.task`."""
        display = self._started()
        number = display.add_task(Text(escaped(description)).markup, total=total)
        try:
            yield _Bar(display, number)
        finally:
            display.remove_task(number)
            self._stopped()

    def _started(self) -> Display:
        with self._lock:
            if self._display is None:
                columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
                self._display = Display(*columns, console=self._console, transient=True)
                self._display.start()
            self._open += 1
            return self._display

    def _stopped(self) -> None:
        with self._lock:
            self._open -= 1
            if not self._open and self._display:
                self._display.stop()
                self._display = None


class _Bar:
    def __init__(self, display: Display, number: TaskID) -> None:
        self._display = display
        self._number = number

    def advance(self, steps: int = 1) -> None:
        self._display.advance(self._number, steps)

    def total(self, steps: int) -> None:
        self._display.update(self._number, total=steps)
