"""What SQL engines and Iceberg commits tell each other of columns; imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRANSFORMS = ("identity", "year", "month", "day", "hour")
"""Partition transforms that tables may declare."""

FILE_PATH_ID = 2147483546
POS_ID = 2147483545
"""Reserved field ids of a position-delete file's columns (spec, "Reserved Field IDs")."""

_PARTITION = re.compile(r"^(?:(?P<transform>\w+)\((?P<of>\w+)\)|(?P<column>\w+))$")


@dataclass(frozen=True)
class SqlColumn:
    """A column as SQL sees it: its name and its type in DuckDB's spelling."""

    name: str
    type: str


@dataclass(frozen=True)
class PartitionBy:
    """One hidden partition field: `identity`, `year`, `month`, `day` or `hour` of a column."""

    transform: str
    column: str

    @classmethod
    def parse(cls, text: str) -> PartitionBy:
        """Read `month(sold_at)` or `region`; ValueError says what is allowed."""
        found = _PARTITION.match(text.strip())
        transform = (found and (found["transform"] or "identity")) or ""
        if not found or transform not in TRANSFORMS:
            raise ValueError(f"{text!r} is not a column or year|month|day|hour(column)")
        return cls(transform, found["of"] or found["column"])


@dataclass(frozen=True)
class ColumnStats:
    """Statistics of one column of one file; bounds are SQL text, None when unknown or not to be relied on."""

    size_bytes: int
    values: int
    nulls: int
    lower: str | None = None
    upper: str | None = None
