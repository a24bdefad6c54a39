"""The learning warehouse, lived and run day by day: its facts are what plain SQL says of the operational database.

The platform's past ends three days ago; each day since is lived and then run for. Sessions that were offline, regraded
answers and late grades change days that had been built.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from database import Database
from operations import Operations, asked, plain

from starberg.samples.operational.life import mutate
from starberg.samples.operational.seeding import seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import SYSTEMS

pytestmark = pytest.mark.proof

TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=back) for back in (3, 2, 1)]
SIZE = Size(people=40, days=10, seed=3, until=datetime(DAYS[0].year, DAYS[0].month, DAYS[0].day, tzinfo=UTC))
UTC_DAY = "({} at time zone 'UTC')::date"
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def school(source: Database, tmp_path_factory: pytest.TempPathFactory) -> Operations:
    system = SYSTEMS["learning"]
    school = Operations("learning", tmp_path_factory.mktemp("learning"), {"OLTP_DATABASE_URL": source.url})
    seed(system, lambda _: source.connect(), SIZE)
    for number, day in enumerate(DAYS):
        mutate(system, lambda _: source.connect(), transactions=150, seed=number, day=day)
        assert school.run(date=day).status == "SUCCESS"
    mutate(system, lambda _: source.connect(), transactions=150, seed=99)
    school.run()  # what is due: yesterday, and each day whose rows changed since it was built
    return school


def found(school: Operations, sql: str) -> Rows:
    return plain(school.rows(sql))


def test_sessions_of_every_day_are_those_of_the_source(school: Operations, source: Database) -> None:
    day = UTC_DAY.format("started_at")
    there = asked(
        source,
        f"select session_number, session_id, {day}, extract(epoch from date_trunc('second', ended_at) "
        "- date_trunc('second', started_at))::bigint, activities_completed, responses, correct_responses, "
        "started_at from sessions order by 1",
    )
    assert len(there) > 200
    columns = "session_key, session_id, started_on, duration_seconds, activities_completed, responses"
    sql = f"select {columns}, correct_responses, started_at from fact_sessions order by 1"
    assert found(school, sql) == there


def test_focus_events_and_recommendations_are_those_of_the_source(school: Operations, source: Database) -> None:
    sql = "select event_id, session_{}, event_type, cause, occurred_at from {} {} order by 1"
    there = asked(source, sql.format("number", "focus_events", ""))
    assert found(school, sql.format("key", "fact_focus_events", "")) == there
    there = asked(
        source,
        "select recommendation_id, case when accepted_at is not null then 'accepted' when dismissed_at is not null "
        "then 'dismissed' else 'shown' end from recommendations order by 1",
    )
    assert found(school, "select recommendation_id, status from fact_recommendation_events order by 1") == there
    assert {status for _, status in there} == {"accepted", "dismissed", "shown"}


def test_a_submission_is_its_events_added_up(school: Operations, source: Database) -> None:
    there = asked(
        source,
        "select homework_id, learner_id::text, count(*) filter (where event_type = 'submitted'), "
        "(array_agg(answers_correct order by event_id desc) filter (where event_type = 'submitted'))[1], "
        "max(score), bool_or(event_type = 'submitted' and occurred_at > due_at), max(assigned_at) "
        "from homework_events join homework using (homework_id) group by homework_id, learner_id "
        "order by 1, 2",
    )
    assert len(there) > 50
    columns = "homework_id, learner_id::text, attempts, answers_correct, score, is_late, assigned_at"
    assert found(school, f"select {columns} from fact_homework_events order by 1, 2") == there


def _progress(source: Database, day: date) -> Rows:
    """Return who had which skill how well at the end of a day, by the log of changes."""
    return asked(
        source,
        "select distinct on (learner_id, skill_id) learner_id::text, skill_id, mastery, "
        "sum(responses) over (partition by learner_id, skill_id), changed_at "
        f"from mastery_changes where {UTC_DAY.format('changed_at')} <= date '{day}' "
        "order by learner_id, skill_id, changed_at desc, change_id desc",
    )


def _snapshot(school: Operations, day: date) -> Rows:
    columns = "learner_id::text, skill_id, mastery, responses, practised_at"
    sql = f"select {columns} from fact_learning_progress where progress_on = date '{day}' order by 1, 2"
    return found(school, sql)


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_a_snapshot_is_what_the_log_of_changes_says_of_its_day(school: Operations, source: Database, day: date) -> None:
    """Also of what came late: offline sessions and regraded answers are dated by when they happened."""
    there = sorted(_progress(source, day))
    assert len(there) > 50
    assert sorted(_snapshot(school, day)) == there


@pytest.mark.usefixtures("school")
def test_late_rows_did_change_days_that_were_built(source: Database) -> None:
    [(late,)] = source.rows(
        "select count(*) from mastery_changes where updated_at > changed_at + interval '6 hours' "
        f"and {UTC_DAY.format('updated_at')} > date '{DAYS[0]}'"
    )
    assert late > 10


def test_facts_have_the_versions_of_their_time(school: Operations) -> None:
    for fact, at in (("fact_sessions", "started_at"), ("fact_learning_progress", "progress_at")):
        wrong = (
            f"select count(*) from {fact} f join dim_learner d using (learner_key) where d.learner_key <> 0 and not "
            f"(f.learner_id = d.learner_id and f.{at} >= d.effective_from "
            f"and f.{at} < coalesce(d.effective_to, 'infinity'))"
        )
        assert school.rows(wrong) == [(0,)]
    [(versions,)] = school.rows("select count(distinct learner_key) - count(distinct learner_id) from fact_sessions")
    assert versions > 0


def test_engagement_is_that_of_the_source(school: Operations, source: Database) -> None:
    day = UTC_DAY.format("started_at")
    there = asked(
        source,
        f"select {day}, tenant_id::text, count(*), count(distinct learner_id), sum(responses), sum(correct_responses), "
        "sum((select count(*) from focus_events e where e.session_number = s.session_number "
        "and event_type = 'lost'))::bigint from sessions s group by 1, 2 order by 1, 2",
    )
    columns = "date, tenant_id::text, sessions, learners, responses, correct_responses, focus_lost"
    assert found(school, f"select {columns} from mart_daily_engagement order by 1, 2") == there


def test_mastery_by_skill_is_that_of_the_source(school: Operations, source: Database) -> None:
    for day in DAYS:
        expected: dict[int, list[Any]] = {}
        for _, skill, mastery, *_ in _progress(source, day):
            expected.setdefault(skill, []).append(mastery)
        rows = found(
            school,
            "select skill_id, learners, average_mastery, mastered from mart_skill_mastery "
            f"where progress_on = date '{day}' order by 1",
        )
        assert [row[:2] for row in rows] == [(skill, len(of)) for skill, of in sorted(expected.items())]
        for skill, _, average, mastered in rows:
            assert float(average) == pytest.approx(sum(map(float, expected[skill])) / len(expected[skill]), abs=1e-4)
            assert mastered == sum(mastery >= 0.8 for mastery in expected[skill])


def test_building_the_days_again_changes_nothing(school: Operations) -> None:
    runs = list(school.lake().backfill("learning", DAYS[0], DAYS[-1], force=True))
    jobs = [job for run in runs for job in run.jobs]
    assert {job.target_date for job in jobs} == set(DAYS)
    assert {job.status for job in jobs} == {"SUCCESS"}
    assert sum(job.rows_inserted + job.rows_updated + job.rows_deleted for job in jobs) == 0
    assert school.lake().verify("learning").equal
