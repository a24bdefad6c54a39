"""The lake's own file: a lake stays with its catalog, and is not read in a format of tomorrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import FakeClock

from starberg.storage.lake_file import FORMAT_VERSION, KEY, LakeFile, check_claim, claim
from starberg.storage.local_store import LocalStore
from starberg.storage.sql_catalog import SqlCatalog
from starberg.utils.errors import LakeError

CLOCK = FakeClock()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


def catalog(path: Path) -> SqlCatalog:
    return SqlCatalog(f"sqlite:///{path}", clock=CLOCK)


def test_a_new_lake_is_nobodys_until_it_is_claimed(store: LocalStore, tmp_path: Path) -> None:
    own = catalog(tmp_path / "own.db")
    assert not check_claim(store, own)
    claim(store, own, CLOCK)
    assert check_claim(store, own)


def test_a_claim_holds_for_good(store: LocalStore, tmp_path: Path) -> None:
    own = catalog(tmp_path / "own.db")
    claim(store, own, CLOCK)
    before = store.get(KEY)
    claim(store, own, CLOCK)
    assert store.get(KEY) == before


def test_another_catalog_is_refused_in_one_line_that_says_what_to_do(store: LocalStore, tmp_path: Path) -> None:
    own = catalog(tmp_path / "own.db")
    claim(store, own, CLOCK)
    (tmp_path / "own.db").unlink()
    lost = catalog(tmp_path / "own.db")
    for look in (lambda: claim(store, lost, CLOCK), lambda: check_claim(store, lost)):
        with pytest.raises(LakeError) as caught:
            look()
        assert own.identity() in str(caught.value)
        assert "restore the catalog" in caught.value.hint
        assert store.uri(KEY) in caught.value.hint
        assert "\n" not in str(caught.value)


def test_of_two_first_claims_the_second_is_refused(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, put = catalog(tmp_path / "1.db"), catalog(tmp_path / "2.db"), store.put

    def too_late(key: str, data: bytes, *, if_absent: bool = False) -> bool:
        monkeypatch.setattr(store, "put", put)
        claim(store, first, CLOCK)
        return put(key, data, if_absent=if_absent)

    monkeypatch.setattr(store, "put", too_late)
    with pytest.raises(LakeError, match=first.identity()):
        claim(store, second, CLOCK)
    assert check_claim(store, first)


def test_a_newer_format_is_refused(store: LocalStore, tmp_path: Path) -> None:
    own = catalog(tmp_path / "own.db")
    newer = LakeFile(format_version=FORMAT_VERSION + 1, catalog=own.identity(), created_at=CLOCK.now())
    store.put(KEY, newer.model_dump_json().encode())
    with pytest.raises(LakeError, match="newer than this starberg"):
        claim(store, own, CLOCK)


def test_a_damaged_file_is_named(store: LocalStore, tmp_path: Path) -> None:
    store.put(KEY, b"{")
    with pytest.raises(LakeError, match=KEY):
        claim(store, catalog(tmp_path / "own.db"), CLOCK)
