"""Iceberg metadata takes the one way into the store: PyIceberg writes and reads it through `StoreIO`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestEntry, ManifestEntryStatus, write_manifest
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField

from starberg.storage.local_store import LocalStore
from starberg.storage.store_io import StoreIO
from starberg.utils.errors import LakeError, TransientError

SCHEMA = Schema(NestedField(1, "id", LongType(), required=False))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


@pytest.fixture
def io(store: LocalStore) -> StoreIO:
    return StoreIO(store)


def test_table_metadata_is_written_and_read(store: LocalStore, io: StoreIO) -> None:
    metadata = new_table_metadata(
        SCHEMA, UNPARTITIONED_PARTITION_SPEC, UNSORTED_SORT_ORDER, store.uri("t"), {"format-version": "2"}
    )
    location = store.uri("t/metadata/v1.metadata.json")
    ToOutputFile.table_metadata(metadata, io.new_output(location))
    assert FromInputFile.table_metadata(io.new_input(location)) == metadata
    assert [stored.key for stored in store.list("")] == ["t/metadata/v1.metadata.json"]


def test_a_manifest_is_written_and_read(store: LocalStore, io: StoreIO) -> None:
    location = store.uri("t/metadata/manifest.avro")
    entry = manifest_entry(store.uri("t/data/part.parquet"))
    with write_manifest(2, UNPARTITIONED_PARTITION_SPEC, SCHEMA, io.new_output(location), 7, "deflate") as writer:
        writer.add_entry(entry)
    before = store.counters.requests
    manifest = writer.to_manifest_file()
    assert store.counters.requests == before  # the length is known, not asked for
    assert manifest.manifest_length == store.size("t/metadata/manifest.avro")
    (read,) = manifest.fetch_manifest_entry(io)
    assert read.data_file.file_path == entry.data_file.file_path
    assert read.data_file.record_count == 3


def test_a_whole_table_lives_in_the_store(store: LocalStore, tmp_path: Path) -> None:
    class Catalog(SqlCatalog):
        def _load_file_io(self, properties: Any = None, location: str | None = None) -> FileIO:
            return StoreIO(store, properties or {})

    catalog = Catalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=store.root)
    catalog.create_namespace("w")
    table: Table = catalog.create_table("w.t", SCHEMA, location=store.uri("w/t"))
    table.append(pa.table({"id": [1, 2, 3]}))
    table.delete("id = 2")
    again = catalog.load_table("w.t")
    assert sorted(again.scan().to_arrow()["id"].to_pylist()) == [1, 3]
    assert len(again.snapshots()) == 2


def test_a_file_is_written_once_unless_told(store: LocalStore, io: StoreIO) -> None:
    file = io.new_output(store.uri("f"))
    write(file, b"first")
    with pytest.raises(FileExistsError, match=store.uri("f")):
        write(io.new_output(store.uri("f")), b"second")
    assert store.get("f") == b"first"
    write(file, b"third", overwrite=True)
    assert store.get("f") == b"third"
    assert len(file) == 5


def test_nothing_is_stored_before_the_end(store: LocalStore, io: StoreIO) -> None:
    with io.new_output(store.uri("f")).create() as stream:
        stream.write(b"some ")
        assert stream.tell() == 5
        assert store.size("f") is None
        stream.write(b"bytes")
    assert store.get("f") == b"some bytes"
    stream.close()  # once more does nothing


def test_what_fails_in_the_middle_is_not_stored(store: LocalStore, io: StoreIO) -> None:
    def fail_in_the_middle() -> None:
        with io.new_output(store.uri("f")).create() as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert store.size("f") is None


def test_a_forgotten_stream_is_not_stored(store: LocalStore, io: StoreIO) -> None:
    stream: Any = io.new_output(store.uri("f")).create()
    stream.write(b"half")
    del stream
    assert store.size("f") is None


def test_a_missing_file_is_not_found(store: LocalStore, io: StoreIO) -> None:
    file = io.new_input(store.uri("nope"))
    assert not file.exists()
    for use in (file.open, lambda: len(file), lambda: io.delete(file)):
        with pytest.raises(FileNotFoundError, match=store.uri("nope")) as caught:
            use()
        assert isinstance(caught.value, LakeError)


def test_a_file_is_read_from_any_place(store: LocalStore, io: StoreIO) -> None:
    write(io.new_output(store.uri("f")), b"0123456789")
    file = io.new_output(store.uri("f")).to_input_file()
    assert (file.exists(), len(file), file.location) == (True, 10, store.uri("f"))
    with file.open() as stream:
        stream.seek(4)
        assert stream.read(3) == b"456"
        assert stream.tell() == 7


@pytest.mark.parametrize("as_file", [False, True])
def test_a_file_is_deleted(store: LocalStore, io: StoreIO, as_file: bool) -> None:
    store.put("f", b"")
    io.delete(io.new_input(store.uri("f")) if as_file else store.uri("f"))
    assert store.size("f") is None


def test_a_location_outside_the_lake_is_refused(io: StoreIO) -> None:
    for use in (io.new_input, io.new_output, io.delete):
        with pytest.raises(LakeError, match="does not lie in the lake"):
            use("/etc/passwd")


def test_what_the_store_raises_is_not_hidden(store: LocalStore, io: StoreIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> bool:
        raise TransientError("disk full")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(TransientError, match="disk full"):
        write(io.new_output(store.uri("f")), b"")


def write(file: Any, data: bytes, *, overwrite: bool = False) -> None:
    with file.create(overwrite=overwrite) as stream:
        stream.write(data)


def manifest_entry(path: str) -> ManifestEntry:
    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=3,
        file_size_in_bytes=100,
    )
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.ADDED, snapshot_id=7, sequence_number=1, file_sequence_number=1, data_file=file
    )
