"""Iceberg's partition values: their SQL, which is DuckDB's on either engine, and how their texts are read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starberg.storage.columns import PartitionBy, SqlColumn
from starberg.utils.sql import quote_name

# The spec's transforms are counts since 1970-01-01; date_diff counts boundaries, which is the same for both signs.
_TRANSFORM_SQL = {
    "identity": "{column}",
    "year": "date_diff('year', date '1970-01-01', {column})",
    "month": "date_diff('month', date '1970-01-01', {column})",
    "day": "date_diff('day', date '1970-01-01', {column}::date)",
    "hour": "date_diff('hour', timestamp '1970-01-01', {column})",
}


@dataclass(frozen=True)
class PartitionValue:
    """The SQL of a partition value, and how its text is read as Iceberg's value."""

    sql: str
    read: Callable[[str], Any]


def partition_values(columns: Sequence[SqlColumn], partition: Sequence[PartitionBy]) -> list[PartitionValue]:
    """Return the values by which rows of these columns are partitioned."""
    kinds = {column.name.lower(): column.type for column in columns}
    return [_partition_value(by, kinds[by.column.lower()]) for by in partition]


def with_values(select: str, values: Sequence[PartitionValue]) -> str:
    """Return a SELECT with partition values as its last columns: `_p0`, `_p1`, …"""
    parts = ", ".join(f"{value.sql} AS _p{number}" for number, value in enumerate(values))
    return f"SELECT *, {parts} FROM ({select})" if parts else select


def read_values(texts: Sequence[str | None], values: Sequence[PartitionValue]) -> tuple[Any, ...]:
    """Return Iceberg's values of the texts that an engine tells of a file."""
    return tuple(None if said is None else value.read(said) for said, value in zip(texts, values, strict=True))


def _partition_value(by: PartitionBy, kind: str) -> PartitionValue:
    # A date itself is in Iceberg what its day is: a number.
    transform = "day" if by.transform == "identity" and kind == "DATE" else by.transform
    sql = _TRANSFORM_SQL[transform].format(column=quote_name(by.column))
    if transform != "identity":
        return PartitionValue(sql, int)
    read: dict[str, Callable[[str], Any]] = {"VARCHAR": str, "BOOLEAN": "true".__eq__}
    return PartitionValue(sql, read.get(kind, Decimal if kind.startswith("DECIMAL") else int))
