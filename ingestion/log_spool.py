"""From decoded transactions to files of one stream's changes, every value as PostgreSQL's text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starberg.ingestion.pgoutput import UNCHANGED, Begin, Change, Row, Truncate, Unchanged
from starberg.ingestion.streams import Stream
from starberg.utils.errors import SourceDataError

_ROWS_A_BATCH = 20_000
META = ("_n", "_op", "_us", "_same", "_line", "_tag")
"""Columns beside the table's: order, 'U' 'D' 'T', commit time (µs), TOASTed columns that stayed as they were, and the
row's identity at the start of the file (its first key, and a number where another row took that key)."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot saw (`pg_current_snapshot()`), taken before the log's position `lsn`."""

    text: str
    lsn: int

    def has(self, begin: Begin) -> bool:
        """Tell whether it saw a transaction that the log has too."""
        if begin.lsn >= self.lsn:
            return False
        xmin, xmax, open_ones = self.text.split(":")
        number = _nearest(begin.xid, int(xmax))
        return number < int(xmin) or (number < int(xmax) and str(number) not in open_ones.split(","))


@dataclass
class ChangeFile:
    """The changes of one stream."""

    folder: Path
    stream: Stream
    after_lsn: int
    snapshot: Snapshot | None
    files: list[Path] = field(default_factory=list)
    rows: int = 0
    carries: bool = False
    """Some row has a value that stayed as it was."""
    truncates: bool = False
    _columns: tuple[str, ...] = ()
    _batch: list[Mapping[str, Any]] = field(default_factory=list)
    _lines: dict[Key, tuple[Key, int]] = field(default_factory=dict)
    _left: set[Key] = field(default_factory=set)

    @property
    def key(self) -> Sequence[str]:
        """Return the table's names of the key columns."""
        return [self.stream.path_of(name) for name in self.stream.key]

    def wants(self, begin: Begin) -> bool:
        """Tell whether a transaction is not in the chain yet."""
        return begin.lsn >= self.after_lsn and not (self.snapshot and self.snapshot.has(begin))

    def add(self, begin: Begin, change: Change | Truncate) -> None:
        """Take one change: an update of the key is a delete and an insert."""
        if isinstance(change, Truncate):
            self.truncates = True
            self._write(begin, "T", {}, None)
            return
        if change.op == "D":
            assert change.old is not None
            self._delete(begin, change.old)
            return
        assert change.new is not None
        new = {name: _known(name, value, change.old) for name, value in change.new.items()}
        key = self._key(new)
        if change.op == "I" and (key in self._left or key in self._lines):
            self._lines[key] = (key, self.rows + 1)
        if change.old is not None and (old := self._key(change.old)) != key:
            line = self._lines.get(old, (old, 0))
            self._delete(begin, change.old)
            self._lines[key] = line
        self._write(begin, "U", new, key)

    def close(self) -> None:
        """Write what is left."""
        if not self._batch:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"changes-{len(self.files):06d}.parquet"
        kinds = {"_n": pa.int64(), "_us": pa.int64(), "_tag": pa.int64(), "_same": pa.list_(pa.string())}
        names = (*META, *self._columns)
        arrays = [pa.array([row.get(name) for row in self._batch], kinds.get(name, pa.string())) for name in names]
        pq.write_table(pa.Table.from_arrays(arrays, names=list(names)), path)
        self.files.append(path)
        self._batch = []

    def _delete(self, begin: Begin, old: Row) -> None:
        key = self._key(old)
        self._write(begin, "D", {name: old[name] for name in self.key}, key)
        self._lines.pop(key, None)
        self._left.add(key)

    def _write(self, begin: Begin, op: str, row: Row, key: Key | None) -> None:
        if not self._columns or not set(row) <= set(self._columns):
            self.close()
            self._columns = tuple(dict.fromkeys((*self._columns, *row)))
        self.rows += 1
        same = [name for name, value in row.items() if isinstance(value, Unchanged)]
        self.carries = self.carries or bool(same)
        line, tag = self._lines.get(key, (key, 0)) if key else (None, 0)
        meta = {
            "_n": self.rows,
            "_op": op,
            "_us": begin.committed_us,
            "_same": same,
            "_line": json.dumps(line) if line else None,
            "_tag": tag,
        }
        self._batch.append(meta | {name: value for name, value in row.items() if not isinstance(value, Unchanged)})
        if len(self._batch) >= _ROWS_A_BATCH:
            self.close()

    def _key(self, row: Row) -> Key:
        if gone := [name for name in self.key if name not in row]:
            raise SourceDataError(
                f"{self.stream.table} has no column {gone[0]}, the key column of stream {self.stream.name}"
            )
        if missing := [name for name in self.key if row[name] is UNCHANGED]:
            raise SourceDataError(
                f"the log does not say the key column {missing[0]} of a changed row",
                hint="ALTER TABLE … REPLICA IDENTITY FULL, or declare the primary key as `key`.",
            )
        return tuple(row[name] for name in self.key)


def _known(name: str, value: Any, old: Row | None) -> Any:
    """A value that stayed as it was stands in the old row, if the log has all of that."""
    if value is UNCHANGED and old is not None and old.get(name) is not None:
        return old[name]
    return value


def _nearest(xid: int, near: int) -> int:
    """Return the 64-bit number of a transaction, given one that is less than 2³¹ away."""
    half, whole = 1 << 31, 1 << 32
    number = near - near % whole + xid
    if number - near > half:
        return number - whole
    return number + whole if near - number > half else number


def close_all(files: Iterable[ChangeFile]) -> None:
    """Write what is left of each."""
    for file in files:
        file.close()
