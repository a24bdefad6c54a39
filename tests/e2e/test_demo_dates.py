"""`starberg demo learning` and `demo projects`: days run, skipped, forced, stopped by a check, and backfilled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from shown import Shown

from starberg.samples.demos import DEMOS

pytestmark = pytest.mark.proof

MONTHLY = "build_fact_service_metric"
"""Its month may not be over: then it has nothing to be done, however often it is asked for."""


@pytest.fixture(scope="module", params=[name for name, demo in DEMOS.items() if demo.dated])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown.twice(request.param, tmp_path_factory.mktemp("demo"))


def job_of(shown: Shown) -> str:
    dated = DEMOS[shown.warehouse].dated
    assert dated
    return dated.forced


def statuses(jobs: Sequence[dict[str, Any]]) -> set[str]:
    return {job["status"] for job in jobs}


def test_a_day_is_run_and_then_skipped_and_then_forced_to_the_same_rows(shown: Shown) -> None:
    [lived] = [jobs for name, jobs in shown.first.items() if name.startswith("run_of_")]
    assert statuses(lived["jobs"]) == {"SUCCESS"}
    [snapshot] = [job for job in lived["jobs"] if job["job"] == job_of(shown)]
    assert snapshot["rows"] > 10
    assert shown.first["run_again"]["status"] == "SKIPPED"
    again = [job for job in shown.first["run_again"]["jobs"] if job["job"] != MONTHLY]
    assert statuses(again) == {"SKIPPED"}
    [forced] = shown.first["forced"]
    assert (forced["status"], forced["date"], forced["rows"]) == ("SUCCESS", snapshot["date"], 0)


def test_the_mistake_is_found_shown_and_never_published(shown: Shown) -> None:
    dated = DEMOS[shown.warehouse].dated
    assert dated
    for demo in (shown.first, shown.second):
        assert "checks failed" in demo["failed"]["error"]
        [found] = demo["failed"]["checks"]
        assert (found["severity"], found["failures"]) == ("error", len(demo["failed"]["rows_at_the_run"]))
    rows = json.loads(shown.answer(shown.second["failed"]["asked"], "--json"))
    assert len(rows) == len(shown.second["failed"]["rows_at_the_run"])
    assert shown.rows(dated.mistake.ask) == []


def test_late_changes_are_there_after_the_next_run(shown: Shown) -> None:
    changes = {line["kind"]: line for line in shown.first["changes"]}
    assert changes["all"]["late"] > 0
    assert all(changes["all"][did] > 0 for did in ("inserted", "updated", "deleted"))
    assert shown.first["run_after_changes"]["status"] == "SUCCESS"


def test_a_backfill_builds_the_days_that_are_missing_and_skips_the_others(shown: Shown) -> None:
    found = {job["date"]: job["status"] for job in shown.first["backfill"]}
    assert set(found.values()) == {"SUCCESS", "SKIPPED"}
    assert {job["status"] for job in shown.second["backfill"]} == {"SKIPPED"}
    fact = job_of(shown).removeprefix("build_")
    day = "progress_on" if shown.warehouse == "learning" else "snapshot_on"
    rows = shown.rows(f"select distinct {day} as day from {fact} order by 1")
    days = [date.fromisoformat(row["day"]) for row in rows]
    assert set(found) <= {day.isoformat() for day in days}
    assert days == [days[0] + timedelta(days=number) for number in range(len(days))]


def test_every_question_has_an_answer_and_what_it_offers_to_type_next_works(shown: Shown) -> None:
    assert list(shown.first["answers"]) == list(DEMOS[shown.warehouse].questions)
    assert all(shown.first["answers"].values())
    assert len(shown.first["next"]) > 1
    for command in shown.first["next"]:
        assert shown.answer(command)
