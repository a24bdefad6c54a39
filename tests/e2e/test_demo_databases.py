"""`starberg demo retail` and `demo mafia`: what they answer is what their databases hold, and they go on."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from shown import Shown, typed

from starberg.samples.demos import DEMOS
from starberg.samples.embedded_postgres import EmbeddedPostgres

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module", params=["retail", "mafia"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown.twice(request.param, tmp_path_factory.mktemp("demo"))


@contextmanager
def source(shown: Shown) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(shown.home / "demo" / shown.warehouse) as server:
        yield server


def asked(server: EmbeddedPostgres, database: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_it_loads_changes_and_loads_again(shown: Shown) -> None:
    assert shown.first["run"]["status"] == shown.first["run_after_changes"]["status"] == "SUCCESS"
    changes = {line["kind"]: line for line in shown.first["changes"]}
    assert changes["all"]["late"] > 0
    assert all(changes["all"][did] > 0 for did in ("inserted", "updated", "deleted"))


def test_a_second_demo_goes_on_where_the_first_stopped(shown: Shown) -> None:
    assert shown.second["run"]["status"] == "SKIPPED"
    assert shown.second["run_after_changes"]["status"] == "SUCCESS"
    first, second = ({row["table"]: row["rows"] for row in demo["tables"]} for demo in (shown.first, shown.second))
    fact = next(table for table in first if ".fact_" in table or "dwh_fact" in table)
    assert second[fact] > first[fact] * 0.99


def test_a_run_that_finds_nothing_new_asks_little_of_the_store(shown: Shown) -> None:
    [row] = shown.rows(f"select store_requests from etl_runs where run_id = '{shown.second['run']['run_id']}'")
    assert row["store_requests"] <= 50


def test_every_question_has_an_answer(shown: Shown) -> None:
    assert list(shown.second["answers"]) == list(DEMOS[shown.warehouse].questions)
    assert all(shown.second["answers"].values())


def test_somebody_has_versions(shown: Shown) -> None:
    [versions, *_] = shown.second["answers"].values()
    assert len(versions) > 1
    assert [version["is_current"] for version in versions[:-1]] == [False] * (len(versions) - 1)
    for before, after in itertools.pairwise(versions):
        assert before["effective_to"] <= after["effective_from"]


def test_what_it_offers_to_type_next_works(shown: Shown) -> None:
    assert len(shown.first["next"]) > 1
    for command in shown.first["next"]:
        assert shown.answer(command)


def test_current_versions_are_the_people_there_are(shown: Shown) -> None:
    dimension, key, database, table = {
        "retail": ("dwh_dim_customers", "customer_id", "operations", "customers"),
        "mafia": ("dim_users", "user_id", "user_service", "users"),
    }[shown.warehouse]
    with source(shown) as server:
        there = asked(server, database, f"select {key}, email from {table} order by 1")
    found = shown.rows(f"select {key}, email from {dimension} where is_current and {key} is not null order by 1")
    assert [(row[key], row["email"]) for row in found] == there


def test_sums_are_those_of_the_source(shown: Shown) -> None:
    """Late commits, cancelled rows and returns included, by day and to the cent."""
    fact, time, database, table = {
        "retail": ("dwh_fact_sales", "transaction_date", "operations", "sales"),
        "mafia": ("fact_transactions", "created_at", "user_service", "currency_transactions"),
    }[shown.warehouse]
    by_day = "select {0}::date::text as day, count(*) as n, sum(amount)::text as amount from {1} group by 1 order by 1"
    with source(shown) as server:
        there = asked(server, database, "set timezone to 'UTC'; " + by_day.format(time, table))
    found = shown.rows(by_day.format(time, fact))
    assert [tuple(row.values()) for row in found] == there


def test_a_demo_that_is_interrupted_leaves_nothing_running_and_can_be_typed_again(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "starberg", "--home", str(tmp_path / "home"), "demo", "retail"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "stage build" in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        process.stderr.read()
    assert process.returncode == 130
    folder = tmp_path / "home" / "demo" / "retail"
    assert not (folder / "data" / "postmaster.pid").exists()
    with EmbeddedPostgres(folder) as server:
        assert asked(server, "operations", "select count(*) > 30000 from sales") == [(True,)]
    again = json.loads(typed("--home", "home", "--quiet", "--json", "demo", "retail", cwd=tmp_path))
    assert again["run_after_changes"]["status"] == "SUCCESS"
