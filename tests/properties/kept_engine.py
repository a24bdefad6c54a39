"""An engine for many small runs: it is kept when it is closed, and scans each metadata file once.

Opening an engine costs more than a small run, and so do the ten scans of each table in it. A metadata file and all it
points to never change, so a copy of what it says is as good; what DuckDB reads at that one scan is what is tested.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from starberg.engines.duckdb import DuckDBEngine
from starberg.utils.sql import quote, quote_name

FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""A folder in memory, if there is one."""

_COPIES = "copies"
_spare: list[_KeptEngine] = []


@contextmanager
def kept_engines() -> Iterator[Callable[[], DuckDBEngine]]:
    """Open engines for one lake; afterwards they hold nothing of it."""
    try:
        yield lambda: _spare.pop() if _spare else _KeptEngine()
    finally:
        for engine in _spare:
            engine.forget()


class _KeptEngine(DuckDBEngine):
    def __init__(self) -> None:
        super().__init__(FAST, threads=1)
        atexit.register(super().close)
        self._copied: set[str] = set()
        self.run(f"CREATE SCHEMA {_COPIES}")

    def confine(self, folders: Sequence[str]) -> None:
        """A confined engine could not be used for the next lake."""

    def attach(self, tables: Mapping[str, str]) -> None:
        for schema in {name.split(".")[0] for name in tables}:
            self.run(f"CREATE SCHEMA IF NOT EXISTS {quote_name(schema)}")
        for name, location in tables.items():
            rows = f"SELECT * EXCLUDE (filename, file_row_number) FROM {self.scan(location)}"
            self.run(f"CREATE OR REPLACE VIEW {quote(name)} AS {rows}")

    def scan(self, location: str) -> str:
        copy = f"memory.{_COPIES}.{quote_name(location)}"
        if location not in self._copied:
            self.run(f"CREATE TABLE {copy} AS FROM {super().scan(location)}")
            self._copied.add(location)
        return f"(FROM {copy})"

    def close(self) -> None:
        """Make it as good as new, but for its copies."""
        self.run("SET preserve_insertion_order = false; RESET search_path")
        for (name,) in self.rows("SELECT table_name FROM duckdb_tables() WHERE temporary"):
            self.run(f"DROP TABLE {quote_name(name)}")
        self._drop_schemas(f"schema_name NOT IN ('main', '{_COPIES}')")
        _spare.append(self)

    def forget(self) -> None:
        self._drop_schemas("schema_name <> 'main'")
        self.run(f"CREATE SCHEMA {_COPIES}")
        self._copied.clear()

    def _drop_schemas(self, condition: str) -> None:
        for (name,) in self.rows(f"SELECT schema_name FROM duckdb_schemas() WHERE NOT internal AND {condition}"):
            self.run(f"DROP SCHEMA {quote_name(name)} CASCADE")
