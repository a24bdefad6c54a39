"""From what a source said to one load: only what changed lands, and deletes only when they are sure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lake import Record, TempLake, fresh_engine

from starberg.storage.raw_chain import Manifest
from starberg.utils.errors import Conflict, LakeError, SourceDataError

GAMES = {"id": "BIGINT", "name": "VARCHAR", "updated": "TIMESTAMP"}


def game(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name or f"game {number}", "updated": "2026-01-01T00:00:00", **more}


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path, "games")
    lake.stream("games", GAMES, cursor="updated")
    return lake


def counts(load: Manifest | None) -> dict[str, int]:
    assert load is not None
    names = ("changed", "deleted", "unchanged", "duplicates", "unreadable")
    return {name: getattr(load, name) for name in names if getattr(load, name)}


def landed(lake: TempLake, load: Manifest | None) -> list[tuple[str, str, Any]]:
    """Return a load's records: operation, key and record."""
    assert load is not None
    files = [lake.store.uri(part.key) for part in load.parts]
    rows = fresh_engine().rows("SELECT _op, _key, record FROM read_parquet(?) ORDER BY _row", [files]) if files else []
    return [(op, key, record and json.loads(record)) for op, key, record in rows]


def raw_bytes(lake: TempLake) -> int:
    return sum(stored.size for stored in lake.store.list("raw/"))


def test_a_first_load_holds_every_record_in_order(lake: TempLake) -> None:
    load = lake.land("games", [game(2), game(1)], whole=True, cursor={"page": 7}, run_id="first")
    assert landed(lake, load) == [("U", '["2"]', game(2)), ("U", '["1"]', game(1))]
    assert load is not None
    assert (load.seq, load.previous, load.run_id, load.cursor) == (1, 0, "first", {"page": 7})
    assert load.observed_at == lake.clock.now()


def test_an_unchanged_stream_lands_nothing(lake: TempLake) -> None:
    lake.land("games", [game(1), game(2)], whole=True)
    before = raw_bytes(lake)
    assert lake.land("games", [game(2), game(1)], whole=True) is None
    assert lake.land("games", []) is None
    assert raw_bytes(lake) == before


def test_a_moved_cursor_alone_is_a_load_without_records(lake: TempLake) -> None:
    lake.land("games", [game(1)], cursor={"since": 1})
    load = lake.land("games", [game(1)], cursor={"since": 2})
    assert (landed(lake, load), counts(load)) == ([], {"unchanged": 1})
    last = lake.chain("games").last()
    assert last is not None
    assert last.cursor == {"since": 2}


def test_a_stream_that_is_read_once_a_day_says_that_it_was_looked_at(lake: TempLake) -> None:
    lake.stream("games", GAMES, every="day")
    lake.land("games", [game(1)], whole=True)
    assert counts(lake.land("games", [game(1)], whole=True)) == {"unchanged": 1}


def test_ten_unchanged_full_loads_add_at_most_a_hundredth_to_raw(lake: TempLake) -> None:
    everything = [game(n, f"name {n * 7919 % 1000} {n}") for n in range(3000)]
    for every in ("run", "day"):
        lake.stream("games", GAMES, every=every)
        lake.land("games", everything, whole=True)
        before = {stored.key for stored in lake.store.list("raw/")}
        loads = [lake.land("games", everything, whole=True) for _ in range(10)]
        added = {stored.key for stored in lake.store.list("raw/")} - before
        assert all(key.endswith("/manifest.json") for key in added)
        assert len(added) == sum(load is not None for load in loads) == (10 if every == "day" else 0)


def test_only_what_changed_lands_and_what_vanished_is_deleted(lake: TempLake) -> None:
    lake.land("games", [game(1), game(2), game(3)], whole=True)
    load = lake.land("games", [game(1), game(2, "new name"), game(4)], whole=True)
    assert landed(lake, load) == [
        ("U", '["2"]', game(2, "new name")), ("U", '["4"]', game(4)), ("D", '["3"]', None)
    ]  # fmt: skip
    assert counts(load) == {"changed": 2, "deleted": 1, "unchanged": 1}


def test_a_partial_reading_deletes_nothing(lake: TempLake) -> None:
    lake.land("games", [game(1), game(2)], whole=True)
    assert counts(lake.land("games", [game(2, "new")])) == {"changed": 1}


def test_a_key_comes_back_after_its_delete(lake: TempLake) -> None:
    lake.land("games", [game(1), game(2)], whole=True)
    lake.land("games", [game(1)], whole=True)
    assert counts(lake.land("games", [game(1), game(2)], whole=True)) == {"changed": 1, "unchanged": 1}
    assert lake.land("games", [game(1), game(2)], whole=True) is None


def test_an_empty_whole_extract_deletes_every_key(lake: TempLake) -> None:
    assert counts(lake.land("games", [], whole=True)) == {}
    lake.land("games", [game(1), game(2)], whole=True)
    assert counts(lake.land("games", [], whole=True)) == {"deleted": 2}
    assert lake.land("games", [], whole=True) is None


