"""Bridges with history: a pair for every span in which it, its weight and its members' versions were so."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake, fresh_engine
from test_dates import set_clock

from starberg.etl.explain import Compiler


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    set_clock(lake, datetime(2026, 3, 1))
    lake.stream("projects", {"id": "BIGINT", "name": "VARCHAR", "services": "VARCHAR[]"})
    lake.stream("services", {"code": "VARCHAR", "tier": "VARCHAR"}, key="code")
    lake.declare("staging/stg_projects", "select id as project_id, name, services from projects")
    lake.declare("staging/stg_services", "select code, tier from services")
    lake.declare(
        "dimensions/dim_service", "/*\nnatural_key: code\nhistory: type2\n*/\nselect code, tier from stg_services"
    )
    lake.declare(
        "bridges/brg_project_service",
        "/*\ngrain: [project_id, code]\nhistory: type2\nweight: equal\nkeys:\n  service_key: dim_service(code)\n*/\n"
        "select p.project_id, s.code from stg_projects as p cross join unnest(p.services) as s(code)",
    )
    lake.land("services", [{"code": "db", "tier": "gold"}, {"code": "web", "tier": "gold"}])
    project(lake, 1, ["db"])
    lake.build()
    return lake


def project(lake: TempLake, on: int, services: list[str], name: str = "North") -> None:
    set_clock(lake, datetime(2026, 3, on))
    lake.land("projects", [{"id": 1, "name": name, "services": services}])


def rows(
    lake: TempLake, columns: str = "code, day(effective_from), day(effective_to), weight"
) -> list[tuple[Any, ...]]:
    return lake.rows(f"SELECT {columns} FROM brg_project_service ORDER BY code, effective_from")


def test_a_pair_that_is_no_more_keeps_its_span(lake: TempLake) -> None:
    project(lake, 5, ["web"])
    lake.build()
    assert rows(lake) == [("db", 1, 5, 1), ("web", 5, None, 1)]
    assert rows(lake, "code, is_current") == [("db", False), ("web", True)]


def test_weights_change_with_the_pairs_of_the_group(lake: TempLake) -> None:
    project(lake, 5, ["db", "web"])
    project(lake, 9, ["db"])
    lake.build()
    assert rows(lake) == [("db", 1, 5, 1), ("db", 5, 9, 0.5), ("db", 9, None, 1), ("web", 5, 9, 0.5)]
    assert lake.verify() == []


def test_what_does_not_touch_the_pair_starts_no_span(lake: TempLake) -> None:
    project(lake, 5, ["db"], name="South")
    assert "brg_project_service" not in lake.build().changed
    assert rows(lake) == [("db", 1, None, 1)]


def test_a_span_ends_with_its_members_version_also_if_the_dimension_alone_is_built(lake: TempLake) -> None:
    set_clock(lake, datetime(2026, 3, 7))
    lake.land("services", [{"code": "db", "tier": "silver"}])
    assert lake.build(only=["stg_services", "dim_service"]).changed["brg_project_service"] == (1, 1, 0)
    found = lake.rows(
        "SELECT day(b.effective_from), day(b.effective_to), tier FROM brg_project_service b "
        "JOIN dim_service USING (service_key) ORDER BY 1"
    )
    assert found == [(1, 7, "gold"), (7, None, "silver")]
    assert lake.verify() == []


def test_its_sql_can_be_read(lake: TempLake) -> None:
    sql = Compiler(lake.warehouse, fresh_engine()).compiled(lake.warehouse.tables["brg_project_service"])
    assert 'CREATE TEMP VIEW "versions_stg_projects" AS' in sql
