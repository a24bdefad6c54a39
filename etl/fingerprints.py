"""Fingerprints of declarations: a table whose fingerprint is not that of its last build is built anew. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from starberg.etl.compile import dependents_on
from starberg.etl.dates import is_by_date
from starberg.etl.model import Kind, Table, Warehouse, needs_history
from starberg.etl.snapshots import times_of
from starberg.etl.sql_body import fingerprint_parts
from starberg.etl.zone import UTC_DAYS, Zone
from starberg.etl.zone_matters import hangs_on_zone
from starberg.ingestion.streams import SourceSpec, Stream

COMPILER_VERSION = "1"
"""Part of every fingerprint: raised when the same declaration compiles to other rows."""

_NO_MATTER_OF_ROWS = {"checks", "restate_days"}
"""Fields of headers that no row hangs on."""

_ZONE = "calendar_timezone"


def fingerprint(table: Table, warehouse: Warehouse) -> tuple[str, Mapping[str, str]]:
    """Return a declaration's fingerprint, and the text of each part of it for saying what changed."""
    parts = _parts(table)
    if table.kind == Kind.STAGING:
        parts |= _stream_parts(*warehouse.stream_of(table))
        parts["name of the quarantine"] = warehouse.quarantine_of(table)
        if warehouse.keeps_changes(table):
            parts["table of changes"] = table.changes
    if not warehouse.zone.is_utc and hangs_on_zone(table, warehouse):
        parts[_ZONE] = warehouse.zone.name
    body = json.dumps([COMPILER_VERSION, parts, *_beside(table, warehouse)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest(), parts


def edits(parts: Mapping[str, str], before: Mapping[str, str], table: Table, warehouse: Warehouse) -> str:
    """Say what is edited in a declaration; nothing if it is something beside it, which says so itself."""
    added, gone = sorted(parts.keys() - before.keys()), sorted(before.keys() - parts.keys())
    changed = sorted(name for name in parts.keys() & before.keys() if parts[name] != before[name])
    said = [
        f"{what} {', '.join(name or 'header or FROM' for name in which)}"
        for what, which in (("added", added), ("removed", gone), ("changed", changed))
        if which
    ]
    beside = table.kind is Kind.DIMENSION or bool(_beside(table, warehouse))
    return "; ".join(said) or ("" if beside else "by another version of starberg")


def _beside(table: Table, warehouse: Warehouse) -> list[object]:
    """Return what a table's rows hang on beside its own declaration and what is noticed as an input.

    Of a dimension, what looks it up. Of a fact built by date, how staging is made: only some of its days are computed
    again where rows change. Of what is made from changes, how these are dated.
    """
    if table.kind is Kind.DIMENSION:
        return [_parts(other) for other, _ in dependents_on(warehouse, table.name)]
    if table.kind not in (Kind.FACT, Kind.BRIDGE):
        return []
    staging = [warehouse.tables[name] for name in table.reads]
    found: list[object] = [fingerprint(other, warehouse)[0] for other in staging] if is_by_date(table) else []
    if needs_history(table):
        found += [times_of(table, other, warehouse).model_dump() for other in staging]
    return found


def zone_in(parts: Mapping[str, str]) -> Zone:
    """Return the time zone whose days a table with such parts has been built with."""
    return Zone(parts[_ZONE]) if _ZONE in parts else UTC_DAYS


def _stream_parts(source: SourceSpec, stream: Stream) -> dict[str, str]:
    columns = {f"{stream.name}.{name}": stream.column(name).model_dump_json() for name in stream.columns}
    rest = stream.model_dump_json(include={"key", "undeclared", "records"})
    return {**columns, f"stream {stream.name}": f"{rest} {source.timezone}"}


def _parts(table: Table) -> dict[str, str]:
    header = table.header.model_dump_json(exclude_defaults=True, exclude=_NO_MATTER_OF_ROWS)
    return fingerprint_parts(table.select, header)
