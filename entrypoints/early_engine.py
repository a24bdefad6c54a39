"""An engine that is opened while the rest of starberg is still being imported: each takes some tenths of a second."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from starberg.engines.duckdb import DuckDBEngine


class EarlyEngine:
    """Opens engines when called, the first of them already in a thread of its own; it is closed if nobody took it."""

    def __init__(self, open_engine: Callable[[], DuckDBEngine]) -> None:
        self._open = open_engine
        self._pool = ThreadPoolExecutor(1)
        self._first: Future[DuckDBEngine] | None = self._pool.submit(self._opened)

    def __call__(self) -> DuckDBEngine:
        """Return an engine; what went wrong while it was opened is raised here."""
        first, self._first = self._first, None
        return first.result() if first else self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        first, self._first = self._first, None
        self._pool.shutdown()
        if first and not first.exception():
            first.result().close()

    def _opened(self) -> DuckDBEngine:
        engine = self._open()
        engine.read_lake()
        return engine
