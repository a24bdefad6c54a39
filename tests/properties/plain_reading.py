"""What the tables of a stream must hold, worked out in plain Python from what the source said, one record at a time.

It shares no code with the product: types are read by hand, rows live in dictionaries. The rules are those of the
documents: of one key's records in a load the greatest cursor stands, then the last; a record that says nothing new (a
list that is null is an empty one) is no change; one that cannot be typed is quarantined and its key keeps its last good
row; a key missed by a whole reading is deleted, unless that reading had a record without a readable key.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from memory_source import Record, Said

Row = dict[str, Any]
Key = tuple[Any, ...]
Reader = Callable[[Any], Any]


class Untyped(Exception):
    """A value is there and is not of its type."""


def integer(bits: int = 32) -> Reader:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or not re.fullmatch(r"\s*[+-]?\d+(\.0*)?\s*", str(value)):
            raise Untyped
        number = int(Decimal(str(value).strip()))
        if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
            raise Untyped
        return number

    return read


def words(value: Any) -> Any:
    return value if isinstance(value, str) else json.dumps(value)


def boolean(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Untyped
    return value


def real(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Untyped from None


def decimal(precision: int, scale: int) -> Reader:
    def read(value: Any) -> Any:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise Untyped from None
        if number != round(number, scale) or abs(number) >= Decimal(10) ** (precision - scale):
            raise Untyped
        return round(number, scale)

    return read


def day(value: Any) -> Any:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise Untyped from None


def moment(value: Any) -> Any:
    """A time in UTC without zone; one that names no zone is UTC."""
    try:
        when = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Untyped from None
    return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when


def struct(**fields: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Untyped
        return {name: typed(kind, value.get(name)) for name, kind in fields.items()}

    return read


def listed(item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise Untyped
        return [typed(item, each) for each in value]

    return read


def typed(read: Reader, value: Any) -> Any:
    return None if value is None else read(value)


@dataclass
class Member:
    """One key of a stream: its last good row, and when it was missed (naive UTC) if it is not there now."""

    row: Row
    deleted_at: datetime | None = None


@dataclass
class PlainStream:
    """One stream as its loads tell it."""

    key: Sequence[str]
    columns: Mapping[str, Reader]
    cursor: str = ""
    volatile: Sequence[str] = ()
    members: dict[Key, Member] = field(default_factory=dict)
    quarantine: list[tuple[str, datetime]] = field(default_factory=list)
    """Records that could not be read, as JSON, with the time of their load."""
    landed: Counter[str] = field(default_factory=Counter)
    """How many records were news (`changed`) and how many keys were missed (`deleted`), over all loads."""
    _known: dict[Key, str] = field(default_factory=dict)
    _known_keyless: set[str] = field(default_factory=set)

    def hear(self, said: Said, observed: datetime) -> None:
        """Take in one load."""
        observed = observed.replace(tzinfo=None)
        last, keyless = self._of_each_key(said.records)
        if not said.keys_only:
            for content, text in keyless:
                if content not in self._known_keyless:
                    self._put_aside(text, observed)
            self._known_keyless.update(content for content, _ in keyless)
            for key, (row, text) in last.items():
                self._record(key, row, text, observed)
        if (said.whole or said.keys_only) and not keyless:
            for key in [key for key in self._known if key not in last]:
                del self._known[key]
                self.landed["deleted"] += 1
                if key in self.members and self.members[key].deleted_at is None:
                    self.members[key].deleted_at = observed

    def live(self) -> list[Row]:
        return [member.row for member in self.members.values() if member.deleted_at is None]

    def ever(self) -> list[Row]:
        return [member.row for member in self.members.values()]

    def _of_each_key(
        self, records: Sequence[Record]
    ) -> tuple[dict[Key, tuple[Row | None, str]], list[tuple[str, str]]]:
        """Return the row (None: unreadable) and text that stand for each key, content and text of those without one."""
        found: dict[Key, tuple[Any, Row | None, str]] = {}
        keyless = []
        for record in records:
            text = json.dumps(record, ensure_ascii=False)
            try:
                key = tuple(typed(self.columns[name], record.get(name)) for name in self.key)
            except Untyped:
                key = (None,)
            if None in key:
                keyless.append((self._content(self._row(record), text), text))
                continue
            place = self._place(record)
            if key not in found or place >= found[key][0]:
                found[key] = (place, self._row(record), text)
        return {key: (row, text) for key, (_, row, text) in found.items()}, keyless

    def _place(self, record: Record) -> tuple[bool, Any]:
        """Null, missing and unreadable cursors come before all others."""
        try:
            value = typed(self.columns[self.cursor], record.get(self.cursor)) if self.cursor else None
        except Untyped:
            value = None
        return (value is not None, value or datetime.min)

    def _row(self, record: Record) -> Row | None:
        try:
            return {name: typed(read, record.get(name)) for name, read in self.columns.items()}
        except Untyped:
            return None

    def _record(self, key: Key, row: Row | None, text: str, observed: datetime) -> None:
        content = self._content(row, text)
        if self._known.get(key) == content:
            return
        self._known[key] = content
        if row is None:
            self._put_aside(text, observed)
            if key in self.members:
                self.members[key].deleted_at = None
        else:
            self.landed["changed"] += 1
            self.members[key] = Member(row)

    def _content(self, row: Row | None, text: str) -> str:
        """Return what makes a record another one: its values, or its text if they cannot be read."""
        if row is None:
            return text
        counted = {name: None if value == [] else value for name, value in row.items() if name not in self.volatile}
        return repr(sorted(counted.items()))

    def _put_aside(self, text: str, observed: datetime) -> None:
        self.landed["changed"] += 1
        self.quarantine.append((text, observed))


def dimension(
    key: str, columns: Mapping[str, str | None], live: Iterable[Row], ever: Iterable[Row], referenced: Iterable[Any]
) -> list[Row]:
    """Return a dimension's rows without numbers: live members, deleted ones, inferred ones, the unknown member.

    `columns` are the names of its rows' columns, those that are text with what the unknown member says.
    """
    nobody = dict.fromkeys(columns)
    rows = {row[key]: row | {"is_deleted": True, "is_inferred": False} for row in ever}
    rows |= {row[key]: row | {"is_deleted": False, "is_inferred": False} for row in live}
    for value in set(referenced) - {None}:
        rows.setdefault(value, nobody | {key: value, "is_deleted": False, "is_inferred": True})
    unknown = dict(columns) | {"is_deleted": False, "is_inferred": False}
    return [*rows.values(), unknown]
