"""The counts in etl_job_runs are the differences of the tables, whatever is run in whatever order."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from dated import FIRST, LAST, Rows, declare, difference, rows, say
from shop import NAME, Shop, opened

from starberg.etl.jobs import jobs_of
from starberg.etl.results import RunResult

pytestmark = pytest.mark.proof

DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]


def run_somehow(shop: Shop, random: Random) -> RunResult:
    lake, day, force = shop.lake(), random.choice(DAYS), random.random() < 0.5
    deletes = ["stg_customers", "stg_sales"]
    match random.choice(["run", "date", "dimensions", "facts", "backfill"]):
        case "run":
            return lake.run(NAME, force=force, allow_deletes=deletes)
        case "date":
            return lake.run(NAME, date=day, force=force, allow_deletes=deletes)
        case "dimensions":
            return lake.run(NAME, only="dimensions", allow_deletes=deletes)
        case "facts":
            return lake.run(NAME, date=day, only="facts", force=force, allow_deletes=deletes)
    return next(iter(lake.backfill(NAME, day, day, force=force)))


@pytest.mark.parametrize("seed", range(2))
def test_counts_of_jobs_are_what_became_of_their_tables(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    with opened(tmp_path / "project") as shop:
        declare(shop)
        tables = {name: job.tables for name, job in jobs_of(shop.lake().warehouse(NAME)).items()}
        before: dict[str, Rows] = {}
        counted = 0
        for _ in range(6):
            shop.clock.sleep(3600)
            say(shop, random)
            done = run_somehow(shop, random)
            after = rows(shop)
            found = {name: difference(before.get(name, {}), after[name]) for name in after}
            for job, status, *counts, processed in shop.rows(
                "select job_name, status, rows_inserted, rows_updated, rows_deleted, rows_processed from etl_job_runs "
                f"where run_id = '{done.run_id}'"
            ):
                there = [found[table] for table in tables[job] if status == "SUCCESS"]
                wanted = tuple(map(sum, zip(*there, strict=True))) if there else (0, 0, 0)
                assert tuple(counts) == wanted, job
                assert processed == sum(counts)
                counted += processed
            before = after
        assert counted > 50
        shop.run()  # also days that changed and were not asked for
        assert shop.lake().verify(NAME).equal
