"""Jobs and dates: what runs, what is skipped, what is written down of it, whatever the order and whoever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from shop import CUSTOMERS, NAME, Shop, opened

from starberg.etl.jobs import date_range, picked, planned, written
from starberg.etl.results import JobResult, RunResult, Status
from starberg.storage.lease import hold
from starberg.utils.errors import CheckFailed, DeclarationError, UsageError

FIRST, LAST = date(2026, 11, 14), date(2026, 11, 20)  # the shop's clock stands at the 21st
FACT = """/*
grain: sale_id
load: by date
date: sold_on
keys:
  customer_key: dim_customer(customer_id)
  sold_key: dim_date(sold_on)
*/
select sale_id, customer_id, quantity, price, sold_on from stg_sales where sold_on is not null"""
JOBS = {
    "sync_dim_customer": {"every": "1h", "window": "15m"},
    "build_fact_sales": {"cron": "0 2 * * *", "window": "60m"},
}


def sale(number: int, day: date, quantity: int = 1) -> dict[str, Any]:
    what = {"id": number, "customer": number % 3, "channel": "web", "quantity": quantity, "price": "1.50"}
    return {**what, "sold_on": str(day)}


SALES = [sale(10 * n + k, FIRST + timedelta(days=n)) for n in range(7) for k in range(n + 1)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path / "project") as shop:
        shop.table("facts/fact_sales", FACT)
        declare(shop, jobs=JOBS)
        shop.say(customers=CUSTOMERS, sales=SALES)
        yield shop


def declare(shop: Shop, **more: object) -> None:
    streams = {name: {"undeclared": "ignore", **stream} for name, stream in shop.streams.items()}
    source = {"name": "till", "kind": "memory", "url": "memory:shop", "streams": streams}
    shop.product.declare(NAME, source, **more)


def by_name(result: RunResult) -> dict[str, JobResult]:
    return {job.job_name: job for job in result.jobs}


def days(shop: Shop) -> dict[date, int]:
    return dict(shop.rows("select sold_on, count(*) from fact_sales group by all order by all"))  # type: ignore[arg-type]


def facts(shop: Shop) -> list[tuple[Any, ...]]:
    columns = "sale_id, quantity, price, sold_on, name"
    return shop.rows(f"select {columns} from fact_sales join dim_customer using (customer_key) order by all")


def test_a_date_is_built_skipped_the_second_time_and_built_again_when_forced(shop: Shop) -> None:
    first = by_name(shop.run(date=LAST))
    assert (first["build_fact_sales"].status, first["build_fact_sales"].rows_inserted) == (Status.SUCCESS, 7)
    assert first["sync_dim_customer"].status == Status.SUCCESS
    assert days(shop) == {LAST: 7}
    second = shop.run(date=LAST)
    assert {job.status for job in second.jobs} == {Status.SKIPPED}
    forced = by_name(shop.run(date=LAST, force=True))["build_fact_sales"]
    assert (forced.status, forced.rows_processed) == (Status.SUCCESS, 0)
    logged = shop.rows("select job_name, target_date, status from etl_job_runs order by started_at, 1")
    assert len(logged) == 6
    assert {row[1] for row in logged} == {LAST}
    assert [job["status"] for run in shop.lake().status(NAME) for job in run["jobs"] if job["job"][0] == "b"] == [
        "SUCCESS",
        "SKIPPED",
        "SUCCESS",
    ]


def test_counts_are_the_differences_of_the_tables(shop: Shop) -> None:
    shop.run(date=LAST)
    before = set(facts(shop))
    changed = [*SALES[:-2], sale(64, LAST, quantity=5), sale(99, LAST)]  # one updated, one gone, one new
    shop.say(sales=changed)
    job = shop.lake().run_job(NAME, "build_fact_sales", LAST, force=True)
    after = set(facts(shop))
    gone, new = {row[0] for row in before - after}, {row[0] for row in after - before}
    counts = (job.rows_inserted, job.rows_updated, job.rows_deleted)
    assert counts == (len(new - gone), len(new & gone), len(gone - new))
    assert counts != (0, 0, 0)
    [logged] = shop.rows(
        "select rows_inserted, rows_updated, rows_deleted, rows_processed, dates "
        f"from etl_job_runs where run_id = '{job.run_id}'"
    )
    assert logged == (*counts, sum(counts), str(LAST))


def test_a_backfill_in_any_order_and_after_a_failure_makes_the_same_tables(shop: Shop) -> None:
    lake = shop.lake()
    results = [job for run in lake.backfill(NAME, FIRST, LAST) for job in run.jobs]
    assert [job.target_date for job in results] == list(date_range(FIRST, LAST))
    assert [job.rows_inserted for job in results] == [1, 2, 3, 4, 5, 6, 7]
    wanted = facts(shop)
    assert {job.status for run in lake.backfill(NAME, FIRST, LAST) for job in run.jobs} == {Status.SKIPPED}
    forced = [job for run in lake.backfill(NAME, FIRST, LAST, force=True) for job in run.jobs]
    assert {(job.status, job.rows_processed) for job in forced} == {(Status.SUCCESS, 0)}
    assert facts(shop) == wanted
    assert shop.lake().verify(NAME).equal


def test_a_stopped_backfill_goes_on_where_it_was(shop: Shop) -> None:
    runs = shop.lake().backfill(NAME, FIRST, LAST)
    next(runs), next(runs)
    runs.close()  # type: ignore[attr-defined]
    shop.lake().run_job(NAME, "build_fact_sales", LAST)
    left = [job for run in shop.lake().backfill(NAME, FIRST, LAST) for job in run.jobs]
    skipped = {job.target_date for job in left if job.status is Status.SKIPPED}
    assert skipped == {FIRST, FIRST + timedelta(days=1), LAST}
    assert list(days(shop).values()) == [1, 2, 3, 4, 5, 6, 7]


def test_a_plain_run_builds_what_is_due_and_says_which_days(shop: Shop) -> None:
    [done] = [job for job in shop.run().jobs if job.job_name == "build_fact_sales"]
    assert (done.target_date, done.rows_inserted) == (LAST, sum(days(shop).values()))
    late = FIRST + timedelta(days=2)
    shop.say(sales=[*SALES, sale(999, late)])
    again = by_name(shop.run())["build_fact_sales"]
    assert (again.status, again.rows_inserted, list(again.dates)) == (Status.SUCCESS, 1, [str(late)])
    assert by_name(shop.run())["build_fact_sales"].status == Status.SKIPPED


def test_a_failed_check_fails_the_jobs_and_leaves_what_was_published(shop: Shop) -> None:
    shop.run(date=FIRST)
    before = facts(shop)
    shop.say(sales=[*SALES, {**sale(999, LAST), "price": "-1"}])
    with pytest.raises(CheckFailed):
        shop.run(date=LAST)
    assert facts(shop) == before
    failed = shop.rows("select job_name, error_message from etl_job_runs where status = 'FAILED' order by 1")
    assert [name for name, _ in failed] == ["build_fact_sales", "sync_dim_customer"]
    assert all("prices_are_positive" in error for _, error in failed)
    assert {job.job_name: job.status for job in shop.lake().jobs(NAME)}["build_fact_sales"] == "FAILED"


def test_jobs_of_a_run_at_work_are_running_and_of_a_dead_one_failed(shop: Shop) -> None:
    lake = shop.lake()
    declared = lake.warehouse(NAME)
    jobs = planned(declared, picked(declared, None), LAST, [])
    nobody = lake.store, NAME, "20261121-110000-dead00", shop.clock
    with hold(*nobody, wait_s=0, reclaim=lambda _: None, about=written(jobs)):
        [run] = lake.status(NAME)
        assert {job["status"] for job in run["jobs"]} == {"RUNNING"}
        kept = lake.store.get(f"leases/{NAME}.json")
    lake.store.put(f"leases/{NAME}.json", kept)
    shop.clock.sleep(600)
    shop.run(date=LAST)
    rows = shop.rows("select job_name, status from etl_job_runs where run_id like '%dead00' order by 1")
    assert rows == [("build_fact_sales", "FAILED"), ("sync_dim_customer", "FAILED")]


def test_jobs_over_dimensions_and_over_facts_run_by_themselves(shop: Shop) -> None:
    [dimension] = shop.lake().run_dimensions(NAME)
    assert (dimension.job_name, dimension.rows_inserted) == ("sync_dim_customer", 3)  # with the unknown member
    [fact] = shop.lake().run_facts(NAME, FIRST)
    assert (fact.job_name, fact.rows_inserted) == ("build_fact_sales", 1)


def test_a_plan_says_what_is_due_and_why_and_changes_nothing(shop: Shop) -> None:
    shop.run(date=LAST)
    before = shop.lake().catalog.state().tables
    plan = {job.job_name: job for job in shop.lake().plan(NAME, LAST).jobs}
    assert (plan["build_fact_sales"].due, plan["sync_dim_customer"].due) == (False, True)
    assert "succeeded for this date" in plan["build_fact_sales"].why
    plan = {job.job_name: job for job in shop.lake().plan(NAME, FIRST).jobs}
    assert plan["build_fact_sales"].due
    assert "select sale_id" in " ".join(shop.lake().plan(NAME, FIRST, sql=True).sql["fact_sales"].lower().split())
    assert shop.lake().catalog.state().tables == before


def test_the_status_shows_jobs_with_their_next_tick(shop: Shop) -> None:
    shop.run(date=LAST)
    out = shop.product("status", NAME).out
    assert "build_fact_sales" in out
    assert "0 2 * * *" in out


@pytest.mark.parametrize(
    ("declared", "where", "said"),
    [
        ({"jobs": {"sync_dim_x": {"every": "1h"}}}, "jobs.sync_dim_x", "List the tables"),
        ({"jobs": {"a": {"every": "1h", "tables": ["dim_custome"]}}}, "jobs.a.tables.0", "Did you mean 'dim_customer'"),
        ({"jobs": {"a": {"every": "1h", "tables": ["stg_sales"]}}}, "jobs.a.tables.0", "no job builds"),
        ({"jobs": {"a": {"every": "1h", "table": "x"}}}, "jobs.a.table", "unknown key. Did you mean 'tables'"),
        ({"jobs": {"sync_dim_customer": {"every": "1h", "window": "soon"}}}, "window", "'soon' is no time"),
        ({"schedules": {"a": {"every": "1h", "source": "tll"}}}, "schedules.a.source", "Did you mean 'till'"),
        ({"schedules": {"a": {"cron": "x"}}}, "schedules.a.cron", "five fields"),
        ({"alerts": {"to": ["https://example.org"]}}, "alerts.to", ""),
    ],
)
def test_a_wrong_declaration_is_told_with_file_line_and_field(
    shop: Shop, declared: dict[str, Any], where: str, said: str
) -> None:
    declare(shop, **declared)
    with pytest.raises(DeclarationError, match=r"warehouse\.yml:1: ") as told:
        shop.lake().warehouse(NAME)
    assert where in str(told.value)
    assert said in str(told.value)


def test_what_cannot_be_run_is_told(shop: Shop) -> None:
    with pytest.raises(UsageError, match=r"has no job build_fact_sale\b.*Did you mean 'build_fact_sales'"):
        shop.lake().run_job(NAME, "build_fact_sale", LAST)
    with pytest.raises(UsageError, match="is before"):
        list(shop.lake().backfill(NAME, LAST, FIRST))
    with pytest.raises(UsageError, match="no job of shop builds by date"):
        list(shop.lake().backfill(NAME, FIRST, LAST, jobs=["sync_dim_customer"]))
