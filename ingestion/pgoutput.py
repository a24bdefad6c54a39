"""Decoder of `pgoutput`, protocol version 1: what PostgreSQL's logical decoding says of committed transactions. Pure.

Messages are those of https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html; values are
PostgreSQL's text. Times are UTC microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from starberg.utils.errors import SourceDataError

_EPOCH_US = 946_684_800_000_000
"""2000-01-01 after 1970-01-01, where PostgreSQL begins to count."""


class Unchanged:
    """Stands for a TOASTed value that an update did not touch, and that is therefore not in the log."""


UNCHANGED = Unchanged()
Value = str | None | Unchanged
Row = dict[str, Value]


@dataclass(frozen=True)
class Relation:
    """A table as it was when the change was made; `key` are the columns of its replica identity."""

    oid: int
    name: str
    """`schema.name`."""
    identity: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Begin:
    """A transaction begins: `lsn` is that of its commit, `xid` its 32-bit number."""

    lsn: int
    committed_us: int
    xid: int


@dataclass(frozen=True)
class Commit:
    """A transaction ends; the slot may be advanced to `end_lsn` once everything before it is safe."""

    lsn: int
    end_lsn: int


@dataclass(frozen=True)
class Change:
    """One row changed. `old` is the replica identity before (a whole row if that is FULL), if the log has it."""

    op: Literal["I", "U", "D"]
    relation: Relation
    new: Row | None
    old: Row | None
    old_is_key: bool = False


@dataclass(frozen=True)
class Truncate:
    """Tables were emptied."""

    relations: tuple[Relation, ...]


Message = Begin | Commit | Change | Truncate


class Decoder:
    """Decodes messages in order; it remembers the relations it was told of."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}

    def decode(self, data: bytes) -> Iterator[Message]:
        """Yield what a message says, if it concerns rows. SourceDataError if it is none of protocol version 1."""
        reader = _Reader(data)
        try:
            message = self._message(reader)
        except (IndexError, KeyError, ValueError) as error:
            raise SourceDataError(f"a message of the replication log cannot be read: {data[:1]!r}, {error}") from error
        if message is not None:
            yield message

    def _message(self, reader: _Reader) -> Message | None:
        match kind := reader.letter():
            case "B":
                return Begin(reader.int64(), reader.int64() + _EPOCH_US, reader.int32())
            case "C":
                reader.int8()
                return Commit(reader.int64(), reader.int64())
            case "R":
                self._relation(reader)
            case "I":
                relation = self._relations[reader.int32()]
                reader.letter()
                return Change("I", relation, reader.row(relation.columns), None)
            case "U":
                return self._update(reader)
            case "D":
                relation = self._relations[reader.int32()]
                is_key = reader.letter() == "K"
                return Change("D", relation, None, reader.row(relation.columns), is_key)
            case "T":
                count = reader.int32()
                reader.int8()
                return Truncate(tuple(self._relations[reader.int32()] for _ in range(count)))
            case "Y" | "O" | "M":  # a type's name, where the change came from, a message of some program
                return None
            case _:
                raise KeyError(f"unknown message {kind}")
        return None

    def _relation(self, reader: _Reader) -> None:
        oid, schema, name, identity = reader.int32(), reader.string(), reader.string(), reader.letter()
        columns: list[str] = []
        key: list[str] = []
        for _ in range(reader.int16()):
            is_key, column = reader.int8() & 1, reader.string()
            reader.int32()
            reader.int32()
            columns.append(column)
            if is_key:
                key.append(column)
        schema = schema or "pg_catalog"
        self._relations[oid] = Relation(oid, f"{schema}.{name}", identity, tuple(columns), tuple(key))

    def _update(self, reader: _Reader) -> Change:
        relation = self._relations[reader.int32()]
        old, is_key, kind = None, False, reader.letter()
        if kind in "KO":
            old, is_key = reader.row(relation.columns), kind == "K"
            reader.letter()
        return Change("U", relation, reader.row(relation.columns), old, is_key)


class _Reader:
    """Reads a message from its front; numbers are big-endian."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def letter(self) -> str:
        return self._take(1).decode("ascii")

    def int8(self) -> int:
        return self._take(1)[0]

    def int16(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def int32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def int64(self) -> int:
        return int.from_bytes(self._take(8), "big", signed=True)

    def string(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text

    def row(self, columns: tuple[str, ...]) -> Row:
        count = self.int16()
        if count != len(columns):
            raise IndexError(f"{count} values for {len(columns)} columns")
        return {column: self._value() for column in columns}

    def _value(self) -> Value:
        match kind := self.letter():
            case "n":
                return None
            case "u":
                return UNCHANGED
            case "t":
                return self._take(self.int32()).decode()
            case _:
                raise KeyError(f"unknown value {kind}")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise IndexError("it ends too early")
        self._at += size
        return taken
