"""How a Spark task writes rows as Parquet files for Iceberg, with their statistics.

Spark's own writer gives no ids to the elements of lists and maps, without which readers of Iceberg find nulls there.
This runs in the workers' Python, which needs pyarrow and nothing of ours: the module travels with the task.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

WRITTEN = "path STRING, rows BIGINT, size BIGINT, told STRING"
"""What a task tells of each file, as Spark's schema: `told` is JSON of `partition` and of `columns`."""
FILE_BYTES = 512 * 1024 * 1024
GROUP_ROWS = 122_880
"""What a batch, and so a row group, has at most."""


@dataclass
class _Column:
    """What is known of one column of one file."""

    nulls: int = 0
    lower: Any = None
    upper: Any = None
    bounded: bool = True

    def add(self, values: pa.Array) -> None:
        import pyarrow.compute as pc

        self.nulls += values.null_count
        if not self.bounded or not _has_bounds(values.type) or values.null_count == len(values):
            return
        found = pc.min_max(values)
        try:
            lower, upper = found["min"].as_py(), found["max"].as_py()
        except (ValueError, OverflowError):  # a year that Python does not know
            self.bounded, self.lower, self.upper = False, None, None
            return
        self.lower = lower if self.lower is None else min(self.lower, lower)
        self.upper = upper if self.upper is None else max(self.upper, upper)


@dataclass
class _File:
    """A file being written: rows of one partition."""

    path: Path
    schema: pa.Schema
    partition: tuple[Any, ...]
    rows: int = 0
    columns: dict[str, _Column] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd", version="2.6")
        self.columns = {name: _Column() for name in self.schema.names}

    def add(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)
        self.rows += batch.num_rows
        for name, values in zip(self.schema.names, batch.columns, strict=True):
            self.columns[name].add(values)

    @property
    def is_full(self) -> bool:
        return self.path.stat().st_size >= FILE_BYTES

    def close(self) -> dict[str, Any]:
        """End the file; return what `WRITTEN` has of it."""
        import pyarrow.parquet as pq
        import pyarrow.types as types

        self._writer.close()
        sizes: dict[str, int] = {}
        footer = pq.read_metadata(self.path)
        for group in range(footer.num_row_groups):
            for number in range(footer.num_columns):
                chunk = footer.row_group(group).column(number)
                sizes[chunk.path_in_schema] = sizes.get(chunk.path_in_schema, 0) + chunk.total_compressed_size
        told = {
            name: [sizes[name], self.rows, facts.nulls, _text(facts.lower), _text(facts.upper)]
            for name, facts in self.columns.items()
            if not types.is_nested(self.schema.field(name).type)
        }
        return {
            "path": str(self.path),
            "rows": self.rows,
            "size": self.path.stat().st_size,
            "told": json.dumps({"partition": list(map(_text, self.partition)), "columns": told}),
        }


def writer(folder: str, schema: bytes, partitions: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[Any]]:
    """Return what a task does: write its rows into a folder, a file for each partition.

    The last `partitions` columns are the partition's values; rows come ordered by them. `schema` is Arrow's own text of
    the others.
    """

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        wanted = pa.ipc.read_schema(pa.py_buffer(schema))
        done = list(_files(Path(folder), wanted, partitions, batches))
        if done:
            yield pa.RecordBatch.from_pylist(
                done,
                schema=pa.schema(
                    [("path", pa.string()), ("rows", pa.int64()), ("size", pa.int64()), ("told", pa.string())]
                ),
            )

    return write


def _files(
    folder: Path, schema: pa.Schema, partitions: int, batches: Iterator[pa.RecordBatch]
) -> Iterator[dict[str, Any]]:
    current: _File | None = None
    try:
        for batch in batches:
            for values, rows in _by_partition(batch, partitions):
                if current is not None and (current.partition != values or current.is_full):
                    done, current = current, None
                    yield done.close()
                if current is None:
                    current = _File(folder / f"{uuid.uuid4()}.parquet", schema, values)
                current.add(_as(rows, schema))
        if current is not None:
            done, current = current, None
            yield done.close()
    finally:
        if current is not None:
            current.close()


def _by_partition(batch: pa.RecordBatch, partitions: int) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch]]:
    """Yield runs of rows with equal values in the last columns, without these."""
    import pyarrow.compute as pc

    first = batch.num_columns - partitions
    kept, keys = batch.select(range(first)), batch.columns[first:]
    ends = {end for column in keys for end in pc.run_end_encode(column).run_ends.to_pylist()}
    start = 0
    for end in sorted(ends or {batch.num_rows}):
        yield tuple(column[start].as_py() for column in keys), kept.slice(start, end - start)
        start = end


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [_stored(values, kind.type) for values, kind in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _stored(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values as the file holds them; a UUID comes as its bytes."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, values.cast(kind.storage_type))
    return values.cast(kind)


def _has_bounds(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    known: Sequence[Callable[[pa.DataType], bool]] = (
        types.is_integer,
        types.is_boolean,
        types.is_date,
        types.is_decimal,
        types.is_string,
    )
    return any(is_kind(kind) for is_kind in known) or (types.is_timestamp(kind) and kind.tz is None)


def _text(value: Any) -> str | None:
    """Return a bound as SQL writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return None if value is None else f"{value:f}" if hasattr(value, "as_tuple") else str(value)
