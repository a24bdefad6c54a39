"""Other engines over the lake: the rows that DuckDB has, every question of the demos, the states of the past."""

from __future__ import annotations

from typing import Any

import pytest
from answers import counted

from starberg.entrypoints.lake import Lake
from starberg.entrypoints.library import Library
from starberg.etl.model import Kind
from starberg.samples.demos import DEMOS
from starberg.utils.errors import UsageError

QUESTIONS = [(warehouse, question) for warehouse, demo in DEMOS.items() for question in demo.questions]


pytestmark = pytest.mark.parametrize("engine", ["trino", "spark"])


def asked(
    lake: Lake, engine: str, sql: str, warehouse: str | None = None, at: str | None = None
) -> list[tuple[Any, ...]]:
    return list(lake.query(sql, warehouse=warehouse, at=at, engine=engine).rows)


@pytest.mark.parametrize("warehouse", DEMOS)
def test_every_table_and_view_has_the_rows_that_duckdb_finds(lake: Lake, warehouse: str, engine: str) -> None:
    names = [row["table"] for row in lake.tables(warehouse)]
    names += Library(lake.warehouses, lake.look()).names(Kind.VIEW, warehouse)
    assert len(names) > 15
    for name in names:
        wanted = counted(lake.query(f"select * from {name}").rows)
        assert counted(asked(lake, engine, f"select * from {name}")) == wanted, name


@pytest.mark.parametrize(("warehouse", "question"), QUESTIONS, ids=lambda text: text.replace(" ", "-"))
def test_every_question_of_the_demos_has_the_same_answer(
    lake: Lake, warehouse: str, question: str, engine: str
) -> None:
    sql = DEMOS[warehouse].questions[question]
    if sql.startswith("CALL"):
        with pytest.raises(UsageError, match="one SELECT is wanted"):
            asked(lake, engine, sql, warehouse)
        call, _, _ = sql.removeprefix("CALL ").partition(";")
        sql = f"SELECT * FROM {call}"
    wanted = list(lake.query(sql, warehouse=warehouse).rows)
    found = asked(lake, engine, sql, warehouse)
    if "ORDER BY" in sql:
        assert list(counted(found)) == list(counted(wanted)), "in this order, too"
    assert counted(found) == counted(wanted)


def test_a_state_of_the_past_is_seen(lake: Lake, engine: str) -> None:
    *_, first = [run["run_id"] for run in lake.status("retail") if run["status"] == "SUCCESS"]
    sql = "select count(*) as n, count(distinct customer_key) as customers from dwh_fact_sales"
    then = list(lake.query(sql, warehouse="retail", at=first).rows)
    assert asked(lake, engine, sql, "retail", first) == then
    assert then != list(lake.query(sql, warehouse="retail").rows)
