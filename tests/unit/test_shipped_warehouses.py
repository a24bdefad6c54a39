"""What the learning and projects warehouses declare is what their platforms were promised: tables, jobs, alerts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from starberg.etl.headers import BridgeHeader, DimensionHeader, FactHeader
from starberg.etl.model import Warehouse
from starberg.etl.project import load_warehouses, shipped_warehouses

WAREHOUSES = load_warehouses([shipped_warehouses()], {})
TYPE2 = {
    "learning": {"dim_tenant", "dim_learner"},
    "projects": {
        *("dim_client", "dim_project_type", "dim_project", "dim_issue", "dim_user", "dim_service", "dim_review_cycle"),
    },
}
TYPE1 = {"learning": {"dim_user", "dim_subject", "dim_skill", "dim_date"}, "projects": {"dim_date"}}
FACTS = {
    "learning": {
        "fact_sessions": "by date",
        "fact_focus_events": "by date",
        "fact_homework_events": "by date",
        "fact_learning_progress": "snapshot daily",
        "fact_recommendation_events": "by date",
    },
    "projects": {
        "fact_issue_snapshot": "snapshot daily",
        "fact_service_metric": "snapshot monthly",
        "fact_review_cycle": "accumulating",
        "fact_project_kpi": "snapshot daily",
    },
}
HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
JOBS = {
    "sync_dim_tenant": (HOUR, QUARTER),
    "sync_dim_learner": (HOUR, QUARTER),
    "sync_dim_user": (HOUR, QUARTER),
    "sync_dim_subject": ("0 0 * * *", QUARTER),
    "sync_dim_skill": ("0 0 * * *", QUARTER),
    "build_fact_sessions": ("0 2 * * *", HOUR),
    "build_fact_focus_events": ("0 2 * * *", HOUR),
    "build_fact_homework_events": ("0 2 * * *", HOUR),
    "build_fact_recommendation_events": ("0 2 * * *", HOUR),
    "build_fact_learning_progress": ("0 3 * * *", HOUR),
}


@pytest.mark.parametrize("name", FACTS)
def test_dimensions_and_facts_are_of_the_kinds_asked_for(name: str) -> None:
    tables = WAREHOUSES[name].tables.values()
    dimensions = {table.name: table.header for table in tables if isinstance(table.header, DimensionHeader)}
    assert {table for table, header in dimensions.items() if header.is_type2} == TYPE2[name]
    assert dimensions.keys() - TYPE2[name] == TYPE1[name]
    facts = {table.name: table.header.load for table in tables if isinstance(table.header, FactHeader)}
    assert facts == FACTS[name]


def test_late_rows_restate_five_weeks_of_learning() -> None:
    headers = [table.header for table in WAREHOUSES["learning"].tables.values()]
    assert {header.restate_days for header in headers if isinstance(header, FactHeader)} == {35}


def test_the_jobs_of_learning_have_their_times_and_windows() -> None:
    jobs = WAREHOUSES["learning"].jobs
    assert {name: (job.every or job.cron, job.window) for name, job in jobs.items()} == JOBS


def test_projects_runs_daily_and_shares_what_is_shared() -> None:
    projects = WAREHOUSES["projects"]
    assert {schedule.cron for schedule in projects.schedules.values()} == {"0 1 * * *"}
    headers = {table.name: table.header for table in projects.tables.values()}
    weights = {name: header.weight for name, header in headers.items() if isinstance(header, BridgeHeader)}
    assert weights == {"brg_project_service": "equal", "brg_issue_review": "equal", "brg_project_user": "declared"}
    assert {name for name in headers if name.startswith("mart_")} == {
        *("mart_project_health", "mart_service_overview", "mart_review_summary"),
    }
    assert projects.library.keys() == {"ctl_etl_run", "ctl_data_quality_result", "ctl_watermark"}
    assert "stg_processed_analytics" in headers


@pytest.mark.parametrize("warehouse", [WAREHOUSES[name] for name in WAREHOUSES], ids=lambda warehouse: warehouse.name)
def test_every_warehouse_tells_who_is_to_be_told(warehouse: Warehouse) -> None:
    assert warehouse.alerts is not None
    assert list(warehouse.alerts.to) == ["ALERT_URLS"]


@pytest.mark.parametrize("name", FACTS)
def test_tables_check_themselves_by_their_headers(name: str) -> None:
    checked = [table for table in WAREHOUSES[name].tables.values() if getattr(table.header, "checks", [])]
    kinds = {check.what for table in checked for check in table.header.checks}  # type: ignore[union-attr]
    assert kinds >= {"accepted", "range", "identity", "relationship", "freshness", "not_null"}
