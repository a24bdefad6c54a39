"""What every object store must answer alike, and what every S3 server must.

A test module subclasses these and gives the fixtures: `store`; for S3 also `bucket`, `proxy` (a FaultProxy before the
server) and `make_store(**arguments)`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fault_proxy import FaultProxy

from starberg.storage.object_store import UNFINISHED, ObjectMissing, ObjectStore
from starberg.storage.s3_store import S3Store
from starberg.utils.errors import CredentialsError, LakeError, StarbergError, TransientError, Unreachable, UsageError

BIG = 9 * 1024 * 1024 + 1  # more than one part of an upload
NOT_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a/..", "%2e%2e/a", "a/%2E%2e", "a/..%2fb"),
    *("a\\b", "a\x00b", "a\nb", "a\u202eb", "a\ud800", "a?b", "a#b", "a*b", "a[0]b"),
    *("é" * 128, "ab/" * 300 + "a", f"a/{UNFINISHED}1"),
]
ODD_KEYS = [
    *("with space", "pl+us&am=p;er:sand", "city=New%20York%2Fnorth", "日本/ünïcode"),
    *("..a", "a..", "...", "é" * 127),
]


class ObjectStoreQuestions:
    @pytest.mark.parametrize("data", [b"", b"bytes", bytes(range(256)) * 100], ids=["empty", "short", "binary"])
    def test_what_is_put_is_read_back(self, store: ObjectStore, data: bytes) -> None:
        assert store.put("a/b/c", data) is True
        assert store.get("a/b/c") == data
        assert store.size("a/b/c") == len(data)

    def test_put_replaces(self, store: ObjectStore) -> None:
        store.put("k", b"a longer first")
        store.put("k", b"second")
        assert store.get("k") == b"second"

    def test_put_if_absent_keeps_the_first_and_says_so(self, store: ObjectStore) -> None:
        assert store.put("once", b"first", if_absent=True) is True
        assert store.put("once", b"second", if_absent=True) is False
        assert store.get("once") == b"first"
        assert [stored.key for stored in store.list("")] == ["once"]

    def test_of_many_writers_at_once_one_wins(self, store: ObjectStore) -> None:
        start = threading.Barrier(8)

        def write(number: int) -> bool:
            start.wait()
            return store.put("manifest", b"%d" % number * 1000, if_absent=True)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        assert won.count(True) == 1
        assert store.get("manifest") == b"%d" % won.index(True) * 1000

    @pytest.mark.parametrize("size", [0, 10, BIG])
    def test_a_file_is_moved_in(self, store: ObjectStore, tmp_path: Path, size: int) -> None:
        data = os.urandom(size)
        file = written(tmp_path / "part.parquet", data)
        store.put_file("data/part.parquet", file)
        assert not file.exists()
        assert store.get("data/part.parquet") == data
        assert store.local_path("data/part.parquet", tmp_path / "scratch").read_bytes() == data

    def test_a_moved_in_file_replaces(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("k", b"before")
        store.put_file("k", written(tmp_path / "f", b"after"))
        assert store.get("k") == b"after"

    def test_only_a_plain_file_is_moved_in(self, store: ObjectStore, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(written(tmp_path / "f", b"bytes"))
        for path in (tmp_path / "absent", tmp_path, link):
            with pytest.raises(LakeError, match=str(path)):
                store.put_file("k", path)
        assert store.size("k") is None

    def test_many_files_are_moved_in_at_once(self, store: ObjectStore, tmp_path: Path) -> None:
        contents = {f"many/{number}": os.urandom(100_000 + number) for number in range(12)}
        for key, data in contents.items():
            written(tmp_path / key, data)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda key: store.put_file(key, tmp_path / key), contents))
        assert {stored.key: stored.size for stored in store.list("many/")} == {k: len(v) for k, v in contents.items()}
        assert all(store.get(key) == data for key, data in contents.items())
        assert store.counters.bytes_written == store.counters.bytes_read == sum(map(len, contents.values()))

    def test_a_missing_object_is_named_and_never_empty(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("a", b"an object, not a folder")
        for key in ("nope", "no/pe", "a/below"):
            assert store.size(key) is None
            with pytest.raises(ObjectMissing, match=store.uri(key)):
                store.get(key)
            with pytest.raises(FileNotFoundError):
                store.local_path(key, tmp_path)
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and store.root not in str(path)]

    def test_a_folder_is_no_object(self, store: ObjectStore) -> None:
        store.put("folder/object", b"")
        assert store.size("folder") is None
        store.delete(["folder"])
        with pytest.raises(ObjectMissing):
            store.get("folder")
        assert store.size("folder/object") == 0

    def test_listing_follows_the_order_of_whole_keys(self, store: ObjectStore) -> None:
        keys = ["a-b", "a/b", "a/b-c/d", "a/b/c", "a0", "a/é", "B", "ab"]
        keys.remove("a/b")  # a folder here: both at once cannot be, locally
        for key in keys:
            store.put(key, key.encode())
        ordered = sorted(keys, key=str.encode)
        assert [stored.key for stored in store.list("")] == ordered
        for after in [*keys, "a", "a.", "a/", "a/b", "a/b/", "a/zz", "zz"]:
            expected = [key for key in ordered if key.encode() > after.encode()]
            assert [stored.key for stored in store.list("", start_after=after)] == expected, after

    def test_a_prefix_is_the_beginning_of_a_key(self, store: ObjectStore) -> None:
        for key in ("raw/games/1", "raw/games2/1", "raw/g", "other"):
            store.put(key, b"")
        found = {
            prefix: [stored.key for stored in store.list(prefix)]
            for prefix in ("raw/games", "raw/games/", "raw/g", "no", "no/")
        }
        assert found == {
            "raw/games": ["raw/games/1", "raw/games2/1"],
            "raw/games/": ["raw/games/1"],
            "raw/g": ["raw/g", "raw/games/1", "raw/games2/1"],
            "no": [],
            "no/": [],
        }

    def test_a_listing_tells_bytes_and_time_in_utc(self, store: ObjectStore) -> None:
        store.put("k", b"12345")
        (stored,) = store.list("")
        assert stored.size == 5
        assert stored.modified_at.tzinfo is UTC
        assert abs(stored.modified_at - datetime.now(UTC)) < timedelta(minutes=10)

    def test_delete_takes_the_given_and_minds_no_absent_ones(self, store: ObjectStore) -> None:
        for key in ("a", "b/1", "b/2"):
            store.put(key, b"")
        store.delete(key for key in ("a", "b/1", "never/there", "a/below"))
        assert [stored.key for stored in store.list("")] == ["b/2"]

    def test_deleting_nothing_asks_nothing(self, store: ObjectStore) -> None:
        store.delete([])
        assert store.counters.requests == 0

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_an_odd_name_is_kept_as_it_is(self, store: ObjectStore, tmp_path: Path, key: str) -> None:
        store.put(key, b"odd")
        assert store.get(key) == b"odd"
        assert [stored.key for stored in store.list("")] == [key]
        assert store.local_path(key, tmp_path / "scratch").read_bytes() == b"odd"
        assert store.key(store.uri(key)) == key
        store.delete([key])
        assert store.size(key) is None

    @pytest.mark.parametrize("key", NOT_KEYS, ids=ascii)
    def test_what_could_lead_elsewhere_is_no_key(self, store: ObjectStore, tmp_path: Path, key: str) -> None:
        file = written(tmp_path / "f", b"stays")
        for use in (
            lambda: store.uri(key),
            lambda: store.get(key),
            lambda: store.put(key, b""),
            lambda: store.put_file(key, file),
            lambda: store.local_path(key, tmp_path),
            lambda: store.size(key),
            lambda: store.delete([key]),
        ):
            with pytest.raises(UsageError):
                use()
        assert file.read_bytes() == b"stays"
        assert store.counters.requests == 0

    @pytest.mark.parametrize("prefix", ["/", "..", "../", "a//", "a/../b/", "a*"])
    def test_what_no_key_begins_with_is_not_listed(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(UsageError):
            list(store.list(prefix))

    def test_a_location_has_one_key(self, store: ObjectStore) -> None:
        assert store.uri("a/b") == f"{store.root}/a/b"
        assert store.key(store.uri("a/b")) == "a/b"

    @pytest.mark.parametrize("location", ["{}", "{}/", "{}x/a", "{}/../a", "{}//a", "a", "/etc/passwd", "s3://else/a"])
    def test_a_location_elsewhere_has_none(self, store: ObjectStore, location: str) -> None:
        with pytest.raises(LakeError, match="does not lie in the lake"):
            store.key(location.format(store.root))

    def test_a_clean_store_has_no_stale_uploads(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("a", b"")
        store.put_file("b", written(tmp_path / "f", os.urandom(BIG)))
        assert store.abort_stale_uploads(timedelta(0)) == 0
        assert [stored.key for stored in store.list("")] == ["a", "b"]


MakeStore = Callable[..., S3Store]


class S3Questions:
    """Faults on the way to a server. Pauses between tries are noted, not made."""

    @pytest.fixture(autouse=True)
    def pauses_s(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        pauses: list[float] = []
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=pauses.append))
        monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pauses.append))
        return pauses

    @pytest.fixture
    def through(self, make_store: MakeStore, proxy: FaultProxy) -> S3Store:
        """A store that reaches the server through the proxy and tries three times."""
        return make_store(endpoint=proxy.url, max_attempts=3)

    @pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (502, "")])
    def test_a_busy_server_is_asked_again_after_a_pause(
        self, through: S3Store, proxy: FaultProxy, pauses_s: list[float], status: int, code: str
    ) -> None:
        for method in ("PUT", "GET"):
            proxy.plan(method, "refuse", status, code, times=2)
        assert through.put("k", b"bytes")
        assert through.get("k") == b"bytes"
        assert through.counters.requests == 6
        assert len(pauses_s) == 4
        assert max(pauses_s) <= 20

    def test_a_server_that_stays_busy_is_given_up(self, through: S3Store, proxy: FaultProxy) -> None:
        proxy.plan("PUT", "refuse", 503, "SlowDown", times=99)
        with pytest.raises(Unreachable, match=f"{through.uri('k')} at {proxy.url}: SlowDown"):
            through.put("k", b"bytes")
        assert through.counters.requests == 3

    def test_a_server_that_hangs_is_given_up(self, make_store: MakeStore, proxy: FaultProxy) -> None:
        store = make_store(endpoint=proxy.url, max_attempts=2, read_timeout_s=0.3)
        proxy.plan("", "hang", times=99)
        for use in (lambda: store.get("k"), lambda: store.put("k", b"1"), lambda: store.size("k")):
            with pytest.raises(Unreachable, match=proxy.url):
                use()
        assert store.counters.requests == 6

    def test_a_file_stays_when_the_server_hangs(self, make_store: MakeStore, proxy: FaultProxy, tmp_path: Path) -> None:
        file = written(tmp_path / "f", b"bytes")
        proxy.plan("", "hang", times=99)
        with pytest.raises(Unreachable, match=proxy.url):
            make_store(endpoint=proxy.url, max_attempts=1, read_timeout_s=0.3).put_file("k", file)
        assert file.read_bytes() == b"bytes"

    def test_nobody_listening_is_unreachable(self, make_store: MakeStore, proxy: FaultProxy) -> None:
        store = make_store(endpoint="http://127.0.0.1:9", max_attempts=2)
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9"):
            list(store.list(""))
        assert store.counters.requests == 2

    def test_a_put_cut_off_is_sent_again_whole(self, through: S3Store, proxy: FaultProxy) -> None:
        data = os.urandom(300_000)
        proxy.plan("PUT", "cut request")
        through.put("k", data)
        assert through.get("k") == data
        assert not proxy.pending

    def test_a_part_cut_off_is_sent_again_whole(self, through: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
        data = os.urandom(BIG)
        proxy.plan("PUT .*partNumber", "cut request")
        through.put_file("k", written(tmp_path / "f", data))
        assert through.get("k") == data
        assert not proxy.pending

    def test_an_upload_that_fails_leaves_the_file_and_nothing_else(
        self, through: S3Store, proxy: FaultProxy, tmp_path: Path
    ) -> None:
        file = written(tmp_path / "f", os.urandom(BIG))
        proxy.plan("PUT .*partNumber=2", "refuse", 500, "InternalError", times=99)
        with pytest.raises(Unreachable, match="InternalError"):
            through.put_file("k", file)
        assert file.stat().st_size == BIG
        assert through.size("k") is None
        assert through.abort_stale_uploads(timedelta(0)) == 0

    def test_half_a_file_never_passes_as_the_file(self, through: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
        for size in (100_000, BIG):
            file = written(tmp_path / "f", os.urandom(size))
            proxy.plan("PUT", "halve request")
            with pytest.raises(TransientError, match=through.uri("k")):
                through.put_file("k", file)
            assert file.stat().st_size == size

    def test_a_conditional_put_whose_answer_is_lost_knows_its_own(self, through: S3Store, proxy: FaultProxy) -> None:
        proxy.plan("PUT", "drop answer")
        assert through.put("manifest", b"mine", if_absent=True) is True
        proxy.plan("PUT", "drop answer")
        assert through.put("manifest", b"mine", if_absent=True) is False  # the same bytes are another's all the same

    def test_a_completed_upload_whose_answer_is_lost_is_looked_at(
        self, through: S3Store, proxy: FaultProxy, tmp_path: Path
    ) -> None:
        data = os.urandom(BIG)
        file = written(tmp_path / "f", data)
        proxy.plan("POST .*uploadId", "drop answer")
        through.put_file("k", file)
        assert not proxy.pending
        assert not file.exists()
        assert through.get("k") == data

    def test_an_answer_cut_off_is_read_again(self, through: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
        data = os.urandom(300_000)
        through.put("k", data)
        proxy.plan("GET", "cut answer", times=2)
        assert through.get("k") == data
        proxy.plan("GET", "cut answer", times=2)
        assert through.local_path("k", tmp_path).read_bytes() == data
        assert not proxy.pending

    def test_an_answer_always_cut_off_is_given_up(self, through: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
        through.put("k", os.urandom(300_000))
        proxy.plan("GET", "cut answer", times=99)
        with pytest.raises(Unreachable, match=through.uri("k")):
            through.get("k")
        with pytest.raises(Unreachable, match=proxy.url):
            through.local_path("k", tmp_path)
        assert through.counters.requests == 1 + 3 + 3
        assert not list(tmp_path.iterdir())

    def test_a_changed_byte_never_reaches_the_reader(self, through: S3Store, proxy: FaultProxy, tmp_path: Path) -> None:
        through.put("k", b"some bytes")
        for use in (lambda: through.get("k"), lambda: through.local_path("k", tmp_path)):
            proxy.plan("GET", "flip answer")
            with pytest.raises(LakeError, match=through.uri("k")):
                use()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (403, "AccessDenied", CredentialsError),
            (403, "InvalidAccessKeyId", CredentialsError),
            (403, "SignatureDoesNotMatch", CredentialsError),
            (403, "NeverHeardOf", CredentialsError),
            (400, "ExpiredToken", CredentialsError),
            (404, "NoSuchBucket", UsageError),
            (400, "AuthorizationHeaderMalformed", UsageError),
            (400, "BadDigest", TransientError),
            (400, "KeyTooLongError", LakeError),
        ],
    )
    def test_a_refusal_is_asked_once(
        self, through: S3Store, proxy: FaultProxy, status: int, code: str, expected: type[StarbergError]
    ) -> None:
        proxy.plan("", "refuse", status, code, times=99)
        with pytest.raises(expected, match=f"{through.uri('k')} at {proxy.url}: {code}") as caught:
            through.put("k", b"bytes")
        assert type(caught.value) is expected
        assert through.counters.requests == 1

    def test_what_a_delete_left_is_an_error(self, through: S3Store, proxy: FaultProxy) -> None:
        for code, expected in (("AccessDenied", CredentialsError), ("InternalError", Unreachable)):
            name = f"{through.root.split('/', 3)[3]}/b"
            proxy.plan(
                "POST", "answer", f"<DeleteResult><Error><Key>{name}</Key><Code>{code}</Code></Error></DeleteResult>"
            )
            with pytest.raises(expected, match=through.uri("b")):
                through.delete(["a", "b"])

    def test_a_missing_bucket_is_no_empty_lake(self, make_store: MakeStore, tmp_path: Path) -> None:
        store = make_store(bucket="starberg-no-such-bucket")
        file = written(tmp_path / "f", b"stays")
        for use in (
            lambda: store.get("k"),
            lambda: store.size("k"),
            lambda: store.put("k", b""),
            lambda: store.put_file("k", file),
            lambda: list(store.list("")),
            lambda: store.delete(["k"]),
            lambda: store.abort_stale_uploads(timedelta(0)),
        ):
            with pytest.raises(UsageError, match="Create the bucket"):
                use()
        assert file.exists()

    def test_long_listings_and_deletes_come_whole(self, store: S3Store) -> None:
        keys = [f"n/{number:04}" for number in range(1001)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b""), keys))
        before = store.counters.requests
        assert [stored.key for stored in store.list("n/")] == keys
        store.delete(keys)
        assert not list(store.list(""))
        assert store.counters.requests == before + 2 + 2 + 1

    def test_only_own_uploads_are_aborted(self, store: S3Store, make_store: MakeStore, client: Any) -> None:
        other = make_store(prefix="elsewhere")
        for name in (f"{store.root.split('/', 3)[3]}/stale", "elsewhere/stale"):
            client.create_multipart_upload(Bucket=store.root.split("/")[2], Key=name)
        assert store.abort_stale_uploads(timedelta(days=36500)) == 0
        assert store.abort_stale_uploads(timedelta(0)) == 1
        assert store.abort_stale_uploads(timedelta(0)) == 0
        assert other.abort_stale_uploads(timedelta(0)) == 1

    def test_foreign_objects_are_not_listed(self, store: S3Store, client: Any) -> None:
        bucket, prefix = store.root.split("/")[2:4]
        for name in (f"{prefix}/folder/", f"{prefix}/what?", f"{prefix}/ours", f"{prefix}-2/theirs"):
            client.put_object(Bucket=bucket, Key=name, Body=b"")
        assert [stored.key for stored in store.list("")] == ["ours"]

    def test_each_part_is_counted_as_a_request(self, store: S3Store, tmp_path: Path) -> None:
        store.put_file("k", written(tmp_path / "f", os.urandom(BIG)))
        assert store.counters.requests == 1 + 2 + 1 + 1  # begin, parts, complete, compare
        assert store.counters.bytes_written == BIG

    def test_it_also_works_at_the_root_of_a_bucket(self, make_store: MakeStore) -> None:
        store = make_store(prefix="")
        store.put("k", b"")
        assert store.key(store.uri("k")) == "k"
        assert "k" in [stored.key for stored in store.list("")]


def written(path: Path, data: bytes) -> Path:
    """Write a local file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
