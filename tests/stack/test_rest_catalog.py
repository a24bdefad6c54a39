"""Any Iceberg REST catalog, here Nessie's endpoint: the questions of every catalog, to real metadata files."""

# ruff: noqa: E402 (the shared questions' assertions are explained before they are imported)
from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import requests

sys.path.append(str(Path(__file__).parents[1] / "behaviours"))
pytest.register_assert_rewrite("catalog_questions")

from catalog_questions import CatalogQuestions, MakeCatalog, Warehouse
from fault_proxy import FaultProxy, fault_proxy
from servers import FakeClock, Say, Server, in_turn

from starberg.storage.branches import Catalog, Move, State
from starberg.storage.local_store import LocalStore
from starberg.storage.object_store import ObjectStore
from starberg.storage.rest_catalog import RestCatalog
from starberg.utils.errors import Conflict, Unreachable, UsageError

if TYPE_CHECKING:
    from stack import Server as StackServer

EMPTY = "2e1cfa82b035c26cbbbdae632cea070514eb8b773f616aaeaf668e2f0be8f10d"
"""Nessie's hash of nothing: what a branch is at before its first commit."""


class RealWarehouse(Warehouse):
    """Tables with metadata a server accepts. Main points to copies, so files are told by a word in their snapshot."""

    def __init__(self, catalog: Catalog, store: ObjectStore) -> None:
        super().__init__(catalog)
        self.store = store
        self.written: dict[str, str] = {}

    def move(self, table: str, base: str | None, location: str | None, at: str = "main") -> Move:
        from_file = base and self.known(table, base, at)
        return Move(f"{self.name}.{table}", from_file, location and self.write(table, from_file, location))

    def known(self, table: str, word: str, at: str) -> str:
        """Return the file there if it says this word, else the one written with it."""
        there = self.catalog.state(at).tables.get(f"{self.name}.{table}")
        if there and self.word(there) == word:
            return there
        return self.written.get(f"{table} {word}", "s3://nowhere/nothing.metadata.json")

    def write(self, table: str, base: str | None, word: str) -> str:
        """Write metadata with one more snapshot."""
        key = f"tables/{self.name}/{table}"
        found = base and self.store.size(self.store.key(base)) if base and base.startswith(self.store.root) else None
        metadata = json.loads(self.store.get(self.store.key(base))) if found and base else new_metadata(key)
        number = metadata["last-sequence-number"] + 1
        snapshot = {
            "snapshot-id": secrets.randbits(62),
            "sequence-number": number,
            "timestamp-ms": metadata["last-updated-ms"] + number,
            "manifest-list": f"{metadata['location']}/metadata/{uuid4()}.avro",
            "summary": {"operation": "append", "word": word},
            "schema-id": 0,
        }
        metadata["snapshots"] = [*metadata["snapshots"], snapshot]
        metadata |= {"current-snapshot-id": snapshot["snapshot-id"], "last-sequence-number": number}
        file = f"{key}/metadata/{number:05d}-{uuid4()}.metadata.json"
        self.store.put(file, json.dumps(metadata).encode())
        self.written[f"{table} {word}"] = self.store.uri(file)
        return self.store.uri(file)

    def word(self, location: str) -> str:
        metadata = json.loads(self.store.get(self.store.key(location)))
        words = {snapshot["snapshot-id"]: snapshot["summary"]["word"] for snapshot in metadata["snapshots"]}
        return str(words[metadata["current-snapshot-id"]])

    def tables(self, at: str | State = "main") -> dict[str, str]:
        state = self.catalog.state(at) if isinstance(at, str) else at
        own = {name: location for name, location in state.tables.items() if name.startswith(f"{self.name}.")}
        return {name.removeprefix(f"{self.name}."): self.word(location) for name, location in own.items()}


def new_metadata(key: str) -> dict[str, Any]:
    column = {"id": 1, "name": "n", "type": "long", "required": False}
    return {
        "format-version": 2,
        "table-uuid": str(uuid4()),
        "location": f"s3://starberg/lake/{key}",  # the server wants to know the place
        "last-sequence-number": 0,
        "last-updated-ms": 1_795_269_532_854,
        "last-column-id": 1,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [column]}],
        "current-schema-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "default-spec-id": 0,
        "last-partition-id": 999,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "properties": {"write.metadata.delete-after-commit.enabled": "false"},
        "snapshots": [],
    }


