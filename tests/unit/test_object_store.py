"""The stores: the same questions to a local folder and to S3 (moto), then what each alone must answer."""

# ruff: noqa: E402 (the shared questions are found, and their assertions explained, before they are imported)
from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

sys.path.append(str(Path(__file__).parents[1] / "behaviours"))
pytest.register_assert_rewrite("object_store_questions")

from fault_proxy import FaultProxy, fault_proxy
from object_store_questions import MakeStore, ObjectStoreQuestions, S3Questions, written

from starberg.storage.local_store import LocalStore
from starberg.storage.object_store import UNFINISHED, ObjectStore
from starberg.storage.s3_store import S3Store
from starberg.utils.errors import CredentialsError, LakeError, StarbergError, TransientError, UsageError

KEYS = {"access_key": "someone", "secret_key": "canary-secret"}


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def client(moto: str) -> Any:
    make: Any = boto3.client
    return make(
        "s3", endpoint_url=moto, region_name="us-east-1", aws_access_key_id="someone", aws_secret_access_key="else"
    )


@pytest.fixture
def make_store(moto: str, client: Any) -> MakeStore:
    """Make stores in one fresh bucket."""
    name = f"bucket-{os.urandom(4).hex()}"
    client.create_bucket(Bucket=name)

    def make(bucket: str = name, prefix: str = "lake", endpoint: str = moto, **arguments: Any) -> S3Store:
        return S3Store(bucket, prefix, endpoint=endpoint, **{**KEYS, **arguments})

    return make


@pytest.fixture
def proxy(moto: str) -> Iterator[FaultProxy]:
    with fault_proxy(moto) as running:
        yield running


