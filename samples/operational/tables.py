"""Generated rows on their way into a database: set-based, by COPY."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from starberg.utils.sql import names, quote_name

if TYPE_CHECKING:
    import psycopg2.extensions

_BATCH = 50_000
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Table:
    """Rows of one table in key order, as many values each as `columns`; the first column is the key."""

    name: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]


def copy(cursor: psycopg2.extensions.cursor, table: Table) -> int:
    """Write a table's rows and put its key's sequence behind them; return how many there were."""
    name, key = quote_name(table.name), table.columns[0]
    statement = f"COPY {name} ({names(list(table.columns))}) FROM STDIN"
    rows, total = iter(table.rows), 0
    while batch := list(islice(rows, _BATCH)):
        cursor.copy_expert(statement, io.StringIO("".join(_lines(batch))))
        total += len(batch)
    cursor.execute(
        f"SELECT setval(pg_get_serial_sequence(%s, %s), max({quote_name(key)})) FROM {name} HAVING count(*) > 0",
        (name, key),
    )
    return total


def _lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    for row in rows:
        yield "\t".join([_text(value) for value in row]) + "\n"


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPED)
    return value.isoformat() if isinstance(value, datetime) else str(value)
