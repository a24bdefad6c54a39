"""Checks stop a publish or are recorded; what they found is asked in SQL, and what they stopped can be looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from memory_source import Said, feed_of, playing
from product import Product
from servers import FakeClock

from starberg import DataQualityCheck
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl.control_tables import TABLES
from starberg.etl.results import Status
from starberg.utils.errors import CheckFailed, DeclarationError, UsageError
from starberg.utils.settings import Settings

WAREHOUSE = """
sources:
  till:
    kind: memory
    url: memory:till
    streams:
      sales: {key: [id], columns: {id: BIGINT, product: BIGINT, status: VARCHAR, quantity: BIGINT, price: BIGINT,
        amount: BIGINT}}
      products: {key: [id], columns: {id: BIGINT, name: VARCHAR}}
"""
CHECKS = """
  - not_null: status
  - unique: [sale_id, product_id]
  - accepted: {status: [paid, open]}
  - range: {quantity: [1, 100]}
    severity: warn
  - relationship: {product_id: stg_products(product_id)}
  - identity: amount = quantity * price
"""


@dataclass
class Shop:
    folder: Path
    lake: Lake
    clock: FakeClock

    def declare(self, checks: str) -> None:
        fact = self.folder / "warehouses/shop/facts/fact_sales.sql"
        fact.write_text(
            f"/*\ngrain: sale_id\nchecks:{checks}*/\n"
            "select sale_id, product_id, status, quantity, price, amount from stg_sales"
        )
        self.lake = self.lake.reopen({})

    def sell(self, number: int, **more: Any) -> None:
        sale = {"id": number, "product": 1, "status": "paid", "quantity": 2, "price": 5, "amount": 10} | more
        feed_of("memory:till").say("sales", Said([[sale]]))

    def run(self, *checks: DataQualityCheck) -> Status:
        self.clock.sleep(3600)
        return self.lake.run("shop", checks=checks).status

    def rows(self, sql: str, at: str | None = None) -> list[tuple[Any, ...]]:
        return list(self.lake.query(sql, warehouse="shop", at=at).rows)

    def published(self) -> dict[str, str]:
        """Return where main's tables stand, the control tables left out."""
        tables = self.lake.catalog.state().tables.items()
        return {name: at for name, at in tables if name.split(".")[1] not in TABLES}

    def found(self) -> dict[str, tuple[str, int]]:
        rows = self.rows(
            "select check_name, status, failures from data_quality_results where status <> 'passed' "
            "and run_id = (select max(run_id) from data_quality_results)"
        )
        return {name: (status, failures) for name, status, failures in rows}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    files = {
        "starberg.toml": "threads = 1\n",
        "warehouses/shop/warehouse.yml": WAREHOUSE,
        "warehouses/shop/staging/stg_sales.sql": "select id as sale_id, product as product_id, status, quantity, "
        "price, amount from sales",
        "warehouses/shop/staging/stg_products.sql": "select id as product_id, name from products",
        "warehouses/shop/facts/fact_sales.sql": "/* grain: sale_id */ select sale_id from stg_sales",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    clock = FakeClock()
    with playing("memory"):
        lake = open_lake(Settings.load(tmp_path, {"STARBERG_HOME": str(tmp_path / "home")}, {}), clock=clock)
        shop = Shop(tmp_path, lake, clock)
        shop.declare(CHECKS)
        feed_of("memory:till").say("products", Said([[{"id": 1, "name": "Tea"}]], whole=True))
        yield shop
        lake.catalog.close()


@pytest.mark.parametrize(
    ("sale", "check"),
    [
        ({"status": None}, "status_not_null"),
        ({"status": "lost"}, "status_accepted"),
        ({"product": 9}, "product_id_relationship"),
        ({"amount": 11}, "identity"),
    ],
)
def test_a_failing_check_leaves_what_is_published_and_shows_the_rows(
    shop: Shop, sale: dict[str, Any], check: str
) -> None:
    shop.sell(1)
    shop.run()
    before = shop.published()
    shop.sell(2, **sale)
    with pytest.raises(CheckFailed, match=f"1 of .* checks failed, the first: {check}") as failed:
        shop.run()
    assert shop.published() == before
    assert shop.rows("select sale_id from fact_sales") == [(1,)]
    failures = f"from data_quality_results where status = 'failed' and check_name = '{check}'"
    [(run_id, sample)] = shop.rows(f"select run_id, sample {failures}")
    assert [row["sale_id"] for row in json.loads(sample)] == [2]
    assert shop.rows("select sale_id from fact_sales order by 1", at=run_id) == [(1,), (2,)]
    assert f"--at {run_id}" in failed.value.hint
    assert shop.rows(f"select status from etl_runs where run_id = '{run_id}'") == [("FAILED",)]
    product = Product(shop.folder, {"STARBERG_HOME": str(shop.folder / "home")})
    asked = "select count(*) from fact_sales"
    assert product.query(asked, "--warehouse", "shop", "--at", run_id) == [[2]]
    shop.sell(2)
    assert shop.run() is Status.SUCCESS
    assert product.query(asked, "--warehouse", "shop") == [[2]]


def test_a_dimension_s_unknown_and_inferred_members_are_no_failures(shop: Shop) -> None:
    dimension = shop.folder / "warehouses/shop/dimensions/dim_product.sql"
    dimension.parent.mkdir()
    checks = "  - accepted: {name: [Tea]}\n  - not_null: name\n  - unique: name\n"
    dimension.write_text(f"/*\nnatural_key: product_id\nchecks:\n{checks}*/\nselect product_id, name from stg_products")
    fact = shop.folder / "warehouses/shop/facts/fact_sales.sql"
    fact.write_text(
        "/*\ngrain: sale_id\nkeys:\n  product_key: dim_product(product_id)\n*/\n"
        "select sale_id, product_id from stg_sales"
    )
    shop.lake = shop.lake.reopen({})
    shop.sell(1, product=8)
    shop.sell(2, product=9)
    assert shop.run() == "SUCCESS"
    assert shop.rows("select count(*) from dim_product where is_inferred") == [(2,)]
    feed_of("memory:till").say("products", Said([[{"id": 1, "name": "Tea"}, {"id": 8, "name": None}]], whole=True))
    with pytest.raises(CheckFailed, match=r"name_not_null of shop\.dim_product, 1 rows"):
        shop.run()
    assert shop.found().keys() == {"name_not_null"}


def test_a_warning_is_published_recorded_and_told(shop: Shop) -> None:
    shop.sell(1, quantity=200, amount=1000)
    result = shop.lake.run("shop")
    assert result.status is Status.SUCCESS
    assert "check quantity_range of shop.fact_sales warns: 1 rows" in result.notes
    assert shop.found() == {"quantity_range": ("warned", 1)}
    assert shop.rows("select sale_id from fact_sales") == [(1,)]


def test_a_caller_passes_checks_of_its_own(shop: Shop) -> None:
    shop.sell(1)
    few = DataQualityCheck("few_sales", "select * from fact_sales", tolerance=1)
    shop.run(few, DataQualityCheck("no_tea", "select * from stg_products where name = 'Tea'", severity="warn"))
    assert shop.found() == {"no_tea": ("warned", 1)}
    shop.sell(2)
    with pytest.raises(CheckFailed, match="few_sales"):
        shop.run(few)
    with pytest.raises(UsageError, match=r"check bad: .*random"):
        DataQualityCheck("bad", "select random()")


def test_a_table_that_has_not_changed_for_too_long_warns(shop: Shop) -> None:
    shop.declare("\n  - freshness: 24\n")
    shop.sell(1)
    shop.run()
    assert shop.run() is Status.SKIPPED
    assert shop.found() == {}
    shop.clock.sleep(timedelta(hours=24).total_seconds())
    assert shop.run() is Status.SKIPPED
    assert shop.found() == {"freshness": ("warned", 1)}


def test_a_run_that_brings_much_less_than_usual_warns(shop: Shop) -> None:
    shop.declare("\n  - volume: 0.5\n")
    for run in range(6):
        for number in range(4):
            shop.sell(run * 4 + number)
        shop.run()
        assert shop.found() == {}
    shop.sell(100)
    shop.run()
    assert shop.found() == {"volume": ("warned", 1)}


@pytest.mark.parametrize(
    ("check", "says"),
    [
        ("not_null: statu", "has no column 'statu'.*status"),
        ("relationship: {product_id: stg_product(product_id)}", "no table 'stg_product'.*stg_products"),
        ("identity: amount = now()", "now.* depends on when it runs"),
        ("range: {quantity: [1]}", "range"),
        ("{not_null: status, unique: status}", "exactly one of"),
    ],
)
def test_a_mistake_in_a_check_is_told_with_its_place(shop: Shop, check: str, says: str) -> None:
    shop.declare(f"\n  - {check}\n")
    with pytest.raises(DeclarationError, match=f"fact_sales.sql:[0-9]+: checks.*{says}"):
        shop.run()
