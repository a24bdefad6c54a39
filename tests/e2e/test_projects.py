"""The projects warehouse, lived and run day by day: its facts are what plain SQL says of the operational database.

The house's past ends three days ago; each day since is lived and then run for. What was deleted stays in the snapshots
of days on which it was there: after each run the database keeps what it had, in tables `ever_…`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from database import Database
from operations import Operations, asked

import starberg
from starberg.samples.operational.life import mutate
from starberg.samples.operational.seeding import seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import SYSTEMS

pytestmark = pytest.mark.proof

TODAY = datetime.now(UTC).date()
DAYS = [TODAY - timedelta(days=back) for back in (3, 2, 1)]
SIZE = Size(people=30, days=45, seed=3, until=datetime(DAYS[0].year, DAYS[0].month, DAYS[0].day, tzinfo=UTC))
UTC_DAY = "({} at time zone 'UTC')::date"
EVER = {"issues": "issue_id", "issue_status_history": "change_id", "expenses": "expense_id"}
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def house(source: Database, tmp_path_factory: pytest.TempPathFactory) -> Operations:
    system = SYSTEMS["projects"]
    house = Operations("projects", tmp_path_factory.mktemp("projects"), {"PROJECTS_DATABASE_URL": source.url})
    seed(system, lambda _: source.connect(), SIZE)
    source.run(*(f"create table ever_{table} as select * from {table} limit 0" for table in EVER))
    for number, day in enumerate(DAYS):
        mutate(system, lambda _: source.connect(), transactions=120, seed=number, day=day)
        assert house.run(date=day).status == "SUCCESS"
        _keep(source)
    mutate(system, lambda _: source.connect(), transactions=120, seed=99)
    house.run()  # what is due: yesterday, and each day whose rows changed since it was built
    _keep(source)
    return house


def _keep(source: Database) -> None:
    for table, key in EVER.items():
        source.run(
            f"delete from ever_{table} where {key} in (select {key} from {table})",
            f"insert into ever_{table} select * from {table}",
        )


def _issues(day: date) -> str:
    """Return SQL for each issue there was at the end of a day, with the last status it then had."""
    changed = UTC_DAY.format("h.changed_at")
    return (
        "select distinct on (i.issue_id) i.issue_id, i.project_id, h.status, h.story_points, "
        f"h.status in ('done', 'cancelled') as is_closed, date '{day}' - {UTC_DAY.format('i.created_at')} as age "
        "from ever_issues i join ever_issue_status_history h using (issue_id) "
        f"where {changed} <= date '{day}' order by i.issue_id, h.changed_at desc, h.change_id desc"
    )


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_an_issue_s_snapshot_is_what_its_history_says_of_the_day(
    house: Operations, source: Database, day: date
) -> None:
    there = asked(source, _issues(day))
    assert len(there) > 100
    columns = "issue_id, project_id, status, story_points, is_closed, age_days"
    where = f"where snapshot_on = date '{day}' and is_open <> is_closed"
    assert house.rows(f"select {columns} from fact_issue_snapshot {where} order by 1") == there


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_a_project_s_numbers_are_those_of_its_issues_and_expenses(
    house: Operations, source: Database, day: date
) -> None:
    done = (
        "select count(*) from i where i.project_id = p.project_id and is_closed and exists "
        "(select from ever_issue_status_history h "
        f"where h.issue_id = i.issue_id and h.status = 'done' and {UTC_DAY.format('h.changed_at')} = date '{day}')"
    )
    spent = "select coalesce(sum(amount), 0) from ever_expenses e where e.project_id = p.project_id and e.spent_on"
    there = asked(
        source,
        f"with i as ({_issues(day)}) "
        "select project_id, (select count(*) from i where i.project_id = p.project_id and not is_closed), "
        "(select count(*) from i where i.project_id = p.project_id and is_closed), "
        f"({done}), ({spent} <= date '{day}'), ({spent} = date '{day}') "
        f"from projects p where {UTC_DAY.format('created_at')} <= date '{day}' order by 1",
    )
    columns = "project_id, open_issues, closed_issues, throughput, spent, spent_today"
    assert house.rows(f"select {columns} from fact_project_kpi where kpi_on = date '{day}' order by 1") == there
    assert sum(row[4] for row in there) > 1000


@pytest.mark.usefixtures("house")
def test_late_rows_did_change_days_that_were_built(source: Database) -> None:
    for table, at in (("issue_status_history", "changed_at"), ("expenses", "spent_on")):
        [(late,)] = source.rows(
            f"select count(*) from {table} where updated_at > {at} + interval '30 hours' "
            f"and {UTC_DAY.format('updated_at')} > date '{DAYS[0]}'"
        )
        assert late > 0, table


def test_a_month_of_a_service_is_its_days_added_up(house: Operations, source: Database) -> None:
    month = TODAY.replace(day=1) - timedelta(days=1)
    there = asked(
        source,
        "select service_id, count(*), sum(requests)::bigint, sum(incidents)::bigint, "
        "round(1 - sum(downtime_minutes)::numeric / (count(*) * 1440), 6)::float8 from service_metrics "
        f"where measured_on between date '{month.replace(day=1)}' and date '{month}' group by 1 order by 1",
    )
    assert there
    columns = "service_id, days_measured, requests, incidents, availability"
    where = f"where month_end_on = date '{month}'"
    assert house.rows(f"select {columns} from fact_service_metric {where} order by 1") == there
    assert house.rows(f"select {columns} from mart_service_overview {where} order by 1") == there


def test_a_review_cycle_has_its_milestones_and_the_days_between(house: Operations, source: Database) -> None:
    started, reviewed, finished = (UTC_DAY.format(f"{name}_at") for name in ("started", "reviewed", "finished"))
    there = asked(
        source,
        f"select cycle_id, started_at, finished_at, {started} - planned_on, {reviewed} - {started}, "
        f"{finished} - {reviewed}, {finished} - planned_on, "
        "(select count(*) from reviews r where r.cycle_id = c.cycle_id), "
        "(select coalesce(sum(findings), 0) from reviews r where r.cycle_id = c.cycle_id)::bigint "
        "from review_cycles c order by 1",
    )
    lags = "days_planned_to_started, days_started_to_reviewed, days_reviewed_to_finished, days_planned_to_finished"
    columns = f"cycle_id, started_at, finished_at, {lags}, reviews, findings"
    assert house.rows(f"select {columns} from fact_review_cycle order by 1") == there
    assert {row[2] is None for row in there} == {True, False}


def test_bridges_are_the_pairs_of_the_source_and_weights_are_shares(house: Operations, source: Database) -> None:
    for bridge, table, pair, weight in (
        (
            "brg_project_service where is_current",
            "project_services",
            "project_id, service_id",
            "1.0 / count(*) over (partition by service_id)",
        ),
        ("brg_issue_review", "issue_reviews", "issue_id, review_id", "1.0 / count(*) over (partition by review_id)"),
        (
            "brg_project_user",
            "project_members",
            "project_id, user_id",
            "allocation::numeric / sum(allocation) over (partition by project_id)",
        ),
    ):
        there = asked(source, f"select {pair}, round({weight}, 6)::float8 from {table} order by 1, 2")
        assert there
        assert house.rows(f"select {pair}, round(weight, 6)::double from {bridge} order by 1, 2") == there


def test_a_service_s_costs_are_shared_by_the_projects_of_their_time(house: Operations) -> None:
    assert house.rows("select count(*) > 0 from brg_project_service where effective_to < now()::timestamp") == [(True,)]
    moments = "(select distinct effective_from as moment from brg_project_service)"
    then = "b.effective_from <= moment and (b.effective_to is null or b.effective_to > moment)"
    shared = f"select moment, service_id, sum(weight) from brg_project_service b join {moments} on {then} group by 1, 2"
    assert {round(weight, 6) for *_, weight in house.rows(shared)} == {1.0}
    wrong = (
        "select count(*) from brg_project_service b join dim_service s using (service_key) where s.service_key <> 0 "
        "and (b.service_id <> s.service_id or b.effective_from >= coalesce(s.effective_to, 'infinity'))"
    )
    assert house.rows(wrong) == [(0,)]


def test_what_is_found_in_a_text_is_with_its_issue(house: Operations, source: Database) -> None:
    sql = "select issue_id, category, sentiment, root_cause from {} order by 1"
    there = asked(source, sql.format("issue_analytics"))
    assert house.rows(sql.format("dim_issue where is_current and issue_key <> 0 and category is not null")) == there
    at = f"fact_issue_snapshot where snapshot_on = date '{DAYS[-1]}' and category is not null"
    known = {
        row[0]
        for row in asked(source, sql.format(f"issue_analytics where {UTC_DAY.format('updated_at')} < current_date"))
    }
    assert known <= {row[0] for row in house.rows(sql.format(at))}


def test_reviews_are_summed_up_by_project(house: Operations, source: Database) -> None:
    there = asked(
        source,
        "select project_id, count(distinct cycle_id), "
        "count(distinct cycle_id) filter (where finished_at is not null), count(review_id), "
        "coalesce(sum(findings), 0)::bigint "
        "from review_cycles c left join reviews r using (cycle_id) group by project_id order by 1",
    )
    columns = "project_id, cycles, finished, reviews, findings"
    assert house.rows(f"select {columns} from mart_review_summary order by 1") == there


def test_health_is_that_of_the_last_day(house: Operations) -> None:
    columns = "project_id, kpi_on, open_issues, overdue_issues, spent, budget"
    kpi = f"select {columns} from fact_project_kpi where kpi_on = date '{DAYS[-1]}' order by 1"
    assert house.rows(f"select {columns} from mart_project_health order by 1") == house.rows(kpi)
    [(worst,)] = house.rows("select count(*) from mart_project_health where health not in ('red', 'amber', 'green')")
    assert worst == 0


def test_a_caller_passes_a_check_as_the_readme_says(
    house: Operations, source: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (Path(starberg.__file__).parent / "warehouses" / "projects" / "README.md").read_text()
    [example] = re.findall(r"```python\n(.*?)\n```", readme, re.DOTALL)
    monkeypatch.setattr(starberg, "open_lake", lambda _: house.lake())
    mutate(SYSTEMS["projects"], lambda _: source.connect(), transactions=20, seed=5)
    said: dict[str, Any] = {}
    exec(example, said)
    _keep(source)
    assert said["result"].status == "SUCCESS"
    made = "select severity, status in ('passed', 'warned') from data_quality_results where check_name = '{}'"
    assert house.rows(made.format(said["unassigned"].name)) == [("warn", True)]


def test_building_the_days_again_changes_nothing(house: Operations) -> None:
    runs = list(house.lake().backfill("projects", DAYS[0], DAYS[-1], force=True))
    jobs = [job for run in runs for job in run.jobs]
    assert {job.target_date for job in jobs} == set(DAYS)
    assert {job.status for job in jobs} == {"SUCCESS"}
    assert sum(job.rows_inserted + job.rows_updated + job.rows_deleted for job in jobs) == 0
    assert house.lake().verify("projects").equal
