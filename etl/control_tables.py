"""The control tables' columns and keys. Times are UTC.

| table | grain |
|---|---|
| etl_runs | run: every run that ended; its row also fences the publish: two runs that both change it conflict |
| etl_table_runs | run × table: strategy and counts of each table a run looked at, if the run changed anything |
| high_water_mark | stream: the last load in the published tables, and what it had seen of the source |
| etl_tables | table: fingerprint, inputs and surrogate key mark of the last build |
| data_quality_results | run × check: failures and a sample of them |
| etl_job_runs | run × job × target date: what became of the job's tables, skipped and failed ones too |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starberg.utils.sql import quote_name

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "etl_runs": {
        "run_id": "VARCHAR",
        "warehouse": "VARCHAR",
        "command": "VARCHAR",
        "status": "VARCHAR",
        "started_at": "TIMESTAMP",
        "ended_at": "TIMESTAMP",
        "duration_ms": "BIGINT",
        "error_message": "VARCHAR",
        "rows_inserted": "BIGINT",
        "rows_updated": "BIGINT",
        "rows_deleted": "BIGINT",
        "requests": "BIGINT",
        "store_requests": "BIGINT",
        "bytes_read": "BIGINT",
        "bytes_written": "BIGINT",
        "peak_rss_bytes": "BIGINT",
        "seconds_by_stage": "VARCHAR",
        "notes": "VARCHAR",
        "format_version": "INTEGER",
    },
    "etl_table_runs": {
        "run_id": "VARCHAR",
        "table_name": "VARCHAR",
        "kind": "VARCHAR",
        "strategy": "VARCHAR",
        "rows_inserted": "BIGINT",
        "rows_updated": "BIGINT",
        "rows_deleted": "BIGINT",
        "duration_ms": "BIGINT",
        "source": "VARCHAR",
        "stream": "VARCHAR",
        "rows_read": "BIGINT",
        "started_at": "TIMESTAMP",
        "ended_at": "TIMESTAMP",
    },
    "high_water_mark": {
        "table_name": "VARCHAR",
        "source": "VARCHAR",
        "stream": "VARCHAR",
        "high_water_mark": "VARCHAR",
        "load_seq": "BIGINT",
        "last_updated": "TIMESTAMP",
        "source_rows": "BIGINT",
        "observed_at": "TIMESTAMP",
    },
    "etl_tables": {
        "table_name": "VARCHAR",
        "fingerprint": "VARCHAR",
        "columns": "VARCHAR",
        "inputs": "VARCHAR",
        "key_mark": "BIGINT",
    },
    "data_quality_results": {
        "run_id": "VARCHAR",
        "check_name": "VARCHAR",
        "table_name": "VARCHAR",
        "severity": "VARCHAR",
        "status": "VARCHAR",
        "failures": "BIGINT",
        "sample": "VARCHAR",
        "checked_at": "TIMESTAMP",
    },
    "etl_job_runs": {
        "id": "VARCHAR",
        "run_id": "VARCHAR",
        "job_name": "VARCHAR",
        "run_date": "DATE",
        "target_date": "DATE",
        "status": "VARCHAR",
        "rows_processed": "BIGINT",
        "rows_inserted": "BIGINT",
        "rows_updated": "BIGINT",
        "rows_deleted": "BIGINT",
        "duration_ms": "BIGINT",
        "error_message": "VARCHAR",
        "started_at": "TIMESTAMP",
        "completed_at": "TIMESTAMP",
        "due_at": "TIMESTAMP",
    },
}
KEYS: Mapping[str, Sequence[str]] = {
    "etl_runs": ["run_id"],
    "etl_table_runs": ["run_id", "table_name"],
    "high_water_mark": ["source", "stream"],
    "etl_tables": ["table_name"],
    "data_quality_results": ["run_id", "check_name", "table_name"],
    "etl_job_runs": ["run_id", "job_name", "target_date"],
}
TABLES = tuple(COLUMNS)
"""Names of all control tables."""
STATE = ("high_water_mark", "etl_tables")
"""Those a run reads before it builds."""


def no_rows(table: str) -> str:
    """Return a control table without rows, as a SELECT."""
    listed = ", ".join(f"NULL::{kind} AS {quote_name(name)}" for name, kind in COLUMNS[table].items())
    return f"SELECT {listed} WHERE false"
