"""Control tables: a warehouse's runs, watermarks, build state and check results, published with its data.

They are Iceberg tables of the warehouse like any other, so that state and data cannot drift apart. Logs are appended
once per run and rewritten to one file at `FOLD_FILES`; the others are small and always one file, quick to read.
Their columns: etl/control_tables.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from starberg.engines.base import Engine
from starberg.etl.control_tables import COLUMNS, KEYS
from starberg.etl.row_delta import Counts, RowDelta, Target
from starberg.utils.sql import quote, quote_name, text

FOLD_FILES = 50
FORMAT_VERSION = 1


@dataclass(frozen=True)
class BuildState:
    """What a table was last built from: `inputs` maps each table or stream it read to a location or load number."""

    fingerprint: str
    columns: Mapping[str, str]
    inputs: Mapping[str, str]
    key_mark: int = 0


@dataclass(frozen=True)
class RunRow:
    """One row of etl_runs; times are UTC."""

    run_id: str
    warehouse: str
    command: str
    status: str
    started_at: datetime
    ended_at: datetime
    duration_ms: int
    error_message: str | None = None
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    requests: int = 0
    store_requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    peak_rss_bytes: int = 0
    seconds_by_stage: str = "{}"
    notes: str = "[]"
    format_version: int = FORMAT_VERSION


class ControlTables:
    """Reads and writes one warehouse's control tables on a branch (`engine` has them attached)."""

    def __init__(self, engine: Engine, warehouse: str, existing: Sequence[str]) -> None:
        self._engine = engine
        self._warehouse = warehouse
        self._existing = set(existing)

    def build_states(self) -> dict[str, BuildState]:
        """Return the build state of every table, by name."""
        rows = self._rows("etl_tables")
        return {
            row["table_name"]: BuildState(
                row["fingerprint"], json.loads(row["columns"]), json.loads(row["inputs"]), row["key_mark"]
            )
            for row in rows
        }

    def published_loads(self) -> dict[str, int]:
        """Return the last published load number of every stream, by `source.stream`."""
        return {f"{row['source']}.{row['stream']}": row["load_seq"] for row in self._rows("high_water_mark")}

    def write(self, delta: RowDelta, table: str, rows: Sequence[Mapping[str, Any]]) -> Counts:
        """Insert or update rows by the table's key; rows not named stay. Logs only grow: a run writes its rows once.

        A table that is not there yet is made, also without rows: whoever asks for it finds it.
        """
        if not rows and table in self._existing:
            return Counts()
        columns = COLUMNS[table]
        # JSON text, as DuckDB imports pandas at the first bound value: half a second of every run.
        values = json.dumps([{name: _plain(row.get(name)) for name in columns} for row in rows])
        typed = f"from_json_strict({text(values)}, {text(json.dumps([columns]))})"
        self._engine.run(f"CREATE OR REPLACE TEMP TABLE control_rows AS SELECT unnest({typed}, max_depth := 2)")
        key = list(KEYS[table])
        is_log = "run_id" in key
        fold_files = FOLD_FILES if is_log else 1
        target = Target(f"{self._warehouse}.{table}", key, scope="control_rows", fold_files=fold_files)
        counts = delta.append(target, "control_rows") if is_log else delta.apply(target, "control_rows")
        self._existing.add(table)
        return counts

    def _rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows; a column that the lake's tables do not have yet is null."""
        if table not in self._existing:
            return []
        source = quote(f"{self._warehouse}.{table}")
        there = {column.name for column in self._engine.columns(f"FROM {source}")}
        listed = ", ".join(
            quote_name(name) if name in there else f"NULL AS {quote_name(name)}" for name in COLUMNS[table]
        )
        rows = self._engine.rows(f"SELECT {listed} FROM {source}")
        return [dict(zip(COLUMNS[table], row, strict=True)) for row in rows]


def state_row(table: str, state: BuildState) -> dict[str, Any]:
    """Return a row of etl_tables."""
    columns = json.dumps(dict(state.columns), ensure_ascii=False)
    inputs = json.dumps(dict(state.inputs), sort_keys=True)
    return {"table_name": table, **asdict(state), "columns": columns, "inputs": inputs}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    return value.isoformat() if isinstance(value, date) else value
