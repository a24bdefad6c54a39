"""Prints what commands return: text for people, JSON for programs. Stdout carries the answer alone, in UTF-8.

JSON and CSV values are exact: decimals are strings in JSON (a JSON number becomes a binary float in most readers),
dates and times ISO 8601 (with zone if they have one), intervals ISO 8601 durations, bytes hexadecimal, NaN and
infinities null. CSV is RFC 4180 with a header; NULL and the empty text are both an empty field, nested values are JSON.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO
from uuid import UUID

from pydantic_core import to_json, to_jsonable_python

from starberg.entrypoints.session import Format
from starberg.etl.day_ranges import packed
from starberg.utils.errors import UsageError
from starberg.utils.logging import escaped

log = logging.getLogger(__name__)

ROWS_ON_A_TERMINAL = 1000
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

_EXACT: Any = {"timedelta_mode": "iso8601", "bytes_mode": "hex", "inf_nan_mode": "null"}


def show(value: Any, *, as_json: bool, out: TextIO) -> None:
    """Print a command's answer: text, a record, a list of records, or one of the result dataclasses."""
    if as_json:
        out.write(to_json(value, indent=2, **_EXACT).decode() + "\n")
        return
    _Text(out).show(_plain(value))


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: Format, out: TextIO) -> None:
    """Print the rows of a query one after the other; only a table needs them all at once."""
    if form is Format.JSON:
        out.writelines(_json_lines(columns, rows))
    elif form is Format.CSV:
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows([_csv_cell(value) for value in row] for row in rows)
    else:
        _Text(out).rows(columns, rows)


def _plain(value: Any) -> Any:
    """Replace dataclasses by records, at any depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _json_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    twice = sorted({name for name in columns if list(columns).count(name) > 1})
    if twice:
        raise UsageError(f"two columns are called {twice[0]}, which JSON cannot tell apart", hint="Name one with `as`")
    before = "[\n"
    for row in rows:
        yield before + to_json(dict(zip(columns, row, strict=True)), **_EXACT).decode()
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv_cell(value: Any) -> Any:
    plain = to_jsonable_python(value, **_EXACT)
    if isinstance(plain, bool | dict | list):
        return json.dumps(plain, ensure_ascii=False)
    return plain


class _Text:
    """Text for people. A table too wide for the terminal is printed one value per line; nothing is ever cut."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()

    def show(self, value: Any) -> None:
        """Print a text, a record or a list."""
        if isinstance(value, Mapping):
            self._record(value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            columns = list(dict.fromkeys(key for row in value for key, item in row.items() if item not in ([], (), {})))
            self._table(columns, [[row.get(key) for key in columns] for row in value], _cell)
        elif isinstance(value, list):
            for item in value or ["(none)"]:
                self.show(item)
        else:
            for line in _cell(value).split("\n"):
                self._line(escaped(line.expandtabs(4)) if self._terminal else line)  # a pipe gets SQL as it is

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print the rows of a query; on a terminal only the first ones, which a warning then says."""
        iterator = iter(rows)
        self._table(columns, list(islice(iterator, ROWS_ON_A_TERMINAL) if self._terminal else iterator), _query_cell)
        if next(iterator, None) is not None:
            log.warning("only the first %d rows are shown; --format csv or json gives all", ROWS_ON_A_TERMINAL)

    def _record(self, record: Mapping[str, Any]) -> None:
        """Print the plain values side by side with their names, then each list, record and longer text below."""
        blocks = {key: value for key, value in record.items() if _is_block(value)}
        plain = {key: value for key, value in record.items() if key not in blocks and value not in ([], {})}
        self._pairs([(key, escaped(_cell(value))) for key, value in plain.items()])
        for key, value in blocks.items():
            self._line(f"\n{key}")
            self.show(value)

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], cell: Callable[[Any], str]) -> None:
        from rich.cells import cell_len  # wide characters take two places

        names = [escaped(name) for name in columns]
        cells = [[escaped(cell(value)) for value in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
        right = [_numeric(column) for column in zip(*rows, strict=True)] or [False] * len(names)
        if self._terminal and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
            self._upright(names, cells)
            return
        for row in [names, ["-" * width for width in widths], *cells]:
            padding = [" " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)]
            placed = zip(row, padding, right, strict=True)
            self._line("  ".join(pad + text if number else text + pad for text, pad, number in placed))

    def _upright(self, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        for row in rows:
            self._pairs(list(zip(names, row, strict=True)))
            self._line("")

    def _pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        width = max((len(name) for name, _ in pairs), default=0)
        for name, text in pairs:
            self._line(f"{name:{width}}  {text}")

    def _line(self, text: str) -> None:
        self._out.write(text.rstrip() + "\n")


def _is_block(value: Any) -> bool:
    return bool(value) and (isinstance(value, list | Mapping) or (isinstance(value, str) and "\n" in value))


def _numeric(values: Iterable[Any]) -> bool:
    kinds = {type(value) for value in values} - {type(None)}
    return bool(kinds) and kinds <= {int, float, Decimal}


def _cell(value: Any) -> str:
    """Return a value for people: times in UTC to the second, days as ranges, numbers as they are, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, str | int | float | Decimal | date | UUID):
        return str(value)
    if isinstance(value, Sequence) and value and all(_DAY.fullmatch(str(item)) for item in value):
        return packed([date.fromisoformat(str(item)) for item in value])
    return json.dumps(to_jsonable_python(value, **_EXACT), ensure_ascii=False)


def _query_cell(value: Any) -> str:
    """Return a value of a query, exact."""
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value) if isinstance(value, float | Decimal) else str(_csv_cell(value))
