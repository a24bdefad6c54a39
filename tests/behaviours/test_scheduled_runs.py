"""The scheduler over a real lake: its runs, its heartbeat, and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from product import Product
from shop import CUSTOMERS, NAME, SALES, Shop, opened

from starberg.entrypoints import heartbeat
from starberg.entrypoints.schedule import scheduler_of
from starberg.etl.due import TickState
from starberg.utils.errors import Busy, UsageError


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path / "project") as shop:
        yield shop


def declare(shop: Shop, **more: object) -> None:
    streams = {name: {"undeclared": "ignore", **stream} for name, stream in shop.streams.items()}
    source = {"name": "till", "kind": "memory", "url": "memory:shop", "streams": streams}
    shop.product.declare(NAME, source, **more)


def go_on(shop: Shop, length: timedelta) -> None:
    scheduler = scheduler_of(shop.lake(), [NAME])
    scheduler.start = lambda _, work: work()
    end = shop.clock.now() + length
    while shop.clock.now() < end:
        shop.clock.sleep(min(max(scheduler.look(), 1.0), 600.0))


def test_schedules_and_jobs_run_as_declared_and_every_tick_has_its_run(shop: Shop) -> None:
    jobs = {
        "sync_dim_customer": {"every": "1h", "window": "15m"},
        "build_fact_sales": {"cron": "0 13 * * *", "window": "60m"},
    }
    declare(shop, jobs=jobs, schedules={"landing": {"every": "30m", "do": "ingest"}})
    shop.say(customers=CUSTOMERS, sales=SALES)
    go_on(shop, timedelta(hours=2, minutes=10))
    runs = shop.rows("select job_name, due_at, target_date, status, rows_inserted from etl_job_runs order by 2, 1")
    at = datetime(2026, 11, 21, 13)
    assert [row[:2] for row in runs] == [
        ("build_fact_sales", at),
        ("sync_dim_customer", at),
        ("sync_dim_customer", at + timedelta(hours=1)),
    ]
    assert {row[2] for row in runs} == {at.date() - timedelta(days=1)}
    assert [row[3] for row in runs] == ["SUCCESS", "SUCCESS", "SKIPPED"]
    assert shop.rows("select count(distinct run_id) from etl_job_runs where due_at = '2026-11-21 13:00'") == [(1,)]
    [build, landing, sync] = sorted(shop.lake().schedules([NAME]), key=lambda row: str(row["name"]))
    assert (build["name"], build["state"], build["status"]) == ("build_fact_sales", "done", "SUCCESS")
    assert build["next_at"] == datetime(2026, 11, 22, 13, tzinfo=UTC)
    assert landing["state"] == "done"
    assert sync["tick"] == datetime(2026, 11, 21, 14, tzinfo=UTC)


def test_a_run_that_finds_the_warehouse_busy_is_tried_again(shop: Shop) -> None:
    declare(shop, schedules={"often": {"every": "10m"}})
    shop.say(customers=CUSTOMERS, sales=SALES)
    from starberg.storage.lease import hold

    lake = shop.lake()
    with hold(lake.store, NAME, "somebody", shop.clock, wait_s=0, reclaim=lambda _: None, ttl=timedelta(days=1)):
        shop.clock.sleep(600)
        scheduler = scheduler_of(lake, [NAME])
        scheduler.start = lambda _, work: work()
        scheduler.look()
        shop.clock.sleep(600)
        scheduler.look()
    [row] = lake.schedules([NAME])
    assert row["state"] == TickState.RETRY
    assert "somebody" in str(row["error"])
    shop.clock.sleep(40)
    scheduler.look()
    [row] = lake.schedules([NAME])
    assert (row["state"], row["status"]) == ("done", "SUCCESS")
    assert shop.rows("select count(*) from fact_sales") == [(5,)]


def test_a_broken_run_is_told_and_the_next_tick_runs(shop: Shop) -> None:
    declare(shop, schedules={"often": {"every": "10m"}})
    shop.table("checks/never", "select 1 as one from fact_sales")
    shop.say(customers=CUSTOMERS, sales=SALES)
    go_on(shop, timedelta(minutes=15))
    [row] = shop.lake().schedules([NAME])
    assert row["status"] == "FAILED"
    assert "checks failed" in str(row["error"])
    (shop.product.folder / "warehouses" / NAME / "checks" / "never.sql").unlink()
    go_on(shop, timedelta(minutes=10))
    [row] = shop.lake().schedules([NAME])
    assert row["status"] == "SUCCESS"


def test_one_scheduler_a_home_and_none_where_nothing_is_scheduled(shop: Shop) -> None:
    with pytest.raises(UsageError, match="nothing is scheduled"):
        shop.lake().schedule([NAME])
    declare(shop, schedules={"often": {"every": "10m"}})
    with heartbeat.alone(shop.product.home), pytest.raises(Busy, match="another scheduler is at work"):
        shop.lake().schedule([NAME])


def test_a_heartbeat_that_is_old_is_no_life(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not heartbeat.live(tmp_path, now)["ok"]
    heartbeat.beat(tmp_path, {"at": now, "warehouses": {"w": {"trouble": "x"}}})
    assert heartbeat.live(tmp_path, now + timedelta(seconds=100))["ok"]
    assert "w wait" in heartbeat.live(tmp_path, now)["detail"]
    assert not heartbeat.live(tmp_path, now + timedelta(minutes=3))["ok"]
    (tmp_path / heartbeat.FILE).write_text("{")
    assert not heartbeat.live(tmp_path, now)["ok"]


def test_the_command_beats_until_it_is_told_to_stop(tmp_path: Path) -> None:
    product = Product(tmp_path / "project")
    source = {"name": "api", "kind": "rest", "url": "http://127.0.0.1:9", "streams": {}}
    product.declare("own", source, schedules={"nightly": {"cron": "0 2 * * *"}})
    command = [sys.executable, "-m", "starberg", "--project", str(product.folder), "schedule", "own"]
    process = subprocess.Popen(command, env={**os.environ, **product.environ}, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (product.home / heartbeat.FILE).exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert product("check", "--live").code == 0
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert product("check", "--live").code == 1
