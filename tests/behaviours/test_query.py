"""Queries see one state of the lake; what a check or guard stops leaves main as it was.

Proven beside: limits of guard and quarantine (tests/unit/test_staging.py),
what a query may not reach (tests/e2e/test_security.py), how rows look (tests/unit/test_output.py).
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import NAME, SALES, TABLES_OF_THE_SHOP, Shop, published

from starberg.utils.clock import Clock
from starberg.utils.errors import UsageError

COUNT = "select count(*) from fact_sales"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with published(tmp_path_factory.mktemp("query") / "project") as shop:
        yield shop


@pytest.fixture
def shop(first: Shop) -> Shop:
    """A shop after its first run."""
    return first.put_back()


def last_run(shop: Shop) -> str:
    return str(shop.lake().status(NAME)[0]["run_id"])


# One state


def test_at_a_run_a_tag_or_a_time_sees_what_stood_then(shop: Shop) -> None:
    first, catalog = last_run(shop), shop.lake().catalog
    catalog.tag("before-the-sale", catalog.published(first))
    between = Clock().now().isoformat()
    shop.say(sales=SALES[2:])
    second = shop.run().run_id
    for then in (first, "before-the-sale", between):
        assert shop.rows(COUNT, at=then) == [(5,)]
    for now in (None, second, Clock().now().isoformat()):
        assert shop.rows(COUNT, at=now) == [(3,)]


def test_before_the_first_publish_there_is_no_table(shop: Shop) -> None:
    with pytest.raises(UsageError, match="fact_sales"):
        shop.rows(COUNT, at="2020-01-01T00:00:00+00:00")


def test_an_unknown_state_names_the_nearest(shop: Shop) -> None:
    run_id = last_run(shop)
    answer = shop.product("query", "--at", run_id[:-1], COUNT)
    assert answer.code == 2
    assert answer.complaint.startswith(f"the catalog has no state '{run_id[:-1]}'. Did you mean {run_id} or ")


def test_a_query_keeps_its_state_while_runs_publish(shop: Shop) -> None:
    reader = shop.lake().reader(NAME)
    shop.say(sales=SALES[2:])
    shop.run()
    [(facts, staged)] = reader.rows("select (select count(*) from fact_sales), (select count(*) from stg_sales)")
    reader.close()
    assert (facts, staged) == (5, 5)
    assert shop.rows(COUNT) == [(3,)]


def test_readers_leave_no_scratch_behind(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lake = shop.lake()
    unread, begun, connection = lake.query(COUNT), lake.query(COUNT), lake.connect(NAME)
    assert next(iter(begun.rows)) == (5,)
    assert connection.sql(COUNT).fetchone() == (5,)
    connection.close()
    del unread, begun, connection
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_never_closes_its_connection_leaves_no_scratch(shop: Shop, tmp_path: Path) -> None:
    program = f"import starberg\nconnection = starberg.connect()\nprint(connection.sql('{COUNT}').fetchone())"
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shop.product.folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == "(5,)\n", ran.stderr
    assert list(tmp_path.iterdir()) == []


# On the command line


def test_rows_are_printed_as_asked(shop: Shop) -> None:
    sql = "select sale_id, price, sold_on from fact_sales where sale_id < 3 order by 1"

    def asked(*options: str) -> str:
        answer = shop.product("query", sql, *options)
        assert answer.code == 0, answer.err
        return answer.out

    expected = [{"sale_id": "1", "price": "1.50", "sold_on": "2020-01-31"}, {"sale_id": "2", "price": "2.50"}]
    expected[1]["sold_on"] = "2020-02-01"
    assert list(csv.DictReader(asked("--format", "csv").splitlines())) == expected
    assert [
        {name: str(value) for name, value in row.items()} for row in json.loads(asked("--format", "json"))
    ] == expected
    for row in expected:
        assert any(all(value in line for value in row.values()) for line in asked("--format", "table").splitlines())


def test_a_time_with_a_zone_is_told_in_utc(shop: Shop) -> None:
    sql = "select timestamptz '2026-03-29 03:30:00+02' as at, [timestamptz '2026-01-01'] as all_of_them"
    assert json.loads(shop.product("query", sql, "--format", "json").out) == [
        {"at": "2026-03-29T01:30:00Z", "all_of_them": ["2026-01-01T00:00:00Z"]}
    ]


def test_an_unknown_table_names_ours_and_no_table_of_duckdb(shop: Shop) -> None:
    for sql in ("from fact_sale", "from shop.fact_sale", "select * from stg_sales join fact_sale using (sale_id)"):
        answer = shop.product("query", sql)
        assert answer.code == 2
        assert answer.complaint == "SQL: there is no table fact_sale. Did you mean shop.fact_sales?"
    for sql in ("from pg_a", "from shp.pg_a"):
        assert shop.product("query", sql).complaint.endswith("pg_a. See `starberg tables`.")


# Names


def test_a_name_that_two_warehouses_have_is_refused_with_both(shop: Shop) -> None:
    lake = shop.lake()
    assert list(lake.query(COUNT).rows) == list(lake.query("select count(*) from shop.fact_sales").rows) == [(5,)]
    shop.product.declare("stall", {"name": "till", "kind": "memory", "url": "memory:stall", "streams": shop.streams})
    for path, sql in TABLES_OF_THE_SHOP.items():
        shop.product.table("stall", path, sql)
    lake = shop.lake()
    lake.run("stall")
    answer = shop.product("query", COUNT)
    assert answer.code == 2
    assert answer.complaint.startswith("fact_sales is ambiguous")
    assert "shop.fact_sales, stall.fact_sales" in answer.complaint
    assert list(lake.query(COUNT, warehouse="stall").rows) == [(0,)]
    assert list(lake.query("select count(*) from shop.fact_sales").rows) == [(5,)]


# What is stopped leaves main as it was


def test_a_failed_check_leaves_main_and_its_branch_can_be_asked_until_the_next_run_repairs(shop: Shop) -> None:
    before = shop.tables()
    shop.say(sales=[{**SALES[0], "price": "-1.00"}, *SALES[1:]])
    answer = shop.product("run", NAME)
    assert answer.code == 3
    assert "prices_are_positive" in answer.complaint
    assert shop.tables() == before
    [failed] = [run["run_id"] for run in shop.lake().status(NAME) if run["status"] == "FAILED"]
    assert f"--at {failed}" in answer.complaint
    assert shop.rows("select count(*) from fact_sales where price < 0", at=failed) == [(1,)]
    assert shop.rows("select count(*) from fact_sales where price < 0") == [(0,)]

    shop.say(sales=[{**SALES[0], "price": "9.00"}, *SALES[1:]])
    assert shop.run().status == "SUCCESS"
    assert shop.rows("select price::double from fact_sales where sale_id = 1") == [(9.0,)]
    assert shop.lake().verify(NAME).equal


def test_a_warning_is_recorded_and_published(shop: Shop) -> None:
    check = TABLES_OF_THE_SHOP["checks/prices_are_positive"]
    shop.table("checks/prices_are_positive", f"/*\nseverity: warn\n*/\n{check}")
    shop.say(sales=[{**sale, "price": "-1.00"} for sale in SALES])
    assert shop.run().status == "SUCCESS"
    recorded = (
        "select failures from data_quality_results where check_name = 'prices_are_positive' and status = 'warned'"
    )
    assert shop.rows(recorded) == [(5,)]


def test_the_guard_stops_an_emptied_stream_until_it_is_allowed_once(shop: Shop) -> None:
    before = shop.tables()
    shop.say(sales=[])
    answer = shop.product("run", NAME)
    assert answer.code == 4
    assert "would delete 5 of 5 rows" in answer.complaint
    assert answer.complaint.endswith("run again with --allow-deletes stg_sales.")
    assert shop.tables() == before

    result = shop.run(allow_deletes=["stg_sales"])
    assert [note for note in result.notes if "--allow-deletes" in note]
    assert shop.rows(COUNT) == [(0,)]
    shop.say(sales=SALES)
    shop.run()
    shop.say(sales=[])
    assert shop.product("run", NAME).code == 4
