"""Jobs over snapshots: a day counts as done once it was built."""

from __future__ import annotations

from pathlib import Path
from random import Random

from dated import LAST, declare, say
from shop import NAME, opened

from starberg.etl.results import Status


def test_a_day_that_is_not_over_is_built_later_when_it_is_asked_for_again(tmp_path: Path) -> None:
    with opened(tmp_path / "project") as shop:
        declare(shop)
        shop.clock.sleep(-24 * 3600)  # to the middle of the last day
        say(shop, Random(1))
        lake, job = shop.lake(), "build_fact_customer_snapshot"
        early = lake.run_job(NAME, job, LAST)
        assert (early.rows_inserted, list(early.dates)) == (0, [])
        shop.clock.sleep(24 * 3600)
        on_time = lake.run_job(NAME, job, LAST)
        assert (on_time.status, list(on_time.dates)) == (Status.SUCCESS, [str(LAST)])
        assert on_time.rows_inserted > 0
        assert lake.run_job(NAME, job, LAST).status is Status.SKIPPED
