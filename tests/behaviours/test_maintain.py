"""`starberg maintain` as its users meet it: rows stay, what is kept answers, what is not says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import pytest
from upkept import Upkept, upkept

from starberg.etl.control_tables import TABLES
from starberg.etl.results import Status
from starberg.storage.branches import MAIN
from starberg.storage.maintenance import Policy
from starberg.utils.errors import Unreachable


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Upkept]:
    """A lake after its first run."""
    with upkept(tmp_path) as lake:
        lake.start()
        yield lake


def test_upkeep_leaves_one_file_a_table_and_nothing_for_the_next_run_or_upkeep_to_do(lake: Upkept) -> None:
    lake.run([1, 2])
    lake.run([2, 3])
    done = lake.maintain()
    assert (done.status, done.files_dropped) == (Status.SUCCESS, 0)
    assert {name: files for name, files in lake.files().items() if files != 1} == {"club.etl_job_runs": 0}, (
        "no jobs yet"
    )
    by_name = {table.name: table for table in done.tables}
    member = by_name["club.dim_member"]
    assert (member.files + member.delete_files > 2, member.files_after, member.delete_files_after) == (True, 1, 0)
    assert member.delete_ratio > member.delete_ratio_after == 0
    assert lake.run().status == Status.SKIPPED
    assert lake.maintain().status == Status.SUCCESS  # the run's row is a file of etl_runs
    assert lake.maintain().status == Status.SKIPPED
    runs = lake.lake.status("club")
    assert [run["command"] for run in runs if run["command"] == "maintain"] == ["maintain"] * 3
    assert lake.lake.verify("club").equal


@pytest.mark.proof
def test_what_is_kept_answers_as_before_and_what_is_not_says_so(lake: Upkept) -> None:
    first, second = lake.run([1]).run_id, lake.run([2]).run_id
    lake.lake.catalog.tag("release", lake.lake.catalog.published(first))
    [day] = [tag for tag in lake.lake.catalog.tags() if tag != "release"]
    lake.after_days(6)
    lake.run([3])
    lake.after_days(6)
    lake.maintain()
    assert lake.answers("release")
    assert lake.answers(first), "it is what a tag names"
    assert lake.answers(second), "main had it within a week"
    assert lake.answers(day)
    lake.after_days(84)
    lake.maintain()
    assert lake.answers("release")
    assert day not in lake.lake.catalog.tags()
    assert not lake.answers(second)


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(lake: Upkept) -> None:
    lake.run([1, 2])
    lake.after_days(9)
    before, pointers = lake.objects(), lake.lake.catalog.state()
    said = lake.maintain(dry_run=True)
    assert (lake.objects(), lake.lake.catalog.state()) == (before, pointers)
    assert said.dry_run
    done = lake.maintain()
    data = [name for name in lake.files() if name.partition(".")[2] not in TABLES]
    found = [{(t.name, t.files, t.delete_files) for t in one.tables if t.name in data} for one in (said, done)]
    assert found[0] == found[1]
    after = {table.name: table.files_after + table.delete_files_after for table in said.tables}
    assert {name: after[name] for name in data} == {name: lake.files()[name] for name in data}
    assert 0 < said.files_dropped == len(before - lake.objects())
    assert said.files_dropped <= done.files_dropped, "by the lake's clock what it wrote itself is nine days old, too"
    assert 0 < said.bytes_freed <= done.bytes_freed
    assert sum(table.bytes_freed for table in done.tables) == done.bytes_freed


def test_only_old_files_of_the_tables_are_dropped(lake: Upkept) -> None:
    strays = ("tables/club/dim_member/data/data-x.parquet", "tables/club/gone/metadata/00000-x.metadata.json")
    others = ("tables/shop/t/data/data-x.parquet", "raw/club/app/visits/0000000009/part-x.parquet", "notes.txt")
    for key in (*strays, *others):
        lake.lake.store.put(key, b"x")
    before = lake.objects()
    lake.maintain()
    assert before <= lake.objects(), "what is young may be a run's that is not done"
    lake.after_days(2)
    lake.maintain()
    assert before - lake.objects() == set(strays)


def test_a_branch_that_a_failed_check_left_can_be_looked_at_for_a_week(lake: Upkept) -> None:
    catalog = lake.lake.catalog
    branch = catalog.create_branch("failed-run", "club")
    held = lake.content(branch.name)
    lake.run([1])
    lake.after_days(6.9)
    lake.maintain()
    assert lake.content(branch.name) == held
    lake.after_days(0.2)
    assert lake.maintain().branches_dropped == [branch.name]
    assert catalog.branches("club") == []


@pytest.mark.proof
def test_runs_fold_tables_by_themselves_once_they_were_committed_to_often(lake: Upkept) -> None:
    most = 0
    with patch("starberg.etl.pipeline.Policy", lambda: Policy(commits=3, keep_snapshots=0)):
        for member in range(4):
            assert lake.run([member], remember=False).status == Status.SUCCESS
            most = max(most, *(files for name, files in lake.files().items() if name.partition(".")[2] not in TABLES))
    assert most <= 5
    assert 1 <= [run["command"] for run in lake.lake.status("club")].count("maintain") <= 2
    assert lake.lake.verify("club").equal


def test_a_run_that_published_stays_so_if_its_upkeep_fails(lake: Upkept, caplog: pytest.LogCaptureFixture) -> None:
    lost = Unreachable("the store went away")
    with (
        patch("starberg.etl.pipeline.Policy", lambda: Policy(commits=1)),
        patch("starberg.etl.upkeep.Folding.fold", side_effect=lost),
    ):
        assert lake.run([1]).status == Status.SUCCESS
    assert "club was not maintained: the store went away" in caplog.text
    assert lake.lake.catalog.branches("club") == []
    assert [run["status"] for run in lake.lake.status("club")].count("FAILED") == 1


def test_a_reader_goes_on_at_the_state_it_looked_at(lake: Upkept) -> None:
    lake.run([1])
    with closing(lake.lake.reader("club")) as engine:
        [before] = engine.rows("SELECT count(*), sum(hash(t)) FROM dim_member t")
        lake.maintain()
        lake.after_days(2)
        lake.maintain()
        [after] = engine.rows("SELECT count(*), sum(hash(t)) FROM dim_member t")
    assert before == after
    assert lake.answers(MAIN)
