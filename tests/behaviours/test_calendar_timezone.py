"""A warehouse whose days are Berlin's, or New York's: rows by date, snapshots, keys of days, what is over, an edit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake, fresh_engine
from shop import NAME, STREAMS, Shop, opened

from starberg.etl.build_writer import Restate
from starberg.etl.due import Item, TickRecord, TickState, work_of
from starberg.etl.results import Status
from starberg.etl.schedule import Job
from starberg.etl.zone import Zone
from starberg.utils.errors import DeclarationError

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
SESSIONS = (
    "/*\ngrain: session_id\nload: by date\ndate: started_at\nkeys:\n"
    "  learner_key: dim_learner(learner_id) as of started_at\n  date_key: dim_date(started_at)\n{}*/\n"
    "select session_id, learner_id, started_at, ended_at from stg_sessions"
)
TABLES = {
    "staging/stg_learners": "select id as learner_id, grade, since from learners",
    "staging/stg_sessions": "select id as session_id, learner as learner_id, started as started_at, ended as ended_at "
    "from sessions",
    "dimensions/dim_date": "/*\ncalendar: {from: 2026-01-01, to: 2026-12-31}\n*/\nselect date from calendar",
    "dimensions/dim_learner": "/*\nnatural_key: learner_id\nhistory: type2\nvalid_from: since\norder: valid_time\n*/\n"
    "select learner_id, grade, since from stg_learners",
    "facts/fact_sessions": SESSIONS.format(""),
    "facts/fact_lengths": "/*\ngrain: session_id\nload: accumulating\nmilestones: [started_at, ended_at]\n*/\n"
    "select session_id, started_at, ended_at from stg_sessions",
    "facts/fact_learner_snapshot": "/*\ngrain: [learner_id, day]\nload: snapshot daily\ndate: day\nkeys:\n"
    "  learner_key: dim_learner(learner_id)\n*/\nselect learner_id, run_date() as day, grade from stg_learners",
    "facts/fact_grade_months": "/*\ngrain: [grade, month]\nload: snapshot monthly\ndate: month\n*/\n"
    "select grade, run_date() as month, count(*) as learners from stg_learners group by all",
    "marts/mart_grades": "/* grain: grade */\nselect grade, count(*) as learners from dim_learner "
    "where grade is not null group by grade",
}
KEPT = ("stg_learners", "stg_sessions", "dim_learner", "mart_grades")
"""Tables to which the zone does not matter."""
BUILT_DAYS = "SELECT session_id, date_key FROM fact_sessions ORDER BY 1"
SNAPSHOT = (
    "SELECT strftime(day, '%m-%d'), f.grade, d.grade FROM fact_learner_snapshot f "
    "JOIN dim_learner d USING (learner_key) ORDER BY 1"
)


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path, calendar_timezone=BERLIN)
    set_clock(lake, datetime(2026, 4, 2, 2))
    lake.stream("learners", {"id": "BIGINT", "grade": "VARCHAR", "since": "TIMESTAMP"})
    lake.stream(
        "sessions", {"id": "BIGINT", "learner": "BIGINT", "started": "TIMESTAMP", "ended": "TIMESTAMP", "on": "DATE"}
    )
    for name, sql in TABLES.items():
        lake.declare(name, sql)
    return lake


def set_clock(lake: TempLake, now: datetime) -> None:
    lake.clock.sleep((now - lake.clock.now().replace(tzinfo=None)).total_seconds())


def session(number: int, started: str, ended: str | None = None) -> dict[str, Any]:
    return {"id": number, "learner": 1, "started": f"2026-{started}", "ended": ended and f"2026-{ended}"}


def learner(grade: str, since: str, number: int = 1) -> dict[str, Any]:
    return {"id": number, "grade": grade, "since": f"2026-{since}"}


def dates(lake: TempLake, table: str = "fact_sessions", **how: Any) -> list[str]:
    """Build, and return the days that were built of a table."""
    return [day.removeprefix("2026-") for day in lake.build(**how).tables[table].dates]


def test_a_row_late_in_the_evening_is_on_the_next_day_there(lake: TempLake) -> None:
    lake.land("sessions", [session(1, "03-10T22:59:59"), session(2, "03-10T23:30:00"), session(3, "03-30T22:30:00")])
    assert dates(lake) == ["03-10", "03-11", "03-31"]  # on the 29th clocks were put forward
    assert lake.rows(BUILT_DAYS) == [(1, 20260310), (2, 20260311), (3, 20260331)]
    assert lake.verify() == []
    assert {t.strategy for t in lake.build().tables.values()} == {"skip"}


def test_a_day_that_is_asked_for_has_the_rows_of_that_day_there(lake: TempLake) -> None:
    lake.land("sessions", [session(1, "03-28T22:59:59"), session(2, "03-28T23:00:00"), session(3, "03-29T21:59:59")])
    lake.land("sessions", [session(4, "03-29T22:00:00")])
    assert dates(lake, dates=[date(2026, 3, 29)]) == ["03-29"]  # a day of 23 hours
    assert lake.rows(BUILT_DAYS) == [(2, 20260329), (3, 20260329)]
    lake.build()
    assert [row[0] for row in lake.rows(BUILT_DAYS)] == [1, 2, 3, 4]
    assert lake.verify() == []


def test_a_late_row_is_built_on_its_day_there_and_one_that_moved_leaves_the_other(lake: TempLake) -> None:
    lake.land("sessions", [session(1, "03-10T12:00:00"), session(2, "03-11T12:00:00"), session(3, "03-12T12:00:00")])
    lake.build()
    lake.land("sessions", [session(4, "03-10T23:30:00")])
    assert dates(lake) == ["03-11"]
    lake.land("sessions", [session(4, "03-11T23:30:00")])
    assert dates(lake) == ["03-11", "03-12"]
    assert lake.rows(BUILT_DAYS)[3:] == [(4, 20260312)]
    assert lake.verify() == []


def test_a_day_that_hangs_on_several_rows_is_told_by_comparing_all(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_last",
        "/*\ngrain: learner_id\nload: by date\ndate: last_at\n*/\n"
        "select learner_id, max(started_at) as last_at, count(*) as sessions from stg_sessions group by 1",
    )
    lake.land("sessions", [session(1, "03-10T12:00:00")])
    assert dates(lake, "fact_last") == ["03-10"]
    lake.land("sessions", [session(2, "03-10T23:30:00")])
    assert dates(lake, "fact_last") == ["03-10", "03-11"]
    assert lake.rows("SELECT sessions FROM fact_last") == [(2,)]
    assert lake.verify() == []


def test_the_year_of_a_key_is_that_there(lake: TempLake) -> None:
    lake.land("sessions", [session(1, "12-31T23:30:00")])
    lake.build(dates=[date(2027, 1, 1)])
    assert lake.rows(BUILT_DAYS) == [(1, 20270101)]
    assert lake.rows("SELECT date FROM dim_date WHERE date_key = 20270101") == [(date(2027, 1, 1),)]
    assert lake.verify() == []


def test_days_between_milestones_are_those_of_the_calendar_there(lake: TempLake) -> None:
    lake.land("sessions", [session(1, "03-10T22:30:00", "03-10T23:30:00"), session(2, "03-10T23:30:00", "03-11T20:00")])
    lake.build()
    assert lake.rows("SELECT days_started_to_ended FROM fact_lengths ORDER BY session_id") == [(1,), (0,)]


def test_a_snapshot_shows_what_was_so_at_midnight_there(lake: TempLake) -> None:
    lake.land("learners", [learner("1", "03-27T12:00:00")])
    set_clock(lake, datetime(2026, 3, 27, 23, 30))  # the 28th there
    assert dates(lake, "fact_learner_snapshot") == ["03-27"]
    set_clock(lake, datetime(2026, 3, 31, 2))
    lake.land("learners", [learner("2", "03-28T23:00:00")])  # when the 29th starts
    lake.land("learners", [learner("3", "03-29T21:59:59")])  # when it is almost over
    assert dates(lake, "fact_learner_snapshot") == ["03-28", "03-29", "03-30"]
    assert lake.rows(SNAPSHOT) == [("03-27", "1", "1"), ("03-28", "1", "1"), ("03-29", "3", "3"), ("03-30", "3", "3")]
    assert lake.verify() == []


def test_a_late_change_restates_the_days_there_and_no_others(lake: TempLake) -> None:
    lake.land("learners", [learner("1", "03-26T12:00:00")])
    set_clock(lake, datetime(2026, 3, 26, 23, 30))
    lake.build()
    set_clock(lake, datetime(2026, 3, 31, 2))
    lake.build()
    lake.land("learners", [learner("3", "03-29T22:00:00")])  # when the 30th starts
    assert dates(lake, "fact_learner_snapshot") == ["03-30"]
    lake.land("learners", [learner("2", "03-27T23:00:00")])  # when the 28th starts
    assert dates(lake, "fact_learner_snapshot") == ["03-28", "03-29"]
    assert [row[1:] for row in lake.rows(SNAPSHOT)] == [("1", "1")] * 2 + [("2", "2")] * 2 + [("3", "3")]
    assert lake.verify() == []


def test_a_month_ends_at_midnight_there(lake: TempLake) -> None:
    lake.land("learners", [learner("1", "03-31T21:59:59"), learner("2", "03-31T22:00:00", 2)])
    set_clock(lake, datetime(2026, 3, 31, 21, 59))
    assert dates(lake, "fact_grade_months") == ["02-28"]
    set_clock(lake, datetime(2026, 3, 31, 22, 0))
    assert dates(lake, "fact_grade_months") == ["03-31"]
    assert lake.rows("SELECT * EXCLUDE (_run_id, _load_id) FROM fact_grade_months") == [("1", date(2026, 3, 31), 1)]


def test_a_day_that_is_not_over_there_is_not_built(lake: TempLake) -> None:
    lake.count_days_in(NEW_YORK)
    set_clock(lake, datetime(2026, 4, 2, 3, 59))  # still the first there
    lake.land("learners", [learner("1", "03-31T12:00:00")])
    assert dates(lake, "fact_learner_snapshot") == ["03-31"]
    built = lake.build(dates=[date(2026, 4, 1)])
    assert built.tables["fact_learner_snapshot"].dates == []
    assert "2026-04-01 is not over" in "".join(built.notes)
    set_clock(lake, datetime(2026, 4, 2, 4))
    assert dates(lake, "fact_learner_snapshot") == ["04-01"]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK])
def test_a_date_is_its_own_day_and_begins_when_it_does_there(lake: TempLake, zone: str) -> None:
    lake.count_days_in(zone)
    lake.stream("learners", {"id": "BIGINT", "grade": "VARCHAR", "since": "DATE"})
    lake.declare("staging/stg_sessions", 'select id as session_id, learner as learner_id, "on" as day from sessions')
    lake.declare(
        "facts/fact_sessions",
        SESSIONS.format("").replace("started_at, ended_at", "day").replace("started_at", "day"),
    )
    lake.declare(
        "facts/fact_lengths",
        "/*\ngrain: session_id\nload: accumulating\nmilestones: [day, ended]\n*/\n"
        "select session_id, day, day + 1 as ended from stg_sessions",
    )
    lake.land("learners", [learner("1", "03-27"), learner("1", "03-27", 2)])
    lake.land("learners", [learner("2", "03-29")])
    lake.land("sessions", [{"id": n, "learner": 1, "on": f"2026-03-{n}"} for n in (28, 29)])
    assert dates(lake) == ["03-28", "03-29"]
    lake.build(dates=[date(2026, 3, 28), date(2026, 3, 29)])
    assert lake.rows(BUILT_DAYS) == [(28, 20260328), (29, 20260329)]
    grades = "SELECT grade FROM fact_sessions JOIN dim_learner USING (learner_key) ORDER BY session_id"
    assert lake.rows(grades) == [("1",), ("2",)]
    assert lake.rows("SELECT days_day_to_ended FROM fact_lengths") == [(1,), (1,)]
    shown = lake.rows(SNAPSHOT.replace("ORDER BY 1", "WHERE f.learner_id = 1 ORDER BY 1"))
    yesterday = "04-01" if zone == BERLIN else "03-31"
    assert shown == [("03-28", "1", "1"), ("03-29", "2", "2"), (yesterday, "2", "2")]
    assert lake.verify() == []


def test_a_restatement_is_of_days_there() -> None:
    moments = ["2026-03-28 22:59:59", "2026-03-28 23:00:00", "2026-03-29 21:59:59", "2026-03-29 22:00:00"]
    day = date(2026, 3, 29)
    within = Restate(day, day).within("t", Zone(BERLIN))
    rows = fresh_engine().rows(f"SELECT {within} FROM (SELECT unnest({moments}::TIMESTAMP[]) AS t) ORDER BY t")
    assert [found for (found,) in rows] == [False, True, True, False]


def test_an_edited_zone_builds_anew_what_it_matters_to_and_loses_no_row(lake: TempLake) -> None:
    lake.count_days_in("UTC")
    lake.declare("facts/fact_sessions", SESSIONS.format("restate_days: 3\n"))
    lake.land("learners", [learner("1", "03-27T12:00:00")])
    lake.land("sessions", [session(1, "03-10T23:30:00"), session(2, "03-31T23:30:00"), session(3, "03-12T12:00:00")])
    lake.build(dates=[date(2026, 3, 10), date(2026, 3, 31)])
    assert lake.rows(BUILT_DAYS) == [(1, 20260310), (2, 20260331)]
    lake.count_days_in(BERLIN)
    built = lake.build()
    assert "shop.fact_sessions was edited (added calendar_timezone): rebuilt" in built.notes
    strategies = {name: table.strategy for name, table in built.tables.items()}
    anew = {"dim_date", "fact_sessions", "fact_lengths", "fact_learner_snapshot", "fact_grade_months"}
    assert {name for name, strategy in strategies.items() if strategy == "rebuild"} == anew
    assert {strategies[name] for name in KEPT} == {"skip"}
    assert lake.rows(BUILT_DAYS) == [(1, 20260311), (2, 20260401)]
    assert lake.verify() == []
    lake.count_days_in("UTC")
    assert {name for name, table in lake.build().tables.items() if table.strategy == "rebuild"} == anew
    assert lake.rows(BUILT_DAYS) == [(1, 20260310), (2, 20260331)]
    assert lake.verify() == []


def test_with_utc_said_nothing_is_another(lake: TempLake) -> None:
    lake.count_days_in("UTC")
    lake.land("sessions", [session(1, "03-10T23:30:00")])
    lake.build()
    lake.count_days_in("Etc/UTC")
    assert {table.strategy for table in lake.build().tables.values()} == {"skip"}


def test_a_zone_that_is_none_is_told_with_its_line(lake: TempLake) -> None:
    lake.count_days_in("Europe/Berln")
    with pytest.raises(DeclarationError) as told:
        lake.build()
    assert str(told.value).endswith(
        "warehouse.yml:1: calendar_timezone: 'Europe/Berln' is no time zone. Did you mean 'Europe/Berlin'?"
    )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path / "project") as shop:
        yield shop


def test_a_run_is_for_yesterday_there(shop: Shop) -> None:
    shop.streams["sales"] = {"key": ["id"], "columns": {**STREAMS["sales"]["columns"], "sold_on": "TIMESTAMP"}}
    source = {"name": "till", "kind": "memory", "url": "memory:shop", "streams": shop.streams}
    shop.product.declare(NAME, source, calendar_timezone="Asia/Tokyo")
    shop.table(
        "facts/fact_sales",
        "/*\ngrain: sale_id\nload: by date\ndate: sold_on\n*/\nselect sale_id, sold_on, quantity, price, 0 as "
        "customer_key from stg_sales",
    )
    now = shop.clock.now()
    shop.clock.sleep((now.replace(hour=20, minute=0) - now).total_seconds())  # the day after there
    today = shop.clock.now().date()
    assert shop.lake().plan(NAME, None).target_date == today
    shop.say(customers=[], sales=[{"id": 1, "quantity": 1, "price": "1", "sold_on": f"{today}T14:59:00"}])
    job = shop.lake().run_job(NAME, "build_fact_sales", today)
    assert (job.status, list(job.dates)) == (Status.SUCCESS, [str(today)])


def test_a_scheduled_job_is_for_the_day_before_its_tick_there() -> None:
    tick = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
    job = Job.model_validate({"cron": "30 23 * * *", "tables": ["fact_sales"]})
    record = TickRecord(item="nightly", tick=tick, rule=job.rule, state=TickState.CLAIMED, at=tick)
    for zone, day in (("UTC", 1), (BERLIN, 2), (NEW_YORK, 1)):
        [part] = work_of([Item("nightly", job, Zone(zone))], [record]).parts
        assert part.date == date(2026, 3, day)
