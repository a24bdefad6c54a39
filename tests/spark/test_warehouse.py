"""A warehouse built by Spark is the one built by DuckDB, row by row and number by number."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from lake import TempLake
from local_spark import beside

from starberg.engines.base import Engine
from starberg.engines.duckdb import DuckDBEngine

TABLES = [
    *("stg_customers", "stg_customers_changes", "stg_sales", "stg_tags"),
    *("dim_customer", "dim_tag", "dim_date", "bridge_sale_tag", "fact_sale", "mart_city"),
]


class Coin(int):
    """A size that is larger than another now and then."""

    rng = random.Random(7)

    def __gt__(self, size: object) -> bool:
        return self.rng.random() < 0.5


def by_turns(local: DuckDBEngine) -> Engine:
    """Return an engine whose statements are DuckDB's or Spark's by chance."""
    return beside(local, from_bytes=Coin(1))


def shop(folder: Path, computing: Callable[[DuckDBEngine], Engine]) -> TempLake:
    lake = TempLake(folder, computing=computing)
    customer = {"id": "UUID", "name": "VARCHAR", "city": "VARCHAR", "changed": "TIMESTAMP"}
    lake.stream("customers", customer)
    sale = {"id": "BIGINT", "customer": "UUID", "sold": "TIMESTAMP", "price": "DECIMAL(18,2)", "rate": "DOUBLE"}
    lake.stream("sales", {**sale, "tags": "BIGINT[]"})
    lake.stream("tags", {"id": "BIGINT", "name": "VARCHAR"})
    lake.declare("staging/stg_customers", "select id as customer_id, trim(name) as name, city, changed from customers")
    lake.declare("staging/stg_tags", "select id as tag_id, upper(name) as name from tags")
    lake.declare(
        "staging/stg_sales",
        "select id as sale_id, customer as customer_id, sold as sold_at, price, rate, list_sort(tags) as tags "
        "from sales",
    )
    lake.declare(
        "dimensions/dim_customer",
        "/*\nnatural_key: customer_id\nhistory: type2\ntrack: [city]\nvalid_from: changed\n*/\n"
        "select customer_id, name, city, changed from stg_customers",
    )
    lake.declare("dimensions/dim_tag", "/*\nnatural_key: tag_id\n*/\nselect tag_id, name from stg_tags")
    lake.declare(
        "dimensions/dim_date",
        "/*\ncalendar: {from: 2024-01-01, to: 2024-01-31}\n*/\n"
        "select date, year(date) as year, monthname(date) as month, isodow(date) as weekday from calendar",
    )
    lake.declare(
        "facts/fact_sale",
        "/*\ngrain: [sale_id]\nkeys:\n  customer_key: dim_customer(customer_id) as of sold_at\n"
        "  date_key: dim_date(sold_at)\npartition: month(sold_at)\n*/\n"
        "select sale_id, customer_id, sold_at, price, round(price * rate, 2) as tax, len(tags) as tags from stg_sales",
    )
    lake.declare(
        "bridges/bridge_sale_tag",
        "/*\ngrain: [sale_id, tag_id]\nkeys:\n  tag_key: dim_tag(tag_id)\nweight: equal\n*/\n"
        "select s.sale_id, listed.tag_id from stg_sales s cross join unnest(s.tags) as listed(tag_id)",
    )
    lake.declare(
        "marts/mart_city",
        "/*\ngrain: [city]\n*/\n"
        "select coalesce(c.city, '?') as city, count(*) as sales, sum(f.price) as price, "
        "avg(f.price) as average, max(f.sold_at) as last_at "
        "from fact_sale f join dim_customer c on c.customer_key = f.customer_key group by all",
    )
    return lake


def customer(number: int, city: str, day: int = 1, name: str = "n") -> dict[str, object]:
    return {"id": f"00000000-0000-0000-0000-{number:012x}", "name": name, "city": city, "changed": f"2024-01-{day:02}"}


def sale(number: int, by: int, day: int, price: str, tags: list[int] | None = None) -> dict[str, object]:
    who = f"00000000-0000-0000-0000-{by:012x}"
    return {
        "id": number,
        "customer": who,
        "sold": f"2024-01-{day:02} 10:00:00",
        "price": price,
        "rate": 0.075,
        "tags": tags,
    }


def first(lake: TempLake) -> None:
    lake.land("tags", [{"id": n, "name": f"tag {n}"} for n in (1, 2, 3)])
    lake.land("customers", [customer(1, "Oslo"), customer(2, "Bonn", name=" two "), customer(10, "Rome")])
    sales = [
        sale(1, 1, 5, "10.05", [2, 1]),
        sale(2, 2, 9, "0.50", []),
        sale(3, 7, 9, "99.99", [3]),
        sale(4, 10, 2, "1"),
    ]
    lake.land("sales", sales)


def second(lake: TempLake) -> None:
    lake.clock.sleep(timedelta(days=1).total_seconds())
    moved = [customer(1, "Kyiv", 7), customer(2, "Bonn", 8, "zwei"), customer(7, "Lima", 3)]
    lake.land("customers", moved)
    lake.land("sales", [sale(2, 1, 8, "0.75", [1, 3]), sale(5, 8, 20, "5.00", [9])])


def assert_equal(one: TempLake, other: TempLake) -> None:
    for table in TABLES:
        rows = [lake.rows(f"SELECT * FROM {table} ORDER BY ALL") for lake in (one, other)]
        assert rows[0], table
        assert rows[1] == rows[0], table


def test_both_engines_build_the_same_tables_at_first_and_after_changes_and_may_take_turns(tmp_path: Path) -> None:
    here, there = shop(tmp_path / "duckdb", lambda engine: engine), shop(tmp_path / "spark", beside)
    mixed = shop(tmp_path / "mixed", by_turns)
    for change in (first, second):
        for lake in (here, there, mixed):
            change(lake)
        changed = [lake.build().changed for lake in (here, there, mixed)]
        assert changed[1] == changed[2] == changed[0]
        assert_equal(here, there)
        assert_equal(here, mixed)
    here.computing, there.computing = there.computing, here.computing
    for lake in (here, there):
        assert lake.build(rebuild="*").changed == {}
    assert here.verify() == []