class TestRest(CatalogQuestions):
    @pytest.fixture
    def branch(self, nessie: StackServer) -> str:
        """Give an empty Nessie branch, which to its REST clients is a catalog of its own."""
        name = f"rest-{uuid4().hex[:8]}"
        requests.post(
            f"{nessie.url}/api/v2/trees",
            params={"name": name, "type": "BRANCH"},
            json={"type": "BRANCH", "name": "main", "hash": EMPTY},
            timeout=5,
        ).raise_for_status()
        return name

    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return LocalStore(tmp_path / "lake")

    @pytest.fixture
    def make_catalog(self, nessie: StackServer, branch: str, store: ObjectStore) -> MakeCatalog:
        return lambda: RestCatalog(f"{nessie.url}/iceberg/{branch}", store)

    @pytest.fixture(autouse=True)
    def _keep_store(self, store: ObjectStore) -> None:
        self.store = store

    def warehouse(self, catalog: Catalog) -> Warehouse:
        return RealWarehouse(catalog, self.store)

    @pytest.fixture
    def proxy(self, nessie: StackServer) -> Iterator[FaultProxy]:
        with fault_proxy(nessie.url) as running:
            yield running

    @pytest.fixture
    def shaky(self, proxy: FaultProxy, branch: str, store: ObjectStore) -> Warehouse:
        """Give a warehouse whose catalog is reached through the proxy."""
        client = RestCatalog(f"{proxy.url}/iceberg/{branch}", store, timeouts_s=(5, 5), clock=FakeClock())
        return RealWarehouse(client, store)

    def test_a_table_can_be_moved_again_dropped_and_made_anew_on_a_branch(self, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        games.catalog.move(branch, [games.move("a", "a2", "a3"), games.move("b", None, "b1")])
        games.catalog.move(branch, [games.move("a", "a3", None)])
        assert games.tables(branch.name) == {"b": "b1"}
        with pytest.raises(UsageError, match="cannot replace table"):
            games.catalog.move(branch, [games.move("a", None, "a4")])
        games.catalog.publish(branch, "test")
        assert games.tables() == {"b": "b1"}

    @pytest.mark.parametrize(
        "fault", [("drop answer",), ("cut answer",), ("cut request",), ("refuse", 409, "x"), ("refuse", 503, "x")]
    )
    def test_a_commit_whose_answer_is_lost_is_looked_up(
        self, shaky: Warehouse, proxy: FaultProxy, fault: tuple[Any, ...]
    ) -> None:
        shaky.publish(shaky.move("a", None, "a1"), shaky.move("c", None, "c1"))
        branch = shaky.branch(shaky.move("a", "a1", "a2"), shaky.move("b", None, "b1"), shaky.move("c", "c1", None))
        proxy.plan("POST .*/transactions/commit", *fault, times=3)
        position = shaky.catalog.publish(branch, "test")
        assert shaky.tables() == shaky.tables(position) == {"a": "a2", "b": "b1"}
        assert shaky.catalog.published(branch.run_id) == position == "2"

    @pytest.mark.parametrize("cut_off", ["put_publish", "put_run"])
    def test_a_run_cut_off_after_its_commit_is_recorded_when_asked_for(
        self, games: Warehouse, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch, cut_off: str
    ) -> None:
        games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        branch = games.branch(games.move("a", "a1", "a2"), games.move("b", "b1", None))
        dying: Any = make_catalog()

        def die(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(dying._records, cut_off, die)
        with pytest.raises(KeyboardInterrupt):
            dying.publish(branch, "test")
        assert games.catalog.published(branch.run_id) == "2"
        assert games.tables() == games.tables("2") == games.tables(branch.run_id) == {"a": "a2"}
        assert games.catalog.publish(branch, "test") == "2"

    def test_a_run_cut_off_before_its_commit_is_not_taken_for_published(
        self, shaky: Warehouse, games: Warehouse, proxy: FaultProxy
    ) -> None:
        shaky.publish(shaky.move("a", None, "a1"))
        branch = shaky.branch(shaky.move("a", "a1", "a2"))
        proxy.plan("POST .*/transactions/commit", "refuse", 503, "x", times=9)
        with pytest.raises(Unreachable):
            shaky.catalog.publish(branch, "test")
        assert games.catalog.published(branch.run_id) is None

    def test_a_foreign_commit_between_look_and_commit_is_a_conflict(
        self, games: Warehouse, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server's own check, when ours was too early."""
        games.publish(games.move("a", None, "a1"), games.move("b", None, "b1"))
        branch = games.branch(games.move("a", "a1", "a2"), games.move("b", "b1", "b2"))
        faster = games.branch(games.move("b", "b1", "b9"))
        late: Any = make_catalog()
        commit = late._server.commit

        def commit_late(changes: Any) -> Any:
            games.catalog.publish(faster, "faster")
            return commit(changes)

        monkeypatch.setattr(late._server, "commit", commit_late)
        with pytest.raises(Conflict, match="cannot be published"):
            late.publish(branch, "late")
        assert games.tables() == {"a": "a1", "b": "b9"}

    def test_tables_of_other_writers_are_seen_and_may_be_changed(
        self, games: Warehouse, nessie: StackServer, branch: str, tmp_path: Path
    ) -> None:
        elsewhere = LocalStore(tmp_path / "other")
        other = RealWarehouse(RestCatalog(f"{nessie.url}/iceberg/{branch}", elsewhere), elsewhere)
        other.name = games.name
        other.publish(other.move("a", None, "a1"))
        assert games.tables() == {"a": "a1"}
        games.publish(games.move("a", "a1", "a2"))
        assert other.tables() == games.tables() == {"a": "a2"}

    def test_rest_clients_read_what_was_published(
        self, nessie: StackServer, minio: StackServer, branch: str, fresh_prefix: str
    ) -> None:
        import pyarrow as pa
        from pyiceberg.catalog.rest import RestCatalog as PyIcebergRest
        from pyiceberg.catalog.sql import SqlCatalog as PyIcebergSql
        from pyiceberg.types import LongType

        from starberg.storage.s3_store import S3Store

        keys = {
            "s3.endpoint": minio.url,
            "s3.access-key-id": minio.env["MINIO_ACCESS_KEY"],
            "s3.secret-access-key": minio.env["MINIO_SECRET_KEY"],
            "s3.region": "us-east-1",
        }
        bucket, _, prefix = fresh_prefix.removeprefix("s3://").partition("/")
        store = S3Store(
            bucket,
            prefix,
            endpoint=minio.url,
            access_key=minio.env["MINIO_ACCESS_KEY"],
            secret_key=minio.env["MINIO_SECRET_KEY"],
        )
        catalog = RestCatalog(f"{nessie.url}/iceberg/{branch}", store)
        games = Warehouse(catalog)
        files = PyIcebergSql("files", uri="sqlite://", warehouse=fresh_prefix, **keys)
        files.create_namespace(games.name)
        table = files.create_table(f"{games.name}.a", pa.schema([("n", pa.int64())]))
        table.append(pa.table({"n": [1]}))
        games.publish(Move(f"{games.name}.a", None, table.metadata_location))
        # The next change begins at main's own copy, as a run does.
        pointer = catalog.state().tables[f"{games.name}.a"]
        files.drop_table(f"{games.name}.a")
        table = files.register_table(f"{games.name}.a", pointer)
        with table.update_schema() as change:
            change.add_column("more", LongType())
        table.append(pa.table({"n": [2], "more": [3]}))
        games.publish(Move(f"{games.name}.a", pointer, table.metadata_location))
        seen = PyIcebergRest("rest", uri=f"{nessie.url}/iceberg/{branch}", **keys).load_table(f"{games.name}.a")
        rows = sorted(seen.scan().to_arrow().to_pylist(), key=lambda row: row["n"])
        assert rows == [{"n": 1, "more": None}, {"n": 2, "more": 3}]
        files.engine.dispose()


def test_a_server_without_multi_table_commits_is_named(tmp_path: Path) -> None:
    answers = in_turn(Say({}), Say({"error": {"type": "NotFoundException", "message": "no such route"}}, 404))
    with Server(answers) as server:
        catalog = RestCatalog(server.url, LocalStore(tmp_path))
        with pytest.raises(UsageError, match="cannot commit several tables at once"):
            catalog._server.commit([])


def test_the_token_stays_with_the_host_it_was_given_for(tmp_path: Path) -> None:
    config = {"overrides": {"uri": "http://other.example/catalog/", "prefix": "a|b"}}
    with Server(in_turn(Say(config), Say({"namespaces": []}))) as server:
        assert RestCatalog(f"{server.url}/v1/", LocalStore(tmp_path)).state().tables == {}
        assert [asked.path for asked in server.asked] == ["/v1/config", "/catalog/v1/a%7Cb/namespaces"]
