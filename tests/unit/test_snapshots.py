"""Periodic and accumulating snapshots: what was so at a day's end, whenever it is asked."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake, fresh_engine
from test_dates import day, set_clock

from starberg.etl.explain import Compiler
from starberg.utils.errors import DeclarationError


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    set_clock(lake, datetime(2026, 3, 2, 2))
    lake.stream("projects", {"id": "BIGINT", "name": "VARCHAR"})
    lake.stream("issues", {"id": "BIGINT", "project": "BIGINT", "status": "VARCHAR", "changed": "TIMESTAMP"})
    lake.declare("staging/stg_projects", "select id as project_id, name from projects")
    lake.declare(
        "staging/stg_issues", "select id as issue_id, project as project_id, status, changed as changed_at from issues"
    )
    lake.declare(
        "dimensions/dim_project",
        "/*\nnatural_key: project_id\nhistory: type2\n*/\nselect project_id, name from stg_projects",
    )
    snapshot(lake)
    return lake


def snapshot(lake: TempLake, load: str = "snapshot daily", more: str = "") -> None:
    lake.declare(
        "facts/fact_issue_snapshot",
        f"/*\ngrain: [issue_id, day]\nload: {load}\ndate: day\nkeys:\n  project_key: dim_project(project_id)\n"
        f"times:\n  stg_issues: {{valid_from: changed_at}}\n{more}\n*/\n"
        "select i.issue_id, run_date() as day, i.status, p.name as project, "
        "date_diff('day', i.changed_at::date, run_date()) as age "
        "from stg_issues as i left join stg_projects as p using (project_id)",
    )


def land(lake: TempLake, stream: str, *records: dict[str, Any], whole: bool = False) -> None:
    lake.land(stream, list(records), whole=whole)


def issue(number: int, status: str, changed: str, project: int = 1) -> dict[str, Any]:
    return {"id": number, "project": project, "status": status, "changed": changed}


def rows(lake: TempLake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT day(day), issue_id, status, age FROM fact_issue_snapshot ORDER BY 1, 2")


def test_a_day_shows_what_was_so_at_its_end(lake: TempLake) -> None:
    land(lake, "projects", {"id": 1, "name": "North"})
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    assert lake.build().tables["fact_issue_snapshot"].dates == ["2026-03-01"]
    set_clock(lake, datetime(2026, 3, 3, 2))
    land(lake, "issues", issue(1, "closed", "2026-03-02T23:59:59"), issue(2, "open", "2026-03-03T00:00:00"))
    assert lake.build().tables["fact_issue_snapshot"].dates == ["2026-03-02"]
    assert rows(lake) == [(1, 1, "open", 0), (2, 1, "closed", 0)]
    set_clock(lake, datetime(2026, 3, 4, 2))
    lake.build()
    assert rows(lake)[2:] == [(3, 1, "closed", 1), (3, 2, "open", 0)]
    assert lake.verify() == []


def test_a_missed_day_is_noticed_and_built_as_of_that_day(lake: TempLake) -> None:
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    set_clock(lake, datetime(2026, 3, 5, 2))
    land(lake, "issues", issue(1, "closed", "2026-03-03T10:00:00"))
    assert lake.build().tables["fact_issue_snapshot"].dates == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert [row[2] for row in rows(lake)] == ["open", "open", "closed", "closed"]


def test_late_rows_restate_the_days_they_touch_and_no_others(lake: TempLake) -> None:
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    set_clock(lake, datetime(2026, 3, 5, 2))
    lake.build()
    land(lake, "issues", issue(1, "closed", "2026-03-03T10:00:00"))
    built = lake.build()
    assert built.tables["fact_issue_snapshot"].dates == ["2026-03-03", "2026-03-04"]
    assert built.changed["fact_issue_snapshot"] == (0, 2, 0)
    assert lake.verify() == []
    assert lake.build().tables["fact_issue_snapshot"].strategy == "skip"


def test_late_rows_past_restate_days_are_told(lake: TempLake) -> None:
    snapshot(lake, more="restate_days: 2")
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    set_clock(lake, datetime(2026, 3, 3, 2))
    lake.build()
    set_clock(lake, datetime(2026, 3, 6, 2))
    land(lake, "issues", issue(1, "closed", "2026-03-02T10:00:00"))
    built = lake.build()
    assert built.tables["fact_issue_snapshot"].dates == ["2026-03-04", "2026-03-05"]
    assert "2 days older than restate_days (2) changed or were never built, 2026-03-02 to 2026-03-03" in built.notes[0]
    lake.build(dates=[day(2), day(3)])
    assert [row[2] for row in rows(lake)] == ["open", *["closed"] * 4]
    assert lake.verify() == []


def test_an_issue_that_is_gone_is_in_the_days_before(lake: TempLake) -> None:
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    set_clock(lake, datetime(2026, 3, 3, 2))
    lake.land("issues", [], whole=True)
    set_clock(lake, datetime(2026, 3, 4, 2))
    lake.build(allow_deletes=["stg_issues"])
    assert [row[0] for row in rows(lake)] == [1, 2]
    assert lake.verify() == []


def test_keys_are_of_the_version_at_the_days_end(lake: TempLake) -> None:
    land(lake, "projects", {"id": 1, "name": "North"})
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    set_clock(lake, datetime(2026, 3, 3, 2))
    land(lake, "projects", {"id": 1, "name": "South"})
    set_clock(lake, datetime(2026, 3, 5, 2))
    lake.build()
    found = lake.rows("SELECT day(day), name FROM fact_issue_snapshot JOIN dim_project USING (project_key) ORDER BY 1")
    assert found == [(1, "North"), (2, "North"), (3, "South"), (4, "South")]


def test_a_day_that_is_not_over_is_not_built(lake: TempLake) -> None:
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    built = lake.build(dates=[day(1), day(2)])
    assert built.tables["fact_issue_snapshot"].dates == ["2026-03-01"]
    assert "2026-03-02 is not over" in built.notes[0]


def test_a_month_is_named_by_its_last_day_and_built_once_it_is_over(lake: TempLake) -> None:
    snapshot(lake, "snapshot monthly")
    land(lake, "issues", issue(1, "open", "2026-01-20T10:00:00"), issue(2, "open", "2026-02-20T10:00:00"))
    assert lake.build().tables["fact_issue_snapshot"].dates == ["2026-02-28"]
    assert lake.build(dates=[date(2026, 1, 3)]).tables["fact_issue_snapshot"].dates == ["2026-01-31"]
    months = "SELECT month(day), count(*) FROM fact_issue_snapshot GROUP BY 1 ORDER BY 1"
    assert lake.rows(months) == [(1, 1), (2, 2)]
    set_clock(lake, datetime(2026, 5, 1))
    assert lake.build().tables["fact_issue_snapshot"].dates == ["2026-03-31", "2026-04-30"]
    assert lake.verify() == []


def test_a_date_that_is_not_run_date_is_refused(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_issue_snapshot",
        "/*\ngrain: [issue_id, day]\nload: snapshot daily\ndate: day\n*/\n"
        "select issue_id, changed_at::date as day from stg_issues",
    )
    land(lake, "issues", issue(1, "open", "2026-01-20T10:00:00"))
    set_clock(lake, datetime(2026, 3, 3, 2))
    with pytest.raises(DeclarationError, match="day is not the day of the snapshot"):
        lake.build()


def test_edited_staging_builds_every_day_there_is_again(lake: TempLake) -> None:
    snapshot(lake, more="restate_days: 1")
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    set_clock(lake, datetime(2026, 3, 5, 2))
    lake.declare(
        "staging/stg_issues",
        "select id as issue_id, project as project_id, upper(status) as status, changed as changed_at, 1 as more "
        "from issues",
    )
    lake.build(dates=[day(4)])
    assert [row[:3] for row in rows(lake)] == [(1, 1, "OPEN"), (4, 1, "OPEN")]
    assert lake.verify() == []


def test_a_dimension_that_dates_changes_otherwise_builds_every_day_again(lake: TempLake) -> None:
    lake.stream("projects", {"id": "BIGINT", "name": "VARCHAR", "since": "TIMESTAMP"})
    lake.declare("staging/stg_projects", "select id as project_id, name, since from projects")
    dimension = "/*\nnatural_key: project_id\nhistory: type2\n{}*/\nselect project_id, name, since from stg_projects"
    lake.declare("dimensions/dim_project", dimension.format(""))
    land(lake, "projects", {"id": 1, "name": "North", "since": "2026-02-01"})
    land(lake, "issues", issue(1, "open", "2026-03-01T10:00:00"))
    lake.build()
    names = "SELECT project FROM fact_issue_snapshot"
    assert lake.rows(names) == [(None,)]  # the project was first seen on the day after
    lake.declare("dimensions/dim_project", dimension.format("valid_from: since\n"))
    lake.build()
    assert lake.rows(names) == [("North",)]
    assert lake.verify() == []


def test_a_column_that_the_source_adds_reaches_no_day(lake: TempLake) -> None:
    lake.stream("projects", {"id": "BIGINT", "name": "VARCHAR"}, undeclared="infer")
    lake.declare("staging/stg_projects", "select * from projects")
    lake.declare("dimensions/dim_project", "/*\nnatural_key: id\nhistory: type2\n*/\nselect id, name from stg_projects")
    lake.declare(
        "facts/fact_issue_snapshot",
        "/*\ngrain: [id, day]\nload: snapshot daily\ndate: day\n*/\n"
        "select id, run_date() as day, name from stg_projects",
    )
    land(lake, "projects", {"id": 1, "name": "North"})
    set_clock(lake, datetime(2026, 3, 5, 2))
    lake.build()
    land(lake, "projects", {"id": 1, "name": "North", "note": "seen"})
    assert lake.build().tables["fact_issue_snapshot"].dates == []
    assert lake.verify() == []


def test_a_table_that_is_no_snapshot_has_no_day(lake: TempLake) -> None:
    lake.declare("facts/fact_x", "/*\ngrain: issue_id\n*/\nselect issue_id, run_date() as day from stg_issues")
    with pytest.raises(DeclarationError, match=r"fact_x.sql:4:18: run_date\(\) is the day of a snapshot"):
        lake.build()


def test_an_accumulating_row_is_updated_as_milestones_are_reached(lake: TempLake) -> None:
    lake.stream("cycles", {"id": "BIGINT", "planned": "DATE", "started": "TIMESTAMP", "finished": "TIMESTAMP"})
    lake.declare(
        "staging/stg_cycles",
        "select id as cycle_id, planned as planned_on, started as started_at, finished as finished_at from cycles",
    )
    lake.declare(
        "facts/fact_cycle",
        "/*\ngrain: cycle_id\nload: accumulating\nmilestones: [planned_on, started_at, finished_at]\n*/\n"
        "select cycle_id, planned_on, started_at, finished_at from stg_cycles",
    )
    cycle = {"id": 1, "planned": "2026-03-01", "started": None, "finished": None}
    land(lake, "cycles", cycle)
    lake.build()
    lags = "SELECT days_planned_to_started, days_started_to_finished, days_planned_to_finished FROM fact_cycle"
    assert lake.rows(lags) == [(None, None, None)]
    cycle["started"] = "2026-03-04T23:00:00"
    land(lake, "cycles", cycle)
    assert lake.build().changed["fact_cycle"] == (0, 1, 0)
    cycle["finished"] = "2026-03-05T01:00:00"
    land(lake, "cycles", cycle)
    lake.build()
    assert lake.rows(lags) == [(3, 1, 4)]
    assert lake.verify() == []


def test_its_sql_can_be_read(lake: TempLake) -> None:
    engine = fresh_engine()
    sql = Compiler(lake.warehouse, engine).compiled(lake.warehouse.tables["fact_issue_snapshot"])
    assert 'CREATE TEMP VIEW "versions_stg_issues_fact_issue_snapshot" AS' in sql
    assert "DATE '2000-01-01' as day" in sql
