"""Facts built by date: which days are built, restated, reported, and what a run leaves of the others."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake

from starberg.utils.errors import DeclarationError

START = datetime(2026, 3, 10, 2)


def day(number: int) -> date:
    return date(2026, 3, number)


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    set_clock(lake, START)
    lake.stream("learners", {"id": "BIGINT", "grade": "VARCHAR", "since": "TIMESTAMP"})
    lake.stream("sessions", {"id": "BIGINT", "learner": "BIGINT", "started": "TIMESTAMP", "score": "BIGINT"})
    lake.declare("staging/stg_learners", "select id as learner_id, grade, since from learners")
    lake.declare(
        "staging/stg_sessions",
        "select id as session_id, learner as learner_id, started as started_at, score from sessions",
    )
    lake.declare(
        "dimensions/dim_learner",
        "/*\nnatural_key: learner_id\nhistory: type2\nvalid_from: since\norder: valid_time\n*/\n"
        "select learner_id, grade, since from stg_learners",
    )
    fact(lake)
    return lake


def set_clock(lake: TempLake, now: datetime) -> None:
    lake.clock.sleep((now - lake.clock.now().replace(tzinfo=None)).total_seconds())


def fact(lake: TempLake, more: str = "") -> None:
    lake.declare(
        "facts/fact_sessions",
        "/*\ngrain: session_id\nload: by date\ndate: session_date\n"
        f"keys:\n  learner_key: dim_learner(learner_id) as of started_at\n{more}\n*/\n"
        "select session_id, started_at::date as session_date, score from stg_sessions",
    )


def session(number: int, on: int, score: int = 1, learner: int = 1) -> dict[str, Any]:
    return {"id": number, "learner": learner, "started": f"2026-03-{on:02}T09:00:00", "score": score}


def sessions(lake: TempLake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT session_id, day(session_date), score FROM fact_sessions ORDER BY 1")


def test_the_first_build_builds_every_day_that_has_rows(lake: TempLake) -> None:
    lake.land("sessions", [session(1, 2), session(2, 5)])
    assert lake.build().tables["fact_sessions"].dates == ["2026-03-02", "2026-03-05"]
    assert sessions(lake) == [(1, 2, 1), (2, 5, 1)]
    assert lake.build().tables["fact_sessions"].strategy == "skip"


def test_only_the_days_asked_for_are_built_and_again_if_asked_again(lake: TempLake) -> None:
    lake.land("sessions", [session(1, 2), session(2, 5)])
    assert lake.build(dates=[day(5)]).tables["fact_sessions"].dates == ["2026-03-05"]
    assert sessions(lake) == [(2, 5, 1)]
    again = lake.build(dates=[day(5)])
    assert again.tables["fact_sessions"].dates == ["2026-03-05"]
    assert again.changed == {}
    lake.build(dates=[day(2)])
    assert sessions(lake) == [(1, 2, 1), (2, 5, 1)]
    assert lake.verify() == []


def test_a_built_day_whose_rows_changed_is_built_again_with_the_day_asked_for(lake: TempLake) -> None:
    lake.land("sessions", [session(1, 2), session(2, 3)])
    lake.build(dates=[day(2)])
    lake.land("sessions", [session(1, 2, score=9), session(3, 3), session(4, 4)])
    built = lake.build(dates=[day(4)])
    assert built.tables["fact_sessions"].dates == ["2026-03-02", "2026-03-04"]
    assert sessions(lake) == [(1, 2, 9), (4, 4, 1)]


def test_a_row_that_moved_to_another_day_leaves_the_one_it_was_on(lake: TempLake) -> None:
    lake.land("sessions", [session(1, 2), session(2, 3)])
    lake.build()
    lake.land("sessions", [session(1, 5)])
    assert lake.build().tables["fact_sessions"].dates == ["2026-03-02", "2026-03-05"]
    assert sessions(lake) == [(1, 5, 1), (2, 3, 1)]
    lake.land("sessions", [session(1, 3)])
    lake.build(dates=[day(3)])
    assert sessions(lake) == [(1, 3, 1), (2, 3, 1)]
    assert lake.verify() == []


def test_a_day_past_restate_days_is_told_and_built_when_it_is_asked_for(lake: TempLake) -> None:
    fact(lake, "restate_days: 3")
    lake.land("sessions", [session(1, 2), session(2, 8)])
    lake.build()
    lake.land("sessions", [session(1, 2, score=5), session(2, 8, score=5), session(3, 3)])
    built = lake.build()
    assert built.tables["fact_sessions"].dates == ["2026-03-08"]
    assert "2 days older than restate_days (3)" in "".join(built.notes)
    assert sessions(lake) == [(1, 2, 1), (2, 8, 5)]
    assert "2 days older" in "".join(lake.build().notes)
    built = lake.build(dates=[day(2), day(3)])
    assert built.notes == []
    assert sessions(lake) == [(1, 2, 5), (2, 8, 5), (3, 3, 1)]
    assert lake.verify() == []


def test_keys_of_days_that_are_not_built_follow_the_dimension(lake: TempLake) -> None:
    lake.land("learners", [{"id": 1, "grade": "1", "since": "2026-01-01"}])
    lake.land("sessions", [session(1, 2), session(2, 8)])
    lake.build()
    lake.clock.sleep(60)
    lake.land("learners", [{"id": 1, "grade": "2", "since": "2026-03-05"}])
    lake.clock.sleep(60)
    lake.build(only=["stg_learners", "dim_learner"])
    grades = "SELECT grade FROM fact_sessions JOIN dim_learner USING (learner_key) ORDER BY session_id"
    assert lake.rows(grades) == [("1",), ("2",)]
    lake.land("learners", [{"id": 1, "grade": "3", "since": "2026-03-01"}])
    assert lake.build(dates=[day(8)]).tables["fact_sessions"].dates == ["2026-03-08"]
    assert lake.rows(grades) == [("3",), ("2",)]
    assert lake.verify() == []


def test_keys_follow_a_version_that_began_earlier_than_was_known(lake: TempLake) -> None:
    lake.land("learners", [{"id": 1, "grade": "1", "since": "2026-01-01"}])
    lake.build()
    lake.clock.sleep(60)
    lake.land("learners", [{"id": 1, "grade": "2", "since": "2026-03-07"}])
    lake.land("sessions", [session(1, 2), session(2, 5), session(3, 8)])
    lake.build()
    lake.clock.sleep(60)
    lake.land("learners", [{"id": 1, "grade": "2", "since": "2026-03-04"}])
    lake.clock.sleep(60)
    assert lake.build(dates=[day(8)]).changed["fact_sessions"] == (0, 1, 0)
    grades = "SELECT grade FROM fact_sessions JOIN dim_learner USING (learner_key) ORDER BY session_id"
    assert lake.rows(grades) == [("1",), ("2",), ("2",)]
    assert lake.verify() == []


def test_a_row_that_moved_is_there_once_though_its_member_moved_too(lake: TempLake) -> None:
    fact(lake, "restate_days: 1")
    lake.land("learners", [{"id": 1, "grade": "1", "since": "2026-01-01"}])
    lake.land("sessions", [session(1, 2), session(2, 8)])
    lake.build()
    lake.clock.sleep(60)
    lake.land("learners", [{"id": 1, "grade": "2", "since": "2026-03-01"}])
    lake.land("sessions", [session(1, 9)])
    lake.build()
    assert sessions(lake) == [(1, 9, 1), (2, 8, 1)]


def test_a_row_told_apart_by_its_member_is_there_once_after_it_and_the_member_moved(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_first",
        "/*\ngrain: [learner_key, score]\nload: by date\ndate: started_at\nrestate_days: 1\nkeys:\n"
        "  learner_key: dim_learner(learner_id) as of started_at\n*/\n"
        "select learner_id, score, min(started_at) as started_at from stg_sessions group by all",
    )
    lake.land("learners", [{"id": 1, "grade": "1", "since": "2026-01-01"}])
    lake.land("sessions", [session(1, 2)])
    lake.build()
    lake.clock.sleep(60)
    lake.land("learners", [{"id": 1, "grade": "2", "since": "2026-03-01"}])
    lake.land("sessions", [session(1, 9)])
    lake.build()
    assert lake.rows("SELECT day(started_at), grade FROM fact_first JOIN dim_learner USING (learner_key)") == [(9, "2")]


def test_a_member_that_only_rows_of_days_not_built_again_know_is_the_unknown_one(lake: TempLake) -> None:
    fact(lake, "restate_days: 3")
    lake.land("sessions", [session(1, 2, learner=7), session(2, 8, learner=4)])
    lake.build()
    lake.clock.sleep(60)
    lake.land("sessions", [session(1, 2, learner=4)])
    lake.build()
    assert lake.rows("SELECT learner_id, learner_key FROM fact_sessions ORDER BY session_id") == [(7, 0), (4, 1)]
    lake.build(dates=[day(2)])
    assert lake.rows("SELECT learner_id, learner_key FROM fact_sessions ORDER BY session_id") == [(4, 1), (4, 1)]
    assert lake.verify() == []


@pytest.mark.parametrize(
    "columns",
    ["session_id, score * 2 as score, 1 as more", "session_id, (score * 2)::integer as score"],
    ids=["a column more", "another type"],
)
def test_edited_staging_builds_every_day_there_is_again(lake: TempLake, columns: str) -> None:
    fact(lake, "restate_days: 3")
    lake.land("sessions", [session(1, 2), session(2, 5), session(3, 8)])
    lake.build(dates=[day(2), day(8)])
    columns = columns.replace("session_id", "id as session_id")
    lake.declare(
        "staging/stg_sessions", f"select {columns}, learner as learner_id, started as started_at from sessions"
    )
    built = lake.build(dates=[day(8)])
    assert built.tables["fact_sessions"].strategy == "rebuild"
    assert [note for note in built.notes if "edited" in note] == built.notes[:1]
    assert sessions(lake) == [(1, 2, 2), (3, 8, 2)]
    lake.build(dates=[day(5)])
    assert sessions(lake) == [(1, 2, 2), (2, 5, 2), (3, 8, 2)]
    assert lake.verify() == []


def test_a_column_that_the_source_adds_reaches_no_day_by_itself(lake: TempLake) -> None:
    lake.stream("sessions", {"id": "BIGINT", "learner": "BIGINT", "started": "TIMESTAMP"}, undeclared="infer")
    lake.declare("staging/stg_sessions", "select * from sessions")
    lake.declare(
        "facts/fact_sessions",
        "/*\ngrain: id\nload: by date\ndate: day\n*/\nselect id, started::date as day from stg_sessions",
    )
    first, second = session(1, 2), session(2, 5)
    del first["score"], second["score"]
    lake.land("sessions", [first, second])
    lake.build()
    lake.land("sessions", [{**first, "note": "seen"}])
    lake.build(only=["stg_sessions"])
    assert lake.build().tables["fact_sessions"].dates == []
    lake.land("sessions", [{**second, "learner": 4, "note": "seen"}])
    lake.build(only=["stg_sessions"])
    assert lake.build().tables["fact_sessions"].dates == ["2026-03-05"]
    assert lake.verify() == []


def test_inferred_members_are_numbered_alike_in_whatever_order_days_are_built(lake: TempLake) -> None:
    lake.land("sessions", [session(1, 2, learner=7), session(2, 5, learner=4)])
    lake.build(dates=[day(5)])
    lake.build(dates=[day(2)])
    assert lake.rows("SELECT learner_id, learner_key FROM dim_learner WHERE learner_key > 0 ORDER BY 1") == [
        (4, 1), (7, 2)
    ]  # fmt: skip


def test_events_can_be_aggregated_by_day(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_learner_days",
        "/*\ngrain: [learner_id, session_date]\nload: by date\ndate: session_date\n"
        "keys:\n  learner_key: dim_learner(learner_id) as of session_date\n*/\n"
        "select learner_id, started_at::date as session_date, count(*) as sessions, sum(score) as score "
        "from stg_sessions group by all",
    )
    lake.land("sessions", [session(1, 2), session(2, 2, score=3), session(3, 5)])
    lake.build()
    lake.land("sessions", [session(3, 2)])
    assert lake.build().tables["fact_learner_days"].dates == ["2026-03-02", "2026-03-05"]
    assert lake.rows("SELECT day(session_date), sessions, score FROM fact_learner_days") == [(2, 3, 5)]
    assert lake.verify() == []


def test_a_day_that_hangs_on_several_rows_is_told_by_comparing_all(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_learner_last",
        "/*\ngrain: learner_id\nload: by date\ndate: last_date\n*/\n"
        "select learner_id, max(started_at)::date as last_date, count(*) as sessions from stg_sessions group by 1",
    )
    lake.land("sessions", [session(1, 2), session(2, 3, learner=2)])
    lake.build()
    lake.land("sessions", [session(3, 5)])
    assert lake.build().tables["fact_learner_last"].dates == ["2026-03-02", "2026-03-05"]
    assert lake.rows("SELECT learner_id, day(last_date), sessions FROM fact_learner_last ORDER BY 1") == [
        (1, 5, 2), (2, 3, 1)
    ]  # fmt: skip


def test_a_day_that_is_no_day_is_refused(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_sessions",
        "/*\ngrain: session_id\nload: by date\ndate: score\n*/\nselect session_id, score from stg_sessions",
    )
    lake.land("sessions", [session(1, 2)])
    with pytest.raises(DeclarationError, match="score is BIGINT, not a date or a timestamp"):
        lake.build()


def test_an_edited_fact_is_built_again_for_the_days_it_has(lake: TempLake) -> None:
    lake.land("sessions", [session(1, 2), session(2, 5)])
    lake.build(dates=[day(5)])
    lake.declare(
        "facts/fact_sessions",
        "/*\ngrain: session_id\nload: by date\ndate: session_date\n*/\n"
        "select session_id, started_at::date as session_date, score * 2 as score from stg_sessions",
    )
    lake.build(dates=[day(5)])
    assert sessions(lake) == [(2, 5, 2)]
