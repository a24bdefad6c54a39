"""Declare a star schema, get a lakehouse.

>>> from starberg import connect, open_lake             # doctest: +SKIP
>>> open_lake(".starberg").run("games").status          # doctest: +SKIP
'SUCCESS'
>>> connect(".starberg", warehouse="games").sql("from mart_top_rated limit 3").df()   # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from starberg.entrypoints.lake import Lake
    from starberg.etl.quality import DataQualityCheck

__all__ = ["DataQualityCheck", "connect", "open_lake"]


def __getattr__(name: str) -> object:
    """Import what is rarely needed when it is asked for."""
    if name == "DataQualityCheck":
        from starberg.etl.quality import DataQualityCheck

        return DataQualityCheck
    raise AttributeError(f"module 'starberg' has no attribute {name!r}")


def open_lake(
    home: str | Path | None = None,
    *,
    project: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Lake:
    """Open a lake: run, rebuild, verify, query and more, see `starberg.entrypoints.lake.Lake`.

    `home` is the folder of an embedded lake (default: STARBERG_HOME or `.starberg`), `project` the folder of a
    `starberg.toml` (default: found upward), `settings` override others by their environment names.
    """
    from starberg.entrypoints.bootstrap import open_lake as opened
    from starberg.utils.settings import Settings

    overrides = {**(settings or {}), **({"STARBERG_HOME": str(home)} if home else {})}
    return opened(Settings.load(Path(project) if project else None, overrides, os.environ))


def connect(
    home: str | Path | None = None, *, warehouse: str | None = None, at: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with all tables as they stood together at one moment.

    `at` is a run id, a tag or a UTC timestamp (default: now); unqualified names are looked up in `warehouse`, or in
    all warehouses.
    """
    return open_lake(home).connect(warehouse, at)
