"""The S3 store on a real MinIO: the questions of every store, the faults, and what a simulated S3 cannot answer."""

# ruff: noqa: E402 (the shared questions are found, and their assertions explained, before they are imported)
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "behaviours"))
pytest.register_assert_rewrite("object_store_questions")

from fault_proxy import FaultProxy, fault_proxy
from object_store_questions import BIG, MakeStore, ObjectStoreQuestions, S3Questions, written

from starberg.storage.s3_store import S3Store
from starberg.utils.errors import CredentialsError, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from stack import Server


@pytest.fixture
def make_store(minio: Server, fresh_bucket: str) -> MakeStore:
    """Make stores in one fresh bucket."""

    def make(bucket: str = fresh_bucket, prefix: str = "lake", endpoint: str = minio.url, **arguments: Any) -> S3Store:
        keys = {"access_key": minio.env["MINIO_ACCESS_KEY"], "secret_key": minio.env["MINIO_SECRET_KEY"]}
        return S3Store(bucket, prefix, endpoint=endpoint, **{**keys, **arguments})

    return make


@pytest.fixture
def store(make_store: MakeStore) -> S3Store:
    return make_store()


@pytest.fixture
def client(s3: S3Client) -> S3Client:
    return s3


@pytest.fixture
def proxy(minio: Server) -> Iterator[FaultProxy]:
    with fault_proxy(minio.url) as running:
        yield running


class TestMinioAsAStore(ObjectStoreQuestions):
    pass


class TestMinioAsAServer(S3Questions):
    def test_the_server_keeps_the_checksum_of_the_whole_file(
        self, store: S3Store, client: S3Client, tmp_path: Path
    ) -> None:
        store.put_file("k", written(tmp_path / "f", os.urandom(BIG)))
        head = client.head_object(Bucket=store.root.split("/")[2], Key="lake/k", ChecksumMode="ENABLED")
        assert head["ChecksumType"] == "FULL_OBJECT"

    def test_a_young_upload_is_left_alone(self, store: S3Store, client: S3Client) -> None:
        client.create_multipart_upload(Bucket=store.root.split("/")[2], Key="lake/young")
        assert store.abort_stale_uploads(timedelta(hours=1)) == 0
        assert store.abort_stale_uploads(timedelta(0)) == 1

    @pytest.mark.parametrize("keys", [{"secret_key": "canary-secret"}, {"access_key": "nobody"}])
    def test_wrong_keys_are_refused_once(
        self, make_store: MakeStore, minio: Server, tmp_path: Path, keys: dict[str, str]
    ) -> None:
        store = make_store(**keys)
        file = written(tmp_path / "f", b"stays")
        for use in (
            lambda: store.get("k"),
            lambda: store.size("k"),
            lambda: store.put("k", b"", if_absent=True),
            lambda: store.put_file("k", file),
            lambda: list(store.list("")),
            lambda: store.delete(["k"]),
        ):
            before = store.counters.requests
            with pytest.raises(CredentialsError, match=f"{store.root}.* at {minio.url}") as caught:
                use()
            assert store.counters.requests == before + 1
            assert "canary-secret" not in f"{caught.value!r}{caught.value.__cause__!r}"
        assert file.exists()

    def test_a_stopped_server_is_unreachable_and_comes_back(self, make_store: MakeStore, minio: Server) -> None:
        store = make_store(max_attempts=2)
        store.put("k", b"bytes")
        minio.stop()
        with pytest.raises(Unreachable, match=minio.url):
            store.get("k")
        minio.start()
        assert store.get("k") == b"bytes"

    def test_a_killed_server_keeps_what_it_took(self, store: S3Store, minio: Server, tmp_path: Path) -> None:
        data = os.urandom(BIG)
        store.put_file("file", written(tmp_path / "f", data))
        assert store.put("manifest", b"mine", if_absent=True)
        minio.kill()
        minio.start()
        assert store.get("file") == data
        assert store.put("manifest", b"theirs", if_absent=False)
        assert store.put("manifest", b"again", if_absent=True) is False

    def test_a_slow_network_is_waited_for_and_a_dead_one_is_not(
        self, make_store: MakeStore, minio: Server, proxies: Any
    ) -> None:
        network = proxies(minio)
        store = make_store(endpoint=network.url, max_attempts=2, read_timeout_s=1)
        network.toxic("latency", latency=100, jitter=50)
        assert store.put("k", b"bytes")
        network.mend()
        network.toxic("timeout", timeout=0)
        with pytest.raises(Unreachable, match=network.url):
            store.get("k")
        network.mend()
        assert store.get("k") == b"bytes"
