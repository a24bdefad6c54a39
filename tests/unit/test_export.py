"""Rows in a file: whole or not there at all, of any engine, a few batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from starberg.engines.clients import Batches
from starberg.entrypoints import export
from starberg.entrypoints.remote_query import result_of
from starberg.etl.results import QueryResult
from starberg.utils.errors import Unreachable, UsageError

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])


def batch(first: int, rows: int = 2) -> pa.RecordBatch:
    numbers = list(range(first, first + rows))
    return pa.RecordBatch.from_pydict({"id": numbers, "name": [f"n,{number}" for number in numbers]}, schema=SCHEMA)


def result(*batches: pa.RecordBatch, schema: pa.Schema = SCHEMA) -> QueryResult:
    return result_of(Batches(schema, iter(batches)), lambda: None)


def test_a_file_has_all_rows_in_their_order_and_replaces_what_was_there(tmp_path: Path) -> None:
    for name in ("rows.parquet", "rows.csv"):
        (tmp_path / name).write_text("old")
        assert export.write(result(batch(1), batch(3)), tmp_path / name) == 4
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict()["id"] == [1, 2, 3, 4]
    assert (tmp_path / "rows.csv").read_bytes() == b'id,name\r\n1,"n,1"\r\n2,"n,2"\r\n3,"n,3"\r\n4,"n,4"\r\n'


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_no_rows_are_a_file_with_columns(tmp_path: Path, name: str) -> None:
    assert export.write(result(), tmp_path / name) == 0
    if name.endswith("csv"):
        assert (tmp_path / name).read_text() == "id,name\n"
    else:
        assert pq.read_schema(tmp_path / name).names == ["id", "name"]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_question_that_fails_midway_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch(1)
        raise Unreachable("Dremio at h:1 does not answer")

    (tmp_path / name).write_text("old")
    with pytest.raises(Unreachable):
        export.write(result_of(Batches(SCHEMA, failing()), lambda: None), tmp_path / name)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "old")]


def test_batches_are_written_before_the_next_ones_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_GROUP_BYTES", 1)
    asked: list[int] = []
    written: list[int] = []
    write_table = pq.ParquetWriter.write_table

    def noted(writer: pq.ParquetWriter, table: pa.Table) -> None:
        written.append(len(asked))
        write_table(writer, table)

    def rows() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            asked.append(number)
            yield batch(number)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", noted)
    export.write(result_of(Batches(SCHEMA, rows()), lambda: None), tmp_path / "rows.parquet")
    assert written == [1, 2, 3]


def test_what_parquet_cannot_hold_is_told(tmp_path: Path) -> None:
    twice = pa.schema([("id", pa.int64()), ("id", pa.int64())])
    with pytest.raises(UsageError, match="two columns are called id"):
        export.write(result(schema=twice), tmp_path / "rows.parquet")
    union = pa.schema([("u", pa.dense_union([pa.field("a", pa.int64())]))])
    with pytest.raises(UsageError, match=r"Parquet cannot hold this: .*Cast the column, or write CSV"):
        export.write(result(schema=union), tmp_path / "rows.parquet")
    assert list(tmp_path.iterdir()) == []
