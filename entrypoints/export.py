"""`starberg query --output FILE`: the rows of a question in a file, whatever their number.

The file appears under its name when it is whole; until then, and if the question fails, there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starberg.entrypoints.output import show_rows
from starberg.entrypoints.session import Format
from starberg.etl.results import QueryResult
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_BYTES = 64 * 1024 * 1024
"""Of memory, for one row group: large enough to be read well, small enough to be held twice."""
KINDS = (".parquet", ".csv")


def check_output(path: Path) -> None:
    """Raise UsageError before anything is asked if a file of that name cannot be written."""
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"{path} has no known kind", hint=f"Name a file that ends in {' or '.join(KINDS)}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.absolute().parent}")


def write(result: QueryResult, path: Path) -> int:
    """Write the rows of an answer to a Parquet or CSV file, which it replaces; return their number.

    Raises UsageError for columns the file cannot hold, and what reading the rows raises.
    """
    check_output(path)
    with _whole(path) as part:
        return _parquet(result, part) if path.suffix.lower() == ".parquet" else _csv(result, part)


def _csv(result: QueryResult, path: Path) -> int:
    count = 0

    def counted() -> Iterator[tuple[Any, ...]]:
        nonlocal count
        for count, row in enumerate(result.rows, 1):  # noqa: B007 - the last one is the number
            yield row

    with path.open("w", encoding="utf-8", newline="") as file:
        show_rows(result.columns, counted(), Format.CSV, file)
    return count


def _parquet(result: QueryResult, path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = result.batches()
    _check_columns(reader.schema)
    count = 0
    try:
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for group in _groups(reader):
                writer.write_table(group)
                count += group.num_rows
    except pa.ArrowNotImplementedError as error:
        raise UsageError(f"Parquet cannot hold this: {error}", hint="Cast the column, or write CSV.") from error
    return count


def _groups(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Gather batches, which some servers make of a few rows, into row groups."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        held.append(batch)
        size += batch.nbytes
        if size >= _GROUP_BYTES:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _check_columns(schema: pa.Schema) -> None:
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        hint = "Name one with `as`."
        raise UsageError(f"two columns are called {twice[0]}, which Parquet's readers cannot tell apart", hint=hint)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a place beside a file, and put what was written there in the file's place once it is whole."""
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