def test_of_a_key_that_comes_twice_the_greatest_cursor_stands_then_the_last_seen(lake: TempLake) -> None:
    old, new = game(1, "old", updated="2025-01-01T00:00:00"), game(1, "new", updated="2026-02-01T00:00:00+01:00")
    load = lake.land("games", [new, old, game(2, "first"), game(2, "last"), game(3, updated=None), game(3, "dated")])
    assert counts(load) == {"changed": 3, "duplicates": 3}
    assert [record["name"] for _, _, record in landed(lake, load)] == ["new", "last", "dated"]


def test_the_same_content_in_another_spelling_is_no_change(lake: TempLake) -> None:
    lake.stream("games", {**GAMES, "tags": "VARCHAR[]", "price": "DECIMAL(8, 2)"})
    lake.land("games", [game(1, tags=[], price="1.50", extra=1)], whole=True)
    again = '{"price": 1.5, "updated": "2026-01-01T01:00:00+01:00", "extra": 2, "name": "game 1", "id": 1}'
    assert lake.land("games", [again], whole=True) is None


@pytest.mark.parametrize(
    ("sql_type", "one", "other"),
    [("BIGINT", 1, 1.0), ("BIGINT", 1, " 01"), ("TIMESTAMP", "2026-07-01T10:00:00", "2026-07-01T08:00:00Z"),
     ("DECIMAL(5, 2)", 1.5, "1.50"), ("UUID", "0" * 31 + "a", "0" * 31 + "A"), ("DATE", "2026-07-01", "2026-7-1")],
)  # fmt: skip
def test_a_key_is_its_value_however_it_is_spelled(tmp_path: Path, sql_type: str, one: Any, other: Any) -> None:
    lake = TempLake(tmp_path, timezone="Europe/Paris")
    lake.stream("s", {"k": sql_type, "v": "BIGINT"}, key="k")
    lake.land("s", [{"k": one, "v": 1}], whole=True)
    assert lake.land("s", [{"k": other, "v": 1}], whole=True) is None
    assert counts(lake.land("s", [{"k": one, "v": 1}, {"k": other, "v": 2}])) == {"changed": 1, "duplicates": 1}


def test_text_keys_are_compared_byte_by_byte(lake: TempLake) -> None:
    lake.stream("codes", {"id": "VARCHAR"})
    codes = ["a", "A", "a ", "1", "01", "\u00e9", "e\u0301", "a\0"]
    assert counts(lake.land("codes", [{"id": code} for code in codes])) == {"changed": len(codes)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": None, "b": "x"}, {"a": "x", "b": None}),
        ({"a": "x\x1fy", "b": "z"}, {"a": "x", "b": "y\x1fz"}),
        ({"a": None}, {"a": "\0"}),
        ({"a": ""}, {"a": None}),
        ({"l": ["a, b"]}, {"l": ["a", "b"]}),
        ({"l": ["NULL"]}, {"l": [None]}),
        ({"l": [""]}, {"l": []}),
    ],
)
def test_contents_that_look_alike_are_told_apart(
    lake: TempLake, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    lake.stream("pairs", {"id": "BIGINT", "a": "VARCHAR", "b": "VARCHAR", "l": "VARCHAR[]"})
    lake.land("pairs", [{"id": 1, **before}])
    assert counts(lake.land("pairs", [{"id": 1, **after}])) == {"changed": 1}


def test_a_change_of_volatile_columns_alone_is_no_change(lake: TempLake) -> None:
    lake.stream("games", {**GAMES, "added": "BIGINT"}, volatile=["added"])
    lake.land("games", [game(1, added=5)])
    assert lake.land("games", [game(1, added=6)]) is None
    assert counts(lake.land("games", [game(1, "renamed", added=6)])) == {"changed": 1}


UNREADABLE: list[Record] = [{"name": "no id"}, {"id": None}, {"id": "one"}, {"id": 1.5}, {"_unreadable": "\\ud800"}]


@pytest.mark.parametrize("odd", UNREADABLE)
def test_a_record_without_a_readable_key_lands_and_stops_deletes_with_a_note(lake: TempLake, odd: Record) -> None:
    lake.land("games", [game(1), game(2)], whole=True)
    load = lake.land("games", [game(1), odd], whole=True)
    assert counts(load) == {"changed": 1, "unchanged": 1, "unreadable": 1}
    assert load is not None
    assert list(load.notes) == ["1 records have no readable key: no deletes were derived"]
    assert [key for _, key, _ in landed(lake, load)] == [None]
    assert lake.land("games", [game(1), odd], whole=True) is None, "it lands once"
    assert counts(lake.land("games", [game(1)], whole=True)) == {"deleted": 1, "unchanged": 1}


def test_a_key_of_several_columns_is_unreadable_if_one_is_missing(lake: TempLake) -> None:
    lake.stream("pairs", {"a": "BIGINT", "b": "VARCHAR"}, key=["a", "b"])
    load = lake.land("pairs", [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1}])
    assert [key for _, key, _ in landed(lake, load)] == ['["1","x"]', '["1","y"]', None]


