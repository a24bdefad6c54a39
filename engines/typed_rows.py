"""How a database's raw parts are read: typed columns become the columns SQL sees. Pure SQL in DuckDB's dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starberg.engines.records import JsonColumn, key_text, typed
from starberg.utils.sql import names, quote_name, text

_STAMPS = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
_LOW, _HIGH = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"


def raw_rows(parts: Sequence[tuple[str, int]], raw_types: Mapping[str, str]) -> str:
    """Return a SELECT of all rows of some parts, each a local file with its number within its load.

    Columns: `_load_id`, `_row` (order within the load), `_op`, `_observed`, `_unread`, and those of `raw_types`, null
    where a part has no such column.
    """
    columns = ", ".join(f"CAST({quote_name(name)} AS {kind}) AS {quote_name(name)}" for name, kind in raw_types.items())
    nothing = ", ".join(f"NULL::{kind} AS {quote_name(name)}" for name, kind in raw_types.items())
    empty = (
        "SELECT 0::BIGINT AS _load_id, 0::BIGINT AS _row, '' AS _op, NULL::TIMESTAMP AS _observed, "
        f"NULL::VARCHAR AS _unread, {nothing} WHERE false"
    )
    if not parts:
        return empty
    files = ", ".join(text(file) for file, _ in parts)
    later = " ".join(f"WHEN {text(file)} THEN {number << 40}" for file, number in parts if number)
    first = f"CASE filename {later} ELSE 0 END + " if later else ""
    read = (
        f"SELECT * REPLACE ({first}file_row_number AS file_row_number) "
        f"FROM read_parquet([{files}], union_by_name = true, file_row_number = true, filename = true)"
    )
    both = f"SELECT * RENAME (file_row_number AS _row) FROM ({read}) UNION ALL BY NAME {empty}"
    return f"SELECT _load_id, _row, _op, _observed, _unread, {columns} FROM ({both})"


def typed_rows(
    rows: str, columns: Mapping[str, JsonColumn], raw_types: Mapping[str, str], key: Sequence[str], timezone: str
) -> str:
    """Return a SELECT of what staging reads: `_load_id, _row, _op, _observed, _key, record`, columns, `_bad`, `_raw`.

    `_bad` is the first column whose value its type cannot hold, `_raw` its text; `record` is there for such rows only.
    """
    values = {name: _value(name, column, raw_types.get(name, ""), timezone) for name, column in columns.items()}
    listed = ", ".join(f"{sql} AS {quote_name(f'v_{name}')}" for name, sql in values.items())
    bad = " ".join(
        f"WHEN {quote_name(name)} IS NOT NULL AND {quote_name(f'v_{name}')} IS NULL THEN {text(name)}"
        for name, sql in values.items()
        if name in raw_types and sql != quote_name(name) and columns[name].out_of_range == "quarantine"
    )
    accepted = [name for name, column in columns.items() if column.out_of_range == "null"]
    among = ", ".join(text(name) for name in accepted)
    unread = f"list_filter(json_keys(_unread), lambda k: NOT list_contains([{among}]::VARCHAR[], k))[1]"
    raw = " ".join(f"WHEN {text(name)} THEN {quote_name(name)}::VARCHAR" for name in columns if name in raw_types)
    keys = ", ".join(key_text(quote_name(f"v_{name}"), columns[name].type) for name in key)
    whole = " AND ".join(f"{quote_name(f'v_{name}')} IS NOT NULL" for name in key)
    out = ", ".join(f"{quote_name(f'v_{name}')} AS {quote_name(name)}" for name in columns)
    seen = names([name for name in columns if name in raw_types])
    return (
        f"SELECT _load_id, _row, _op, _observed, CASE WHEN {whole} THEN to_json([{keys}])::VARCHAR END AS _key, "
        f"CASE WHEN _op = 'U' AND (_bad IS NOT NULL OR NOT ({whole})) "
        f"THEN to_json(struct_pack({seen}))::VARCHAR END AS record, {out}, _bad, "
        f"coalesce(json_extract_string(_unread, '$.' || to_json(_bad)::VARCHAR), CASE _bad {raw} END) AS _raw "
        f"FROM (SELECT *, CASE WHEN _op = 'D' THEN NULL WHEN {unread} IS NOT NULL THEN {unread} {bad} END AS _bad "
        f"FROM (SELECT *, {listed} FROM ({rows})))"
    )


def _value(name: str, column: JsonColumn, raw: str, timezone: str) -> str:
    value, wanted = quote_name(name), column.type.upper().replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")
    if not raw:
        return f"NULL::{column.type}"
    if raw in _STAMPS and wanted in _STAMPS:
        return _instant(value, raw, wanted, timezone)
    if raw == wanted == "DATE":
        return f"CASE WHEN {value} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {value} END"
    if raw.replace(" ", "") == wanted.replace(" ", "") or {raw, wanted} == {"JSON", "VARCHAR"}:
        return value
    if raw in _STAMPS:
        value = _instant(value, raw, "TIMESTAMP WITH TIME ZONE", timezone)
    return typed(f"{value}::VARCHAR", column.type, timezone)


def _instant(value: str, raw: str, wanted: str, timezone: str) -> str:
    """A stamp with a zone is that instant; one without is in the source's zone. All within years 1 to 9999."""
    zoneless = raw == "TIMESTAMP"
    within = f"{value} BETWEEN {raw} '{_LOW}' AND {raw} '{_HIGH}'"
    if zoneless:
        utc = value if timezone == "UTC" else f"(({value} AT TIME ZONE {text(timezone)}) AT TIME ZONE 'UTC')"
    else:
        utc = f"make_timestamp(epoch_us({value}))"
    instant = utc if wanted == "TIMESTAMP" else (f"({utc} AT TIME ZONE 'UTC')" if zoneless else value)
    return f"CASE WHEN {within} THEN {instant} END"
