"""A backfill killed (kill -9) at its steps: typed again it goes on, and makes what an undisturbed one makes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dated import FIRST, declare, say
from faults import At, Hook, Step, Steps, Task, run_task
from memory_source import playing
from places import Standing
from shop import NAME, Shop, opened

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

UNTIL = FIRST + timedelta(days=2)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KILLS = 7


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with three days of loads, none of them built."""
    with opened(tmp_path_factory.mktemp("dated") / "project") as shop:
        declare(shop)
        random = Random(1)
        shop.clock.sleep(-7 * 24 * 3600)
        for _ in range(3):
            say(shop, random)
            shop.lake().run(NAME, etl=False)
            shop.clock.sleep(2 * 24 * 3600)
        shop.clock.sleep((NOW - shop.clock.now()).total_seconds())
        shop.keep()
        yield shop


def lake_of(folder: Path, hook: Hook) -> Lake:
    settings = Settings.load(folder, {"STARBERG_HOME": str(folder / ".starberg"), "STARBERG_THREADS": "1"}, {})
    return open_lake(settings, clock=Standing(NOW), wrap=Steps(hook).wrap)


def backfilled(lake: Lake) -> list[Any]:
    return [run.status.value for run in lake.backfill(NAME, FIRST, UNTIL)]


def backfill(_talk: Connection, folder: Path) -> int:
    """Backfill undisturbed; return the number of steps."""
    steps: list[Step] = []
    with playing("memory"):
        backfilled(lake_of(folder, steps.append))
    return len(steps)


def die(talk: Connection, folder: Path, at: At) -> None:
    """Backfill and be killed at a step, which is told to the test."""

    def hook(step: Step) -> None:
        if at.fits(step):
            talk.send(str(step))
            os.kill(os.getpid(), signal.SIGKILL)

    with playing("memory"):
        backfilled(lake_of(folder, hook))


def succeeded(shop: Shop) -> list[tuple[Any, ...]]:
    """Return what is written down of the jobs that succeeded, once each."""
    return shop.rows(
        "select job_name, target_date, rows_inserted, rows_updated, rows_deleted, dates from etl_job_runs "
        "where status = 'SUCCESS' order by all"
    )


def test_a_backfill_killed_anywhere_goes_on_and_makes_the_same_tables(shop: Shop) -> None:
    steps = run_task(backfill, shop.product.folder)
    wanted, jobs = shop.content(), succeeded(shop)
    assert len(jobs) == 3 * 3
    assert {name for name, rows in wanted.items() if rows} >= {
        "fact_sales",
        "fact_channel_days",
        "fact_customer_snapshot",
    }
    failed = 0
    for number in range(3, steps, steps // KILLS):
        shop.put_back()
        with Task(die, shop.product.folder, At(number=number)) as task:
            step = task.end()
        assert task.was_killed, step
        assert set(backfilled(shop.lake())) <= {"SUCCESS", "SKIPPED"}, step
        assert shop.content() == wanted, step
        assert succeeded(shop) == jobs, step
        failed += len(shop.rows("select distinct run_id from etl_job_runs where status = 'FAILED'"))
        assert shop.lake().catalog.branches(NAME) == [], step
    assert failed > KILLS // 3
    forced = [job for run in shop.lake().backfill(NAME, FIRST, UNTIL, force=True) for job in run.jobs]
    assert {(job.status.value, job.rows_processed) for job in forced} == {("SUCCESS", 0)}
    assert shop.content() == wanted
    shop.run()  # what no dated job builds
    assert shop.lake().verify(NAME).equal