class TestEveryStore(ObjectStoreQuestions):
    @pytest.fixture(params=["local", "s3"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
        if request.param == "local":
            return LocalStore(tmp_path / "lake")
        make: MakeStore = request.getfixturevalue("make_store")
        return make()


class TestS3(S3Questions):
    @pytest.fixture
    def store(self, make_store: MakeStore) -> S3Store:
        return make_store()

    def test_keys_are_the_given_ones(self, make_store: MakeStore, moto: str) -> None:
        access = make_store(session_token="canary-token", region="eu-west-3").credentials()
        assert (access.access_key, access.secret_key, access.session_token) == (*KEYS.values(), "canary-token")
        assert (f"http://{access.endpoint_host}", access.use_ssl, access.region) == (moto, False, "eu-west-3")
        assert "canary" not in repr(access)

    def test_without_given_keys_the_standard_chain_finds_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-environment")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        access = S3Store("bucket").credentials()
        assert (access.access_key, access.region) == ("from-environment", "eu-west-1")
        assert (access.endpoint_host, access.use_ssl) == ("", True)

    def test_no_keys_at_all_are_asked_for(self, no_aws: None, moto: str) -> None:
        store = S3Store("bucket", endpoint=moto)
        for use in (store.credentials, lambda: store.get("k")):
            with pytest.raises(CredentialsError, match="Set an access key"):
                use()
        assert store.counters.requests == 0

    def test_an_unknown_profile_is_a_matter_of_keys(self, no_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(CredentialsError, match="nobody"):
            S3Store("bucket").get("k")

    @pytest.fixture
    def no_aws(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))

    @pytest.mark.parametrize(
        "endpoint", ["minio:9000", "http://user:canary@minio", "ftp://minio", "http://", "http://m/x"]
    )
    def test_an_endpoint_is_a_plain_address(self, endpoint: str) -> None:
        with pytest.raises(UsageError, match="http://minio:9000") as caught:
            S3Store("bucket", endpoint=endpoint)
        assert "canary" not in str(caught.value)

    @pytest.mark.parametrize("bucket", ["", "a", "Upper", "under_score", "-a-", "a/b", "a" * 64])
    def test_a_bucket_has_a_buckets_name(self, bucket: str) -> None:
        with pytest.raises(UsageError):
            S3Store(bucket)

    @pytest.mark.parametrize("keys", [{"access_key": "someone"}, {"secret_key": "canary"}])
    def test_keys_come_in_pairs(self, keys: dict[str, str]) -> None:
        with pytest.raises(CredentialsError) as caught:
            S3Store("bucket", **keys)
        assert "canary" not in str(caught.value)

    def test_no_error_holds_the_secret(self, make_store: MakeStore, proxy: FaultProxy) -> None:
        store = make_store(endpoint=proxy.url, max_attempts=1)
        for fault in (("refuse", 403, "SignatureDoesNotMatch"), ("refuse", 500, "InternalError"), ("cut request",)):
            proxy.plan("", *fault)
            with pytest.raises(StarbergError) as caught:
                store.put("k", b"bytes")
            error: BaseException | None = caught.value
            while error:
                assert "canary" not in f"{error}{error!r}{error.args}{getattr(error, 'response', '')}"
                error = error.__cause__ or error.__context__

    def test_importing_the_store_does_not_import_boto3(self) -> None:
        code = "import sys, starberg.storage.s3_store as s; s.S3Store('bucket'); sys.exit('boto3' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestLocal:
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "lake")

    def test_the_root_is_a_plain_absolute_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert LocalStore(Path("x/../lake")).root == f"{tmp_path}/lake"

    def test_nothing_is_made_before_the_first_write(self, store: LocalStore) -> None:
        assert list(store.list("")) == []
        assert store.abort_stale_uploads(timedelta(0)) == 0
        assert not Path(store.root).exists()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_one_line_and_leaves_nothing(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        store.put("before", b"")
        monkeypatch.setattr(os, "fsync", failing(number))
        for if_absent in (False, True):
            with pytest.raises(TransientError, match=f"{store.uri('k')}: {os.strerror(number)}. Free space"):
                store.put("k", b"bytes", if_absent=if_absent)
        assert files(store) == ["before"]

    def test_a_write_that_stops_in_the_middle_leaves_what_was_there(self, store: LocalStore) -> None:
        store.put("k", b"first")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
        try:
            with pytest.raises(TransientError, match=store.uri("k")):
                store.put("k", bytes(200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert files(store) == ["k"]
        assert store.get("k") == b"first"

    def test_a_broken_disk_is_not_asked_again(self, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(LakeError, match=os.strerror(errno.EIO)):
            store.put("k", b"bytes")

    def test_a_killed_writer_leaves_no_object(self, store: LocalStore) -> None:
        store.put("before", b"")
        code = (
            "import os, signal, sys; from pathlib import Path; from starberg.storage.local_store import LocalStore\n"
            "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
            "LocalStore(Path(sys.argv[1])).put('k', bytes(10_000))"
        )
        killed = subprocess.run([sys.executable, "-c", code, store.root], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(files(store)) == 2
        assert [stored.key for stored in store.list("")] == ["before"]
        assert store.size("k") is None
        assert store.abort_stale_uploads(timedelta(hours=1)) == 0
        assert store.abort_stale_uploads(timedelta(0)) == 1
        assert files(store) == ["before"]

    def test_an_object_is_on_disk_before_it_has_its_name(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        order: list[str] = []
        sync, replace = os.fsync, os.replace

        def noted_sync(handle: int) -> None:
            order.append("sync " + ("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"))
            sync(handle)

        def noted_replace(source: Path, target: Path) -> None:
            order.append("name")
            replace(source, target)

        store.put("folder/first", b"")
        monkeypatch.setattr(os, "fsync", noted_sync)
        monkeypatch.setattr(os, "replace", noted_replace)
        store.put("folder/k", b"bytes")
        store.put_file("folder/f", written(tmp_path / "f", b"bytes"))
        assert order == ["sync file", "name", "sync folder"] * 2

    def test_a_file_of_another_file_system_is_copied_whole(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = written(tmp_path / "f", os.urandom(3_000_000))
        data = file.read_bytes()
        across_file_systems(monkeypatch, file)
        store.put_file("k", file)
        assert store.get("k") == data
        assert not file.exists()
        assert files(store) == ["k"]

    def test_a_copy_without_room_keeps_the_file(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = written(tmp_path / "f", b"bytes")
        across_file_systems(monkeypatch, file)
        monkeypatch.setattr("shutil.copyfile", failing(errno.ENOSPC))
        with pytest.raises(TransientError, match="Free space"):
            store.put_file("k", file)
        assert file.read_bytes() == b"bytes"
        assert files(store) == []

    def test_an_object_where_a_folder_is_needed_is_named(self, store: LocalStore) -> None:
        store.put("a", b"")
        with pytest.raises(LakeError, match=store.uri("a/b")):
            store.put("a/b", b"")
        store.put("folder/x", b"")
        with pytest.raises(LakeError, match=store.uri("folder")):
            store.put("folder", b"")

    def test_who_may_read_is_the_users_umask(self, store: LocalStore) -> None:
        before = os.umask(0o027)
        try:
            store.put("k", b"")
        finally:
            os.umask(before)
        assert Path(store.uri("k")).stat().st_mode & 0o777 == 0o640

    def test_only_objects_of_the_lake_are_listed(self, store: LocalStore, tmp_path: Path) -> None:
        store.put("ours", b"")
        outside = written(tmp_path / "outside/file", b"").parent
        Path(store.root, "link").symlink_to(outside)
        Path(store.root, "link-to-file").symlink_to(outside / "file")
        for name in (f"{UNFINISHED}1", "what?", os.fsdecode(b"not-utf8-\xff")):
            written(Path(store.root, name), b"")
        assert [stored.key for stored in store.list("")] == ["ours"]

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        keys=st.sets(st.tuples(st.sampled_from(["", "d/", "d-/", "d/d/", "dé/"]), st.text("ab-.0é", max_size=2))),
        prefix=st.sampled_from(["", "d", "d/", "d/d", "d-", "d/o", "x"]),
        after=st.text("do-/a", max_size=4),
    )
    def test_a_listing_is_what_sorted_keys_would_be(
        self, tmp_path_factory: pytest.TempPathFactory, keys: set[tuple[str, str]], prefix: str, after: str
    ) -> None:
        store = LocalStore(tmp_path_factory.mktemp("lake"))
        written_keys = {f"{folder}o{name}" for folder, name in keys}
        for key in written_keys:
            store.put(key, b"")
        expected = sorted((key for key in written_keys if key.startswith(prefix) and key > after), key=str.encode)
        assert [stored.key for stored in store.list(prefix, start_after=after)] == expected


def files(store: LocalStore) -> list[str]:
    """What really lies below the root."""
    return sorted(path.name for path in Path(store.root).rglob("*") if path.is_file())


def failing(number: int) -> Any:
    """A call that fails with an OSError of this number."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def across_file_systems(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Let renaming this file fail as between two file systems."""
    replace = os.replace

    def refusing(source: Path, target: Path) -> None:
        if Path(source) == file:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
