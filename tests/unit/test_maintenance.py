"""What upkeep decides: what is folded into what, what metadata stops listing, what may be dropped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from starberg.storage.branches import Branch
from starberg.storage.maintenance import (
    Policy,
    dead_branches,
    expired_tags,
    is_due,
    to_expire,
    to_fold,
    unreferenced,
)
from starberg.storage.object_store import StoredObject
from starberg.storage.table_files import LiveFile

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = Policy(small_bytes=100, deleted_share=0.1)
SMALL, LARGE = 10, 1000


def file(size: int, rows: int = 100, partition: int = 0) -> LiveFile:
    return LiveFile(rows, size, 0, (partition,))


def test_one_small_file_without_deletes_is_left_alone() -> None:
    assert not to_fold({"a": file(SMALL), "b": file(LARGE)}, [], {}, POLICY)


def test_small_files_of_one_partition_become_one() -> None:
    files = {"a": file(SMALL), "b": file(SMALL), "c": file(LARGE), "d": file(SMALL, partition=1)}
    assert to_fold(files, [], {}, POLICY).rewrite == ["a", "b"]


def test_a_small_file_takes_its_deletes_in() -> None:
    fold = to_fold({"a": file(SMALL)}, ["x"], {"a": 1}, POLICY)
    assert (fold.rewrite, fold.merge, fold.deletes) == (["a"], [], ["x"])


def test_a_large_file_is_rewritten_once_many_of_its_rows_are_deleted() -> None:
    files = {"a": file(LARGE), "b": file(LARGE)}
    fold = to_fold(files, ["x"], {"a": 11, "b": 10}, POLICY)
    assert (fold.rewrite, fold.merge, fold.deletes) == (["a"], [["b"]], ["x"])


def test_many_delete_files_of_a_large_file_become_one_of_each_partition() -> None:
    files = {"a": file(LARGE), "b": file(LARGE, partition=1)}
    fold = to_fold(files, ["x", "y", "z"], {"a": 1, "b": 1}, POLICY)
    assert (fold.rewrite, fold.merge, fold.deletes) == ([], [["a"], ["b"]], ["x", "y", "z"])
    assert not to_fold(files, ["x", "y"], {"a": 1, "b": 1}, POLICY)


def test_a_delete_file_that_deletes_nothing_any_more_leaves() -> None:
    fold = to_fold({"a": file(LARGE)}, ["x"], {}, POLICY)
    assert (fold.rewrite, fold.merge, fold.deletes) == ([], [], ["x"])


FILES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.builds(file, st.sampled_from([SMALL, LARGE]), st.just(100), st.integers(0, 2)),
)


@given(FILES, st.data())
def test_what_was_folded_is_not_folded_again(files: dict[str, LiveFile], data: st.DataObject) -> None:
    """Play the fold: each partition's rewritten files become one, each group's deletes one file."""
    deleted = {path: n for path in files if (n := data.draw(st.integers(0, 100)))}
    deletes = [f"d{n}" for n in range(data.draw(st.integers(bool(deleted), 4)))]
    fold = to_fold(files, deletes, deleted, POLICY)
    assert len(set(fold.rewrite)) == len(fold.rewrite)
    merged = [path for group in fold.merge for path in group]
    staying = {path: found for path, found in files.items() if path not in fold.rewrite}
    assert all(len({files[path].partition for path in group}) == 1 for group in fold.merge)
    if fold.deletes:
        assert set(merged) == staying.keys() & deleted.keys(), "deletes of files that stay are said anew"
    else:
        assert not deleted.keys() & set(fold.rewrite), "no delete is left behind that points at nothing"
    made: dict[tuple[int, ...], int] = {}
    for path in fold.rewrite:
        made[files[path].partition] = made.get(files[path].partition, 0) + files[path].size_bytes
    after = staying | {f"new{part[0]}": LiveFile(100, size, 0, part) for part, size in made.items() if size < 100}
    left = {path: n for path, n in deleted.items() if path in after}
    assert not to_fold(after, ["one"] if left else [], left, POLICY).rewrite


def test_metadata_lists_the_current_snapshot_and_a_few_before_it() -> None:
    assert to_expire([(n, False) for n in (9, 8, 7, 6, 5, 4)], Policy(keep_snapshots=3)) == [5, 4]
    assert to_expire([(9, False)], Policy(keep_snapshots=0)) == []


def test_a_table_is_due_by_its_commits_since_it_was_folded() -> None:
    few = [(n, False) for n in range(9)]
    assert not is_due(few, is_log=False, policy=Policy(commits=10))
    assert is_due([*few, (9, False)], is_log=False, policy=Policy(commits=10))
    assert not is_due([*few, (9, True), (10, False)], is_log=False, policy=Policy(commits=10))
    assert not is_due([*few, (9, False)], is_log=True, policy=Policy(commits=10))


def test_tags_of_days_go_after_their_time_and_all_others_stay() -> None:
    names = ["club-2026-11-21", "club-2026-08-24", "club-2026-08-23", "club-2020-02-30", "club-2020-01-01-mine"]
    names += ["release", "clubs-2020-01-01", "other-2020-01-01"]
    assert expired_tags(names, "club", NOW, Policy()) == ["club-2026-08-23"]


def test_branches_of_the_warehouse_go_after_a_week_and_so_do_half_made_ones() -> None:
    def branch(warehouse: str, days: float) -> Branch:
        return Branch(f"{warehouse}{days}", warehouse, NOW - timedelta(days=days), "1")

    found = [branch("club", 6.9), branch("club", 7.1), branch("", 1), branch("", 8), branch("other", 90)]
    assert [one.run_id for one in dead_branches(found, "club", NOW, Policy())] == ["club7.1", "8"]


def test_only_old_objects_that_nothing_refers_to_go_and_metadata_goes_first() -> None:
    def stored(key: str, hours: float) -> StoredObject:
        return StoredObject(key, 1, NOW - timedelta(hours=hours))

    objects = [stored("a.parquet", 30), stored("b.parquet", 30), stored("c.parquet", 1), stored("d.metadata.json", 30)]
    found = unreferenced(objects, {"b.parquet"}, NOW - timedelta(days=1))
    assert [one.key for one in found] == ["d.metadata.json", "a.parquet"]
