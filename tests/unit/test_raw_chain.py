"""A stream's loads: one chain, and a damaged one is never read as an empty or shorter one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import FakeClock

import starberg.storage.raw_chain as raw_chain
from starberg.storage.local_store import LocalStore
from starberg.storage.object_store import StoredObject
from starberg.storage.raw_chain import Chains, Manifest, RawStream
from starberg.utils.errors import Conflict, LakeError

NOW = FakeClock().now()


@pytest.fixture
def chain(tmp_path: Path) -> RawStream:
    return RawStream(LocalStore(tmp_path / "lake"), "games", "rawg", "games")


def manifest(seq: int, **changed: Any) -> Manifest:
    facts = dict.fromkeys(
        ("fetched", "changed", "unchanged", "deleted", "duplicates", "unreadable", "requests", "bytes_read"), 0
    )
    said = {"warehouse": "games", "source": "rawg", "stream": "games", "seq": seq, "previous": seq - 1}
    times = {"observed_at": NOW, "committed_at": NOW}
    rest = {
        "run_id": "r",
        "source_identity": "x",
        "cursor_before": None,
        "cursor": {},
        "columns": {},
        "parts": [],
        "notes": [],
    }
    return Manifest.model_validate({**facts, **said, **times, **rest, **changed})


def land(chain: RawStream, tmp_path: Path, seq: int, body: bytes = b"rows") -> Manifest:
    """Commit a load with one part."""
    path = tmp_path / "part.parquet"
    path.write_bytes(body)
    landed = manifest(seq, parts=[chain.put_part(seq, "part-r-0", path, rows=2)])
    chain.commit(landed)
    return landed


def test_loads_come_back_oldest_first_and_only_those_asked_for(chain: RawStream, tmp_path: Path) -> None:
    assert (chain.loads(), chain.last()) == ([], None)
    landed = [land(chain, tmp_path, seq) for seq in range(1, 13)]
    assert chain.loads() == landed
    assert chain.loads(10) == landed[10:]
    assert chain.loads(12) == []
    assert chain.last() == landed[-1]
    assert landed[0].rows == 2


def test_the_end_of_a_long_chain_costs_no_more_looks_than_that_of_a_short_one(
    chain: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each list may give one page; here a page is 6 objects, and a load has 3."""
    monkeypatch.setattr(raw_chain, "_LOOK", 5)
    lists = count_lists(chain, monkeypatch)
    for length in (0, 1, 2, 3, 4, 5, 6, 11, 40, 41):
        for seq in range(len(chain.loads()) + 1, length + 1):
            chain.commit(manifest(seq))
            for number in range(2):
                chain.store.put(f"{chain.folder(seq)}part-r-{number}.parquet", b"rows")
        lists.clear()
        assert (last.seq if (last := chain.last()) else 0) == length
        assert len(lists) <= (1 if length < 2 else 12)
        assert all(read <= 6 for read in lists)
        chain.store.put(f"{chain.folder(length + 1)}part-r-0.parquet", b"of a load that was never committed")
        assert (last.seq if (last := chain.last()) else 0) == length


def test_a_gap_at_the_end_of_a_long_chain_is_named(chain: RawStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_chain, "_LOOK", 5)
    for seq in range(1, 31):
        chain.commit(manifest(seq))
    chain.store.delete([f"{chain.folder(29)}manifest.json"])
    with pytest.raises(LakeError, match="has no load 29"):
        chain.last()