def test_a_sweep_of_keys_deletes_the_absent_and_changes_nothing_else(lake: TempLake) -> None:
    lake.land("games", [game(1), game(2), game(3)], whole=True)
    load = lake.land("games", [{"id": 1}, {"id": 3}, {"id": 9}], whole=True, keys_only=True)
    assert landed(lake, load) == [("D", '["2"]', None)]
    assert lake.land("games", [{"id": 1}, {"id": 3}], whole=True, keys_only=True) is None


def test_a_sweep_that_meets_an_unreadable_key_concludes_nothing(lake: TempLake) -> None:
    lake.land("games", [game(1), game(2)], whole=True)
    assert lake.land("games", [{"id": 1}, {"id": None}], whole=True, keys_only=True) is None


@pytest.fixture
def large_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is worth many loads."""
    monkeypatch.setattr("starberg.ingestion.landing._BYTES_WORTH_A_LOAD", 1)


def test_a_small_key_index_is_written_with_every_load_that_changes_something(lake: TempLake) -> None:
    loads = [lake.land("games", [{"id": min(n, 3)}], cursor={"n": n}) for n in range(5)]
    assert [load.seq for load in loads if load and load.index] == [1, 2, 3, 4]
    assert [load.index_seq for load in loads if load] == [1, 2, 3, 4, 4]


@pytest.mark.usefixtures("large_index")
def test_a_large_key_index_is_written_again_after_sixteen_loads(lake: TempLake) -> None:
    loads = [lake.land("games", [game(n)], cursor={"n": n}) for n in range(20)]
    assert [load.seq for load in loads if load and load.index] == [1, 17]
    assert [load.index_seq for load in loads if load] == [1] * 16 + [17] * 4
    assert lake.land("games", [game(n) for n in range(20)], whole=True, cursor={"n": 19}) is None
    assert counts(lake.land("games", [game(0)], whole=True)) == {"deleted": 19, "unchanged": 1}


@pytest.mark.usefixtures("large_index")
def test_a_damaged_index_or_part_stops_the_landing_by_name(lake: TempLake) -> None:
    first = lake.land("games", [game(1)])
    second = lake.land("games", [game(2)])
    assert first is not None
    assert first.index is not None
    assert second is not None
    for key in (first.index.key, second.parts[0].key):
        kept = lake.store.get(key)
        lake.store.put(key, b"PAR1")
        with pytest.raises(LakeError, match=key):
            lake.land("games", [game(1), game(2)], whole=True)
        lake.store.put(key, kept)
    assert lake.land("games", [game(1), game(2)], whole=True) is None


def test_of_two_extractors_that_saw_the_same_chain_one_loses(lake: TempLake) -> None:
    first = lake.land("games", [game(1)])
    winner = lake.land("games", [game(2)], previous=first, run_id="a")
    with pytest.raises(Conflict):
        lake.land("games", [game(3)], previous=first, run_id="b")
    assert lake.chain("games").last() == winner.model_copy(update={"notes": []}) if winner else False


def infer(lake: TempLake) -> None:
    lake.stream("games", {"id": "BIGINT"}, undeclared="infer")


def test_undeclared_columns_are_pinned_when_first_seen(lake: TempLake) -> None:
    infer(lake)
    said = {"id": 1, "n": 5, "x": 1.5, "t": "2026-01-01", "b": True, "nested": {"a": 1}, "l": [1], "none": None}
    first = lake.land("games", [said])
    assert first is not None
    pinned = {"n": "BIGINT", "x": "DOUBLE", "t": "VARCHAR", "b": "BOOLEAN", "nested": "JSON", "l": "JSON"}
    assert first.columns == pinned
    second = lake.land("games", [{"id": 2, "n": 1.5, "none": "now a text", "new": 1}])
    assert second is not None
    assert second.columns == {**pinned, "none": "VARCHAR", "new": "BIGINT"}


def test_a_column_first_seen_in_one_record_lands_that_record_alone(lake: TempLake) -> None:
    infer(lake)
    lake.land("games", [{"id": 1, "n": 1}, {"id": 2, "n": 2}], whole=True)
    load = lake.land("games", [{"id": 1, "n": 1}, {"id": 2, "n": 2, "new": "x"}], whole=True)
    assert counts(load) == {"changed": 1, "unchanged": 1}


def test_of_names_that_differ_in_case_the_first_is_a_column(lake: TempLake) -> None:
    infer(lake)
    first = lake.land("games", [{"id": 1, "Name": "a", "NAME": "b", "ID": 7}])
    assert first is not None
    assert list(first.columns) == ["Name"]
    second = lake.land("games", [{"id": 1, "name": "c"}])
    assert second is not None
    assert list(second.columns) == ["Name"]


@pytest.mark.parametrize(("record", "kind"), [("5", "UBIGINT"), ("null", "NULL"), ("[1]", "ARRAY"), ('"x"', "VARCHAR")])
def test_a_record_that_is_no_object_fails_the_stream_with_its_page(lake: TempLake, record: str, kind: str) -> None:
    with pytest.raises(SourceDataError, match=rf"stream api\.games .* is {kind}, not an object, on page page 1"):
        lake.land("games", [game(1), record])
    assert lake.chain("games").last() is None
