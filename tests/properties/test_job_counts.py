"""The counts in etl_job_runs are the differences of the tables, whatever is run in whatever order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from dated import FIRST, LAST, declare, difference, rows, say
from shop import NAME, Shop, opened

from starberg.etl.jobs import jobs_of

pytestmark = pytest.mark.proof

DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]


def run_somehow(shop: Shop, random: Random) -> None:
    lake, day, force = shop.lake(), random.choice(DAYS), random.random() < 0.5
    deletes = ["stg_customers", "stg_sales"]
    match random.choice(["run", "date", "dimensions", "job", "backfill"]):
        case "run":
            lake.run(NAME, force=force, allow_deletes=deletes)
        case "date":
            lake.run(NAME, date=day, force=force, allow_deletes=deletes)
        case "dimensions":
            lake.run(NAME, only="dimensions", allow_deletes=deletes)
        case "job":
            lake.run(NAME, etl=False)
            jobs = ["build_fact_sales", "build_fact_customer_snapshot", "sync_dim_customer"]
            lake.run_job(NAME, random.choice(jobs), day, force=force)
        case "backfill":
            next(iter(lake.backfill(NAME, day, day, force=force)))


@pytest.mark.parametrize("seed", range(2))
def test_counts_of_jobs_are_what_became_of_their_tables(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    with opened(tmp_path / "project") as shop:
        declare(shop)
        tables = {name: job.tables for name, job in jobs_of(shop.lake().warehouse(NAME)).items()}
        before = {name: {} for name in rows(shop)}
        counted = 0
        for _ in range(8):
            shop.clock.sleep(3600)
            say(shop, random)
            run_somehow(shop, random)
            after = rows(shop)
            found = {name: difference(before.get(name, {}), after[name]) for name in after}
            for job, status, *counts, processed in shop.rows(
                "select job_name, status, rows_inserted, rows_updated, rows_deleted, rows_processed from etl_job_runs "
                "where run_id = (select max(run_id) from etl_job_runs)"
            ):
                there = [found[table] for table in tables[job] if status == "SUCCESS"]
                assert tuple(counts) == tuple(map(sum, zip(*there, strict=True))) or (not there and not any(counts))
                assert processed == sum(counts)
                counted += processed
            before = after
        assert counted > 100
        assert shop.lake().verify(NAME).equal
