"""`starberg explain`: one row with everything it came from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.engines.duckdb import DuckDBEngine
from starberg.engines.typed_rows import raw_rows, typed_rows
from starberg.etl.compile import driver
from starberg.etl.dimensions import header_of
from starberg.etl.facts import grain
from starberg.etl.headers import StagingHeader
from starberg.etl.model import Kind, Table, Warehouse
from starberg.etl.sql_body import parse_body
from starberg.etl.sql_columns import Columns, key_columns
from starberg.ingestion.columns import json_columns
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.errors import UsageError
from starberg.utils.sql import quote, quote_name, text

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake


def explain(lake: Lake, table: Table, key: Sequence[str]) -> dict[str, Any]:
    """Return the row with this key, the raw record it was read from, its SQL, its run and the run's checks.

    Of a dimension with history it is the newest version, and all versions are there too.
    `key` is the grain, the natural key or the surrogate key of the table, column by column, as text. Raises UsageError
    if the key has another number of columns or no row.
    """
    with tempfile.TemporaryDirectory(prefix="starberg-explain-") as scratch:
        engine = lake.reader(table.warehouse, folders=[scratch])
        try:
            return _explained(lake, engine, table, key, Path(scratch))
        finally:
            engine.close()


def _explained(lake: Lake, engine: DuckDBEngine, table: Table, key: Sequence[str], scratch: Path) -> dict[str, Any]:
    row = _row(engine, table, _key_columns(lake, table, len(key)), key)
    run_id = row.get("_run_id")
    checks = quote(f"{table.warehouse}.data_quality_results")
    return {
        "table": table.id,
        "row": row,
        **({"versions": _versions(engine, table, row)} if _has_versions(table) else {}),
        "raw": _raw_record(lake, engine, table, row, scratch),
        "run": _one(engine, f"SELECT * FROM {quote(f'{table.warehouse}.etl_runs')} WHERE run_id = ?", [run_id]),
        "checks": _all(
            engine,
            f"SELECT check_name, severity, status, failures FROM {checks} WHERE run_id = ? AND table_name = ?",
            [run_id, table.id],
        ),
        "sql": lake.compile(table.id),
    }


def _key_columns(lake: Lake, table: Table, given: int) -> list[str]:
    """Return the columns a key of that many parts means."""
    choices: list[list[str]] = []
    if table.kind == Kind.STAGING:
        choices = [list(_stream_key(lake, table).values())]
    elif table.kind == Kind.DIMENSION:
        choices = [header_of(table).natural_key or ["date"], [table.surrogate_key]]
    elif table.kind in (Kind.FACT, Kind.BRIDGE):
        choices = [list(grain(table))]
    else:
        choices = [getattr(table.header, "grain", [])]
    for columns in choices:
        if columns and len(columns) == given:
            return columns
    raise UsageError(f"a row of {table.id} is named by {', '.join(choices[0]) or 'nothing: it declares no grain'}")


def _row(engine: DuckDBEngine, table: Table, columns: Sequence[str], key: Sequence[str]) -> dict[str, Any]:
    where = " AND ".join(f"{quote_name(column)}::VARCHAR = ?" for column in columns)
    newest = " ORDER BY effective_from DESC" if _has_versions(table) else ""
    row = _one(engine, f"SELECT * FROM {quote(table.id)} WHERE {where}{newest}", key)
    if row is None:
        named = ", ".join(f"{column} = {value}" for column, value in zip(columns, key, strict=True))
        raise UsageError(f"{table.id} has no row with {named}", hint=f"Look with: starberg query 'from {table.id}'.")
    return row


def _has_versions(table: Table) -> bool:
    return table.kind == Kind.DIMENSION and header_of(table).is_type2


def _versions(engine: DuckDBEngine, table: Table, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all versions of the row's member, oldest first; none where a dimension keeps none."""
    if not _has_versions(table):
        return []
    key = header_of(table).natural_key
    where = " AND ".join(f"{quote_name(column)} IS NOT DISTINCT FROM ?" for column in key)
    sql = f"SELECT * FROM {quote(table.id)} WHERE {where} ORDER BY effective_from"
    return _all(engine, sql, [row[column] for column in key])


def _raw_record(
    lake: Lake, engine: DuckDBEngine, table: Table, row: dict[str, Any], scratch: Path
) -> dict[str, Any] | None:
    """Return load, file and record a row was last read from; None where a row is not one record's."""
    warehouse = lake.warehouses[table.warehouse]
    staging = table if table.kind == Kind.STAGING else warehouse.tables.get(driver(table))
    if staging is None or row.get("_load_id") is None:
        return None
    assert isinstance(staging.header, StagingHeader)
    outputs = list(_stream_key(lake, staging).values())
    if not all(column in row for column in outputs):
        return None
    chain = RawStream(lake.store, table.warehouse, *staging.header.stream.split("."))
    [manifest] = [load for load in chain.loads(row["_load_id"] - 1) if load.seq == row["_load_id"]]
    key = [row[column] for column in outputs]
    for number, part in enumerate(manifest.parts):
        file = str(chain.fetch(part, scratch))
        if manifest.raw_types:
            found = _typed_record(
                engine, raw_rows([(file, number)], manifest.raw_types), manifest, warehouse, staging, key
            )
        else:
            found = _json_record(engine, file, key)
        if found:
            return {"file": lake.store.uri(part.key), "load": manifest.seq, "row": found[0], "record": found[1]}
    return None


def _json_record(engine: DuckDBEngine, file: str, key: Sequence[Any]) -> tuple[int, Any] | None:
    """Return place and record of a key in a part of JSON records."""
    wanted = json.dumps([str(value) for value in key], separators=(",", ":"), ensure_ascii=False)
    asked = f"SELECT _row, record FROM read_parquet({text(file)}) WHERE _key = ? AND _op = 'U'"
    found = _one(engine, asked, [wanted])
    return (found["_row"], json.loads(found["record"])) if found else None


def _typed_record(
    engine: DuckDBEngine, rows: str, manifest: Manifest, warehouse: Warehouse, staging: Table, key: Sequence[Any]
) -> tuple[int, Any] | None:
    """Return place and columns of a key, as last seen, in the rows of a database's part."""
    source, stream = warehouse.stream_of(staging)
    columns = json_columns(stream, manifest.columns)
    typed = typed_rows(rows, columns, manifest.raw_types, stream.key, source.timezone)
    where = " AND ".join(f"{quote_name(name)} = ?" for name in stream.key)
    last = _one(engine, f"SELECT max(_row) AS place FROM ({typed}) WHERE _op = 'U' AND {where}", key)
    if not last or last["place"] is None:
        return None
    listed = ", ".join(
        f"{quote_name(name)}{'::VARCHAR' if 'TIME ZONE' in kind else ''} AS {quote_name(name)}"  # Python's needs pytz
        for name, kind in manifest.raw_types.items()
    )
    return last["place"], _one(engine, f"SELECT {listed} FROM ({rows}) WHERE _row = ?", [last["place"]])


def _stream_key(lake: Lake, table: Table) -> dict[str, str]:
    _, stream = lake.warehouses[table.warehouse].stream_of(table)
    columns = json_columns(stream, {})
    outputs = key_columns(parse_body(table.select), stream.key, lambda _: Columns.of(columns))
    return dict(zip(stream.key, outputs, strict=True))


def _one(engine: DuckDBEngine, sql: str, parameters: Sequence[Any]) -> dict[str, Any] | None:
    rows = _all(engine, sql, parameters)
    return rows[0] if rows else None


def _all(engine: DuckDBEngine, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    cursor = engine.execute(sql, list(parameters))
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