def test_a_run_that_knows_the_end_of_a_chain_lists_it_no_more(
    chain: RawStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = [manifest(seq) for seq in range(1, 4)]
    for one in landed[:2]:
        chain.commit(one)
    chains = Chains(chain.store, "games")
    held = chains.of("rawg", "games")
    assert held.last() == landed[1]
    lists = count_lists(chain, monkeypatch)
    held.commit(landed[2])
    same = chains.of("rawg", "games")
    assert (same.last(), same.loads(), same.loads(2), same.loads(3)) == (landed[2], landed, landed[2:], [])
    assert lists == []
    with pytest.raises(LakeError, match="has no load 4"):
        same.loads(3, at_least=4)


def count_lists(chain: RawStream, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many objects each list gives that is asked from now on."""
    lists: list[int] = []
    right = chain.store.list

    def counted(prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        lists.append(0)
        place = len(lists) - 1
        for stored in right(prefix, start_after=start_after):
            lists[place] += 1
            yield stored

    monkeypatch.setattr(chain.store, "list", counted)
    return lists


def test_a_load_without_manifest_does_not_exist(chain: RawStream, tmp_path: Path) -> None:
    land(chain, tmp_path, 1)
    path = tmp_path / "part.parquet"
    path.write_bytes(b"half a load")
    chain.put_part(2, "part-dead-0", path, rows=1)
    assert [load.seq for load in chain.loads()] == [1]


def test_of_two_extractors_the_second_loses_loudly(chain: RawStream, tmp_path: Path) -> None:
    first = land(chain, tmp_path, 1)
    with pytest.raises(Conflict, match=r"load 1 of games\.rawg\.games"):
        chain.commit(manifest(1, run_id="other"))
    assert chain.loads() == [first]


def test_a_gap_in_the_chain_is_named(chain: RawStream, tmp_path: Path) -> None:
    for seq in (1, 2, 3):
        land(chain, tmp_path, seq)
    chain.store.delete([f"{chain.folder(2)}manifest.json"])
    with pytest.raises(LakeError, match=r"raw/games/rawg/games/ has no load 2"):
        chain.loads()
    with pytest.raises(LakeError, match="has no load 2"):
        chain.loads(1)
    assert [load.seq for load in chain.loads(3)] == []


def test_a_chain_that_ends_before_what_was_published_is_no_chain_without_news(chain: RawStream, tmp_path: Path) -> None:
    land(chain, tmp_path, 1)
    with pytest.raises(LakeError, match="has no load 4"):
        chain.loads(4)
    chain.store.delete([f"{chain.folder(1)}manifest.json"])
    with pytest.raises(LakeError, match="has no load 1"):
        chain.loads(1)


def test_foreign_objects_below_a_chain_are_left_alone(chain: RawStream, tmp_path: Path) -> None:
    landed = land(chain, tmp_path, 1)
    for key in (
        "notes/manifest.json",
        "0000000001/old/manifest.json",
        "0000000002/manifest.json.bak",
        "2/manifest.json",
    ):
        chain.store.put(chain.prefix + key, b"{}")
    assert chain.loads() == [landed]


def rewrite(chain: RawStream, seq: int, change: Callable[[dict[str, Any]], Any]) -> None:
    key = f"{chain.folder(seq)}manifest.json"
    said = json.loads(chain.store.get(key))
    change(said)
    chain.store.put(key, json.dumps(said).encode())


def test_a_newer_format_says_so_whatever_else_is_in_it(chain: RawStream, tmp_path: Path) -> None:
    land(chain, tmp_path, 1)
    rewrite(chain, 1, lambda said: said.update(format_version=2, parts="elsewhere"))
    with pytest.raises(LakeError, match=r"manifest .*0000000001/manifest\.json has format 2.*Install a newer starberg"):
        chain.loads()


@pytest.mark.parametrize(
    ("field", "value"), [("seq", 2), ("previous", 5), ("stream", "genres"), ("source", "x"), ("warehouse", "shop")]
)
def test_a_manifest_in_anothers_place_is_refused(chain: RawStream, tmp_path: Path, field: str, value: Any) -> None:
    land(chain, tmp_path, 1)
    rewrite(chain, 1, lambda said: said.update({field: value}))
    with pytest.raises(LakeError, match=r"manifest .*0000000001/manifest\.json says it is"):
        chain.loads()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"<html>", b'{"format_version": 1}', b"\xff\xfe", b"null"])
def test_a_manifest_that_cannot_be_read_is_named(chain: RawStream, tmp_path: Path, body: bytes) -> None:
    land(chain, tmp_path, 1)
    chain.store.put(f"{chain.folder(1)}manifest.json", body)
    with pytest.raises(LakeError, match=r"manifest .*0000000001/manifest\.json cannot be read"):
        chain.loads()


def damaged(body: bytes) -> dict[str, bytes]:
    return {
        "truncated": body[:-1],
        "emptied": b"",
        "one bit flipped": bytes([body[0] ^ 1]) + body[1:],
        "longer": body + b"\0",
    }


@pytest.mark.parametrize("how", damaged(b"rows"))
def test_an_altered_part_is_refused_by_name(chain: RawStream, tmp_path: Path, how: str) -> None:
    [part] = land(chain, tmp_path, 1).parts
    assert chain.fetch(part, tmp_path).read_bytes() == b"rows"
    chain.store.put(part.key, damaged(b"rows")[how])
    with pytest.raises(LakeError, match=r"raw file .*0000000001/part-r-0\.parquet is not the one its manifest names"):
        chain.fetch(part, tmp_path)


def test_swapped_parts_are_refused_by_name(chain: RawStream, tmp_path: Path) -> None:
    [first], [second] = land(chain, tmp_path, 1, b"one!").parts, land(chain, tmp_path, 2, b"two!").parts
    ours, theirs = chain.store.get(first.key), chain.store.get(second.key)
    chain.store.put(first.key, theirs)
    chain.store.put(second.key, ours)
    for part in (first, second):
        with pytest.raises(LakeError, match=part.key):
            chain.fetch(part, tmp_path)


def test_a_missing_part_is_named_and_no_empty_load(chain: RawStream, tmp_path: Path) -> None:
    [part] = land(chain, tmp_path, 1).parts
    chain.store.delete([part.key])
    with pytest.raises(LakeError, match=part.key):
        chain.fetch(part, tmp_path)
