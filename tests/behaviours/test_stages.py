"""A run in stages, each a command of its own: the same as a run in one, whatever is tried again or dies."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import At, Step, Steps
from shop import CUSTOMERS, NAME, SALES, Shop, opened

from starberg.entrypoints.bootstrap import open_lake
from starberg.etl.results import RunResult, Stage, Status
from starberg.storage.lease import PARKED, leases
from starberg.utils.errors import Busy, CheckFailed, UsageError
from starberg.utils.settings import Settings

MORE = [*SALES, {"id": 6, "customer": 2, "channel": "web", "quantity": 1, "price": "9.00", "sold_on": "2020-03-01"}]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path / "project") as shop:
        shop.say(customers=CUSTOMERS, sales=SALES)
        yield shop


def do(shop: Shop, *stages: str, run_id: str = "dag-1", **how: Any) -> RunResult:
    for stage in stages:
        shop.clock.sleep(60)
        result = shop.lake().run_stage(NAME, Stage(stage), run_id, wait_s=0, **how)
    return result


def died(shop: Shop) -> None:
    """Make the parked lease that of a process that was killed."""
    [lease] = leases(shop.lake().store)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = lease.model_copy(update={"pid": ended.pid})
    shop.lake().store.put(f"leases/{NAME}.json", dead.model_dump_json().encode())


def test_stage_by_stage_a_run_publishes_what_a_run_in_one_does(shop: Shop, tmp_path: Path) -> None:
    assert do(shop, "ingest").status is Status.RUNNING
    assert do(shop, "build", "check").status is Status.RUNNING
    assert shop.tables() == {}
    [running] = shop.lake().status(NAME)
    assert (running["run_id"], running["status"]) == ("dag-1", "RUNNING")
    result = do(shop, "publish")
    assert (result.status, len(result.loads)) == (Status.SUCCESS, 2)
    assert {"fact_sales", "dim_customer", "mart_cities"} <= {table.name for table in result.tables}
    assert shop.content() == shop.built_anew(tmp_path / "anew")
    [row] = shop.rows("select run_id, status, duration_ms, rows_inserted, seconds_by_stage from etl_runs")
    assert row[:2] == ("dag-1", "SUCCESS")
    assert row[2] >= 180_000  # from the first stage on
    assert row[3] == sum(table.rows_inserted for table in result.tables)
    assert all(f'"{stage}"' in row[4] for stage in ("ingest", "build", "check"))
    assert shop.rows("select count(*) > 0, min(status) from data_quality_results") == [(True, "passed")]
    assert leases(shop.lake().store) == []
    assert shop.lake().catalog.branches() == []
    assert shop.run().status is Status.SKIPPED


def test_a_run_in_stages_without_changes_is_skipped(shop: Shop) -> None:
    shop.run()
    before = shop.tables()
    assert do(shop, *Stage).status is Status.SKIPPED
    assert shop.tables() == before
    assert shop.lake().status(NAME)[0]["run_id"] == "dag-1"


def test_each_stage_may_be_asked_for_twice(shop: Shop, tmp_path: Path) -> None:
    for stage in Stage:
        do(shop, stage, stage)
    do(shop, *Stage)
    assert shop.content() == shop.built_anew(tmp_path / "anew")
    assert shop.rows("select count(*) from etl_runs") == [(1,)]
    twice = "select count(*) from data_quality_results group by check_name, table_name having count(*) > 1"
    assert shop.rows(twice) == []


@pytest.mark.parametrize(
    ("done", "asked"), [([], "build"), ([], "publish"), (["ingest"], "check"), (["ingest"], "publish")]
)
def test_a_stage_out_of_order_is_refused_and_harms_nothing(shop: Shop, done: list[str], asked: str) -> None:
    if done:
        do(shop, *done)
    following = list(Stage)[len(done)]
    with pytest.raises(UsageError, match=f"run dag-1 has .*: {asked} is not its turn. Next is --stage {following}."):
        do(shop, asked)
    do(shop, *[stage for stage in Stage if stage not in done])
    assert shop.rows("select count(*) from fact_sales") == [(5,)]


def test_between_stages_others_wait_until_the_run_seems_given_up(shop: Shop) -> None:
    do(shop, "ingest", "build")
    with pytest.raises(Busy, match="run dag-1 holds warehouse shop"):
        shop.run(wait_s=0)
    shop.clock.sleep(PARKED.total_seconds())
    assert shop.run(wait_s=0).status is Status.SUCCESS
    with pytest.raises(UsageError, match="run dag-1 has ended and was not published"):
        do(shop, "check")
    assert shop.rows("select run_id = 'dag-1', status from etl_runs order by 1") == [
        (False, "SUCCESS"),
        (True, "FAILED"),
    ]
    assert shop.lake().catalog.branches() == []


def test_a_killed_stage_is_tried_again_unless_another_run_took_over(shop: Shop) -> None:
    do(shop, "ingest")
    died(shop)
    do(shop, "build")
    died(shop)
    do(shop, "check", "publish")
    assert shop.rows("select run_id, status from etl_runs") == [("dag-1", "SUCCESS")]
    shop.say(sales=MORE)
    do(shop, "ingest", "build", run_id="dag-2")
    died(shop)
    shop.run(wait_s=0)
    with pytest.raises(UsageError, match="run dag-2 has ended"):
        do(shop, "check", run_id="dag-2")
    assert shop.rows("select count(*) from fact_sales") == [(6,)]


class Killed(BaseException):
    """What a process that is killed would not live to see."""


def killed(shop: Shop, stage: Stage, at: At) -> bool:
    """Do a stage till a step, after which nothing it does has any effect; return whether there was such a step."""
    dead = False

    def hook(step: Step) -> None:
        nonlocal dead
        dead = dead or at.fits(step)
        if dead:
            raise Killed

    settings = Settings.load(shop.product.folder, {"STARBERG_HOME": str(shop.product.home)}, {})
    lake = open_lake(settings, clock=shop.clock, wrap=Steps(hook).wrap)
    with contextlib.suppress(Killed):
        lake.run_stage(NAME, stage, "dag-1", wait_s=0)
    return dead


ONCE = """
select 'etl_runs', run_id, '' from etl_runs union all
select 'etl_table_runs', run_id, table_name from etl_table_runs union all
select 'data_quality_results', run_id, check_name || table_name from data_quality_results
"""


def check_published_once(shop: Shop, status: Status) -> None:
    assert status is Status.SUCCESS
    assert len(set(rows := shop.rows(ONCE))) == len(rows) > 10
    assert shop.rows("select run_id, status from etl_runs") == [("dag-1", "SUCCESS")]
    assert shop.rows("select count(*) from fact_sales") == [(5,)]
    assert shop.run(wait_s=0).status is Status.SKIPPED
    assert (leases(shop.lake().store), shop.lake().catalog.branches()) == ([], [])


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        (Stage.INGEST, At("after", "put", "manifest.json")),
        (Stage.BUILD, At("after", "create_branch")),
        (Stage.BUILD, At("after", "move")),
        (Stage.PUBLISH, At("after", "move")),
        (Stage.PUBLISH, At("after", "publish")),
    ],
    ids=str,
)
def test_a_stage_killed_half_way_is_tried_again(shop: Shop, stage: Stage, at: At) -> None:
    if earlier := list(Stage)[: list(Stage).index(stage)]:
        do(shop, *earlier)
    assert killed(shop, stage, at)
    shop.feed.next.clear()
    shop.say(customers=CUSTOMERS, sales=SALES)
    check_published_once(shop, do(shop, *Stage).status)


@pytest.mark.proof
def test_a_stage_killed_at_any_step_is_tried_again(shop: Shop) -> None:
    """At each step of the publish, and at one in five of the stages before."""
    shop.keep()
    for place, stage in enumerate(Stage):
        number = 0
        while True:
            number += 1 if stage is Stage.PUBLISH else 5
            shop.put_back()
            shop.say(customers=CUSTOMERS, sales=SALES)
            if place:
                do(shop, *list(Stage)[:place])
            if not killed(shop, stage, At(number=number)):
                break
            shop.feed.next.clear()
            shop.say(customers=CUSTOMERS, sales=SALES)
            check_published_once(shop, do(shop, *Stage).status)
        assert number > 10 or stage is Stage.CHECK


def test_a_check_that_fails_ends_the_run_and_its_branch_can_be_asked(shop: Shop) -> None:
    shop.table("checks/never", "select sale_id from fact_sales")
    do(shop, "ingest", "build")
    with pytest.raises(CheckFailed, match="the first: never, 5 rows"):
        do(shop, "check")
    assert shop.rows("select count(*) from fact_sales", at="dag-1") == [(5,)]
    assert shop.rows("select run_id, status from etl_runs") == [("dag-1", "FAILED")]
    assert shop.rows("select failures from data_quality_results where check_name = 'never'") == [(5,)]
    with pytest.raises(UsageError, match="run dag-1 has ended and was not published"):
        do(shop, "publish")
    (shop.product.folder / "warehouses" / NAME / "checks" / "never.sql").unlink()
    assert do(shop, *Stage, run_id="dag-2").status is Status.SUCCESS


@pytest.mark.parametrize("run_id", ["scheduled__2026-11-22T02:00:00+00:00", "2026-11-22", "x.log", "7"])
def test_what_cannot_be_a_run_id_is_refused(shop: Shop, run_id: str) -> None:
    with pytest.raises(UsageError, match="is no run id"):
        do(shop, "ingest", run_id=run_id)


def test_the_command_asks_for_both_and_for_whole_runs(shop: Shop) -> None:
    assert "belong together" in shop.product("run", NAME, "--stage", "build").complaint
    assert "belong together" in shop.product("run", NAME, "--run-id", "x").complaint
    both = ("run", NAME, "--stage", "build", "--run-id", "x")
    assert "no --date" in shop.product(*both, "--date", "2026-01-01").complaint
    answer = shop.product(*both)
    assert (answer.code, answer.complaint) == (2, "run x has not begun: build is not its turn. Next is --stage ingest.")
