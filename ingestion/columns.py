"""Which columns a stream's records have: the declared ones, and those pinned when first seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starberg.engines.records import JsonColumn
from starberg.ingestion.streams import Stream

RESERVED = (
    {
        "_deleted_at",
        "_digest",
        "_key",
        "_load_id",
        "_observed",
        "_op",
        "_row",
        "_run_id",
        "_unread",
        "_unreadable",
        "record",
    }
    | {"_bad", "_bad_n", "_k", "_n", "_raw", "_x"}  # while records are typed
    | {"_file", "_pos", "file_row_number", "filename"}  # where a row of a table stands
)
"""Names of the engine's own columns, which a stream's may not have; names compare without case."""

_PINNED_TYPES = {"UBIGINT": "BIGINT", "BIGINT": "BIGINT", "DOUBLE": "DOUBLE", "BOOLEAN": "BOOLEAN"}


def json_columns(stream: Stream, pinned: Mapping[str, str]) -> dict[str, JsonColumn]:
    """Return name → column of a stream's records: declared ones first, then pinned ones, then the bare key."""
    columns = {name: stream.column(name) for name in stream.columns}
    found = {
        name: JsonColumn(column.type, json_path(column.path or name), column.only, column.out_of_range)
        for name, column in columns.items()
    }
    for key, sql_type in pinned.items():
        found.setdefault(column_of_key(key), JsonColumn(sql_type, json_path_of_key(key)))
    for name in stream.key:
        found.setdefault(name, JsonColumn("VARCHAR", json_path(name)))
    return found


def newly_seen(structure: str | None, stream: Stream, pinned: Mapping[str, str]) -> dict[str, str]:
    """Return the undeclared top-level columns of DuckDB's `json_group_structure`, with the types they are pinned to.

    Numbers and booleans keep their type, nested values are JSON text, all else is text. Names that differ from a known
    one only in case are left out, since SQL could not tell them apart, and those SQL cannot write: empty, or with NUL.
    """
    if stream.undeclared == "ignore" or not structure:
        return {}
    shape: Any = json.loads(structure)
    known = {name.lower() for name in (*stream.columns, *map(column_of_key, pinned), *stream.key)}
    known |= {stream.column(name).path.split(".")[0].lower() for name in stream.columns}
    seen: dict[str, str] = {}
    for key, kind in shape.items() if isinstance(shape, dict) else ():
        name = column_of_key(key).lower()
        if name not in known and kind != "NULL" and key and "\0" not in key:
            seen[key] = _PINNED_TYPES.get(kind, "VARCHAR") if isinstance(kind, str) else "JSON"
            known.add(name)
    return seen


def column_of_key(key: str) -> str:
    """Return the name of the column an undeclared key becomes.

    >>> column_of_key("rating"), column_of_key("filename")
    ('rating', 'filename_')
    """
    return f"{key}_" if key.lower() in RESERVED else key


def json_path(dotted: str) -> str:
    """Return the JSON path of a dotted name: `a.b` is `$."a"."b"`."""
    return "$" + "".join(f".{json.dumps(part, ensure_ascii=False)}" for part in dotted.split("."))


def json_path_of_key(name: str) -> str:
    """Return the JSON pointer of one top-level key, whatever is in it: in a path, `*` would be all keys.

    >>> json_path_of_key("and/or.*")
    '/and~1or.*'
    """
    return "/" + name.replace("~", "~0").replace("/", "~1")
