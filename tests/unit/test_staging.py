"""Staging: one current row per natural key, whatever order of loads it came in; what cannot be read is set aside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lake import Record, TempLake

from starberg.utils.errors import CheckFailed, DeclarationError, GuardStopped, LakeError

BAD = "not a number"
HOUR = timedelta(hours=1).total_seconds()


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    lake.stream("games", {"id": "BIGINT", "name": "VARCHAR", "score": "INTEGER"})
    lake.declare("staging/stg_games", "select id as game_id, trim(name) as name, score * 10 as score from games")
    return lake


def load(lake: TempLake, records: Sequence[Record] | dict[int, Any], *, whole: bool = True) -> datetime:
    """Land records (a dict is id → score) an hour after the last; return when they were observed."""
    lake.clock.sleep(HOUR)
    said = (
        [{"id": k, "name": f"g{k}", "score": v} for k, v in records.items()] if isinstance(records, dict) else records
    )
    lake.land("games", said, whole=whole)
    return lake.clock.now().replace(tzinfo=None)


def live(lake: TempLake) -> dict[int, int]:
    return dict(lake.rows("SELECT game_id, score FROM stg_games WHERE _deleted_at IS NULL ORDER BY 1"))


def gone(lake: TempLake) -> dict[int, tuple[int, datetime]]:
    rows = lake.rows("SELECT game_id, score, _deleted_at FROM stg_games WHERE _deleted_at IS NOT NULL ORDER BY 1")
    return {key: (score, at) for key, score, at in rows}


def set_aside(lake: TempLake) -> list[tuple[Any, ...]]:
    return lake.rows(
        "SELECT key, column_name, reason, raw_value, _load_id FROM quarantine_games ORDER BY _load_id, _row_number"
    )


def test_a_row_is_what_the_select_makes_of_the_last_record(lake: TempLake) -> None:
    load(lake, [{"id": 1, "name": " Tetris ", "score": 1}, {"id": 2, "name": None}])
    load(lake, {1: 7}, whole=False)
    assert lake.build().changed == {"stg_games": (2, 0, 0)}
    assert lake.rows("SELECT game_id, name, score, _load_id FROM stg_games ORDER BY 1") == [
        (1, "g1", 70, 2),
        (2, None, None, 1),
    ]


def test_arrival_decides_and_not_the_sources_own_time(lake: TempLake) -> None:
    lake.stream("games", {"id": "BIGINT", "name": "VARCHAR", "score": "INTEGER", "at": "TIMESTAMP"}, cursor="at")
    load(lake, [{"id": 1, "score": 1, "at": "2026-02-01T00:00:00"}])
    load(lake, [{"id": 1, "score": 2, "at": "2026-01-01T00:00:00"}], whole=False)
    lake.build()
    assert live(lake) == {1: 20}


def test_a_deleted_key_keeps_its_last_values_and_the_time_of_the_load_that_missed_it(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    lake.build()
    missed = load(lake, {2: 2})
    load(lake, {2: 3})
    assert lake.build().changed == {"stg_games": (0, 2, 0)}
    assert (live(lake), gone(lake)) == ({2: 30}, {1: (10, missed)})


def test_a_key_that_comes_back_is_live_again(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    load(lake, {2: 2})
    lake.build()
    load(lake, {1: 5, 2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({1: 50, 2: 20}, {})


def test_a_key_that_left_and_came_back_between_two_builds_was_never_away(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    lake.build()
    load(lake, {2: 2})
    load(lake, {1: 1, 2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({1: 10, 2: 20}, {})


def test_a_changed_key_is_one_member_gone_and_one_new(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    lake.build()
    missed = load(lake, {9: 1, 2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({2: 20, 9: 10}, {1: (10, missed)})


def test_a_record_that_cannot_be_typed_is_set_aside_and_its_key_keeps_its_last_good_row(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    lake.build()
    load(lake, {1: BAD, 2: 3})
    built = lake.build()
    assert (live(lake), gone(lake)) == ({1: 10, 2: 30}, {})
    assert set_aside(lake) == [('["1"]', "score", "not a INTEGER", BAD, 2)]
    assert built.notes == ["1 of 2 records of games are in shop.quarantine_games"]


def test_a_key_that_is_good_again_takes_the_new_row_and_the_bad_record_stays_on_file(lake: TempLake) -> None:
    load(lake, {1: 1})
    load(lake, {1: BAD})
    lake.build()
    load(lake, {1: 4})
    lake.build()
    assert live(lake) == {1: 40}
    assert len(set_aside(lake)) == 1


def test_a_bad_record_of_a_deleted_key_shows_that_it_is_there(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    load(lake, {2: 2})
    lake.build()
    assert list(gone(lake)) == [1]
    load(lake, {1: BAD, 2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({1: 10, 2: 20}, {})


def test_a_quarantined_key_that_vanishes_is_deleted(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    load(lake, {1: BAD, 2: 2})
    lake.build()
    missed = load(lake, {2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({2: 20}, {1: (10, missed)})


def test_a_key_that_was_never_good_is_in_quarantine_alone(lake: TempLake) -> None:
    load(lake, {1: BAD, 2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({2: 20}, {})
    load(lake, {2: 2})
    lake.build()
    assert (live(lake), gone(lake)) == ({2: 20}, {})


def test_records_without_a_readable_key_are_set_aside_and_nothing_is_deleted(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    load(lake, [{"id": 1, "name": "g1", "score": 1}, {"name": "no id"}, {"id": "x", "score": 3}])
    lake.build()
    assert (live(lake), gone(lake)) == ({1: 10, 2: 20}, {})
    assert set_aside(lake) == [
        (None, "key", "the key is missing or unreadable", None, 2),
        (None, "id", "the key is missing or unreadable", "x", 2),
    ]


HISTORIES: dict[str, list[Any]] = {
    "changes": [{1: 1, 2: 2}, {1: 5, 2: 2}, {1: 5, 2: 6, 3: 3}],
    "delete and return": [{1: 1, 2: 2}, {2: 2}, {2: 3}, {1: 1, 2: 3}],
    "delete twice": [{1: 1, 2: 2}, {2: 2}, {1: 1, 2: 2}, {2: 2}, {2: 4}],
    "bad, deleted, bad": [{1: 1, 2: 2}, {1: BAD, 2: 2}, {2: 2}, {1: BAD, 2: 2}, {1: BAD, 2: 3}],
    "bad, then good": [{1: BAD, 2: 2}, {1: 1, 2: BAD}, {1: 2, 2: 3}, {2: BAD}],
    "unreadable keys": [{1: 1, 2: 2}, [{"score": 1}, {"id": 1, "score": 9}], {2: 2}, [{"id": "x", "score": 1}]],
    "keys in other spellings": [{1: 1}, [{"id": "01", "score": 2}], [{"id": 1.0, "score": 3}, {"id": 2, "score": 1}]],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_building_load_by_load_equals_building_from_all(lake: TempLake, history: str) -> None:
    for records in HISTORIES[history]:
        load(lake, records)
        lake.build(allow_deletes=["stg_games"])
    assert lake.verify() == []
    assert lake.rows("SELECT game_id FROM stg_games GROUP BY 1 HAVING count(*) > 1") == []


def test_an_idle_build_changes_nothing(lake: TempLake) -> None:
    load(lake, {1: 1})
    lake.build()
    before = lake.catalog.state().tables
    built = lake.build()
    assert {name: table.strategy for name, table in built.tables.items()} == {"stg_games": "skip"}
    assert lake.catalog.state().tables == before


def test_columns_first_seen_later_are_null_before_and_null_when_they_go(lake: TempLake) -> None:
    lake.stream("games", {"id": "BIGINT"}, undeclared="infer")
    lake.declare("staging/stg_games", "select * from games")
    load(lake, [{"id": 1, "a": 1}, {"id": 2, "a": 2}])
    lake.build()
    load(lake, [{"id": 2, "b": "x"}, {"id": 3, "a": 3, "b": "y"}], whole=False)
    lake.build()
    assert lake.rows("SELECT id, a, b FROM stg_games ORDER BY id") == [(1, 1, None), (2, None, "x"), (3, 3, "y")]
    assert lake.verify() == []


def test_keys_of_several_columns_and_any_text(lake: TempLake) -> None:
    lake.stream("names", {"a": "VARCHAR", "b": "DATE", "v": "INTEGER"}, key=["b", "a"])
    lake.declare("staging/stg_names", "select v, a as name, b as day from names")
    odd = ["", " ", "a", "A", "a ", "a\0", '["x"]', "é", "e\u0301", "x" * 2000]
    lake.land("names", [{"a": name, "b": "2026-01-01", "v": 1} for name in odd], whole=True)
    lake.build()
    lake.land("names", [{"a": name, "b": "2026-01-01", "v": 2} for name in odd[1:]], whole=True)
    lake.build()
    assert sorted(lake.rows("SELECT name, v, _deleted_at IS NULL FROM stg_names")) == sorted(
        [(odd[0], 1, False), *((name, 2, True) for name in odd[1:])]
    )
    assert lake.verify() == []


# Limits


def scores(good: int, bad: int) -> dict[int, Any]:
    return dict.fromkeys(range(good), 1) | dict.fromkeys(range(good, good + bad), BAD)


def test_too_much_quarantine_stops_with_the_first_bad_value(lake: TempLake) -> None:
    load(lake, scores(90, 10))
    with pytest.raises(CheckFailed, match=r"10 of 100 records .* column score not a INTEGER: 'not a number'"):
        lake.build()
    assert not lake.catalog.state().tables


def test_a_source_that_was_mended_mends_the_next_build(lake: TempLake) -> None:
    load(lake, scores(90, 10))
    with pytest.raises(CheckFailed):
        lake.build()
    load(lake, scores(99, 1))
    lake.build()
    assert lake.rows("select count(*) from stg_games") == [(99,)]
    assert len(set_aside(lake)) == 10


def test_quarantine_is_allowed_below_its_share_its_rows_or_as_declared(lake: TempLake) -> None:
    load(lake, scores(91, 9))
    lake.build()
    load(lake, scores(1090, 10), whole=False)
    lake.build()
    load(lake, dict.fromkeys(range(50), BAD), whole=False)
    lake.declare("staging/stg_games", "/* quarantine: {share: 1, rows: 0} */ select id as game_id, score from games")
    lake.build()
    assert len(set_aside(lake)) == 69


@pytest.mark.parametrize(("left", "stops"), [(80, False), (79, True), (0, True)])
def test_the_guard_stops_a_build_that_deletes_more_than_a_fifth(lake: TempLake, left: int, stops: bool) -> None:
    load(lake, scores(100, 0))
    lake.build()
    before = lake.catalog.state().tables
    load(lake, scores(left, 0))
    if not stops:
        lake.build()
        assert len(gone(lake)) == 20
        return
    with pytest.raises(GuardStopped, match=rf"delete {100 - left} of 100 rows.*--allow-deletes stg_games"):
        lake.build()
    assert lake.catalog.state().tables == before
    assert lake.build(allow_deletes=["stg_games"]).notes == [
        f"{100 - left} of 100 rows of stg_games deleted, as --allow-deletes said"
    ]
    assert len(live(lake)) == left
    assert lake.build(rebuild=["stg_games"]).tables["stg_games"].strategy == "rebuild"


def test_few_deletes_pass_whatever_their_share_unless_the_stream_is_emptied(lake: TempLake) -> None:
    load(lake, scores(20, 0))
    lake.build()
    load(lake, scores(1, 0))
    lake.build()
    assert len(live(lake)) == 1
    load(lake, [])
    with pytest.raises(GuardStopped, match="delete 1 of 1 rows"):
        lake.build()


def test_a_rebuild_does_not_stop_at_what_each_run_accepted(lake: TempLake) -> None:
    for first in (0, 100, 200):
        load(lake, {first + n: BAD if n < 5 else n for n in range(20)}, whole=False)
        lake.build()
    assert lake.verify() == []


def test_a_type_that_makes_many_old_records_bad_stops_the_rebuild(lake: TempLake) -> None:
    lake.declare("staging/stg_games", "select id as game_id, name from games")
    load(lake, scores(50, 0))
    lake.build()
    lake.stream("games", {"id": "BIGINT", "name": "DATE"})
    with pytest.raises(CheckFailed, match=r"50 of 50 records .* column name not a DATE: 'g0'"):
        lake.build()


# Edits and damage


def test_an_edited_select_is_rebuilt_from_all_loads_and_says_what_changed(lake: TempLake) -> None:
    load(lake, {1: 1, 2: 2})
    load(lake, {2: 2})
    lake.build()
    lake.declare("staging/stg_games", "select id as game_id, score * 100 as score, name from games")
    with pytest.raises(DeclarationError, match=r"stg_games was edited .*changed name, score"):
        lake.build(stop_on_edit=True)
    built = lake.build()
    assert built.tables["stg_games"].strategy == "rebuild"
    assert built.notes == ["shop.stg_games was edited (changed name, score): rebuilt"]
    assert (live(lake), gone(lake)[1][0]) == ({2: 200}, 100)


def test_another_type_of_a_column_reads_the_set_aside_records_again(lake: TempLake) -> None:
    load(lake, {1: "1.5", 2: 2})
    lake.build()
    assert len(set_aside(lake)) == 1
    lake.stream("games", {"id": "BIGINT", "name": "VARCHAR", "score": "DECIMAL(5, 1)"})
    lake.build()
    assert (live(lake), set_aside(lake)) == ({1: 15, 2: 20}, [])


def test_a_damaged_raw_file_stops_the_build_by_name_and_publishes_nothing(lake: TempLake) -> None:
    load(lake, {1: 1})
    lake.build()
    before = lake.catalog.state().tables
    load(lake, {1: 2}, whole=False)
    [part] = lake.chain("games").load(2).parts
    lake.store.put(part.key, b"PAR1")
    with pytest.raises(LakeError, match=part.key):
        lake.build()
    lake.store.delete([part.key])
    with pytest.raises(LakeError, match=part.key):
        lake.build()
    assert lake.catalog.state().tables == before


@pytest.mark.parametrize("rebuild", [[], ["stg_games"]])
def test_a_chain_shorter_than_what_is_published_stops_the_build(lake: TempLake, rebuild: list[str]) -> None:
    load(lake, {1: 1})
    load(lake, {1: 2})
    lake.build()
    lake.store.delete([f"{lake.chain('games').folder(2)}manifest.json"])
    with pytest.raises(LakeError, match="has no load 2"):
        lake.build(rebuild=rebuild)
