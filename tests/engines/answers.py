"""Answers of several engines, made comparable: values, whatever their Python type is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from starberg.engines.clients import Batches


def counted(rows: Iterable[Iterable[Any]]) -> Counter[Any]:
    """Return rows, order apart."""
    return Counter(tuple(map(plain, row)) for row in rows)


def rows_of(batches: Batches) -> list[tuple[Any, ...]]:
    """Return a client's answer whole."""
    return list(zip(*(column.to_pylist() for column in batches.reader().read_all().columns), strict=True))


def plain(value: Any) -> Any:
    """Return a value that equals the same one of another engine: some give UUIDs as text, and bytes as a view."""
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    if isinstance(value, dict):
        return tuple((name, plain(each)) for name, each in sorted(value.items()))
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    return str(value) if isinstance(value, UUID) else value
