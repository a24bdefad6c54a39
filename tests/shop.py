"""A shop: a project with one small warehouse whose source says what a test tells it to.

with opened(tmp_path) as shop:
    shop.say(customers=CUSTOMERS, sales=SALES)
    shop.run()
    assert shop.rows("select count(*) from fact_sales") == [(5,)]
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory_source import Feed, Said, feed_of, playing
from product import Product
from servers import FakeClock

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl.control_tables import TABLES
from starberg.etl.results import RunResult
from starberg.utils.settings import Settings

NAME = "shop"
URL = "memory:shop"

STREAMS: dict[str, dict[str, Any]] = {
    "customers": {"key": ["id"], "columns": {"id": "BIGINT", "name": "VARCHAR", "city": "VARCHAR"}},
    "sales": {
        "key": ["id"],
        "columns": {
            "id": "BIGINT",
            "customer": "BIGINT",
            "channel": "VARCHAR",
            "quantity": "INTEGER",
            "price": "DECIMAL(8, 2)",
            "sold_on": "DATE",
        },
    },
}
TABLES_OF_THE_SHOP = {
    "staging/stg_customers": "select id as customer_id, name, city from customers",
    "staging/stg_sales": """select
    id as sale_id,
    customer as customer_id,
    channel,
    quantity,
    price,
    sold_on
from sales""",
    "dimensions/dim_date": """/*
calendar: {from: 2020-01-01, to: 2020-12-31}
*/
select date, year(date) as year, month(date) as month from calendar""",
    "dimensions/dim_customer": """/*
natural_key: customer_id
*/
select customer_id, name, city from stg_customers""",
    "facts/fact_sales": """/*
grain: sale_id
keys:
  customer_key: dim_customer(customer_id)
  sold_key: dim_date(sold_on)
*/
select
    sale_id,
    customer_id,
    quantity,
    price,
    sold_on
from stg_sales""",
    "marts/mart_cities": """/*
grain: city
*/
select coalesce(customers.city, 'nowhere') as city, count(*) as sales, sum(sales.price)::decimal(18, 2) as revenue
from fact_sales as sales
join dim_customer as customers on customers.customer_key = sales.customer_key
group by coalesce(customers.city, 'nowhere')""",
    "checks/prices_are_positive": "select sale_id, price from fact_sales where price < 0",
}

CUSTOMERS = [{"id": n, "name": name, "city": city} for n, name, city in [(1, "Ann", "Oslo"), (2, "Bob", "Rome")]]
SALES = [
    {
        "id": n,
        "customer": customer,
        "channel": channel,
        "quantity": n,
        "price": f"{n}.50",
        "sold_on": day,
        "note": f"n{n}",
    }
    for n, customer, channel, day in [
        (1, 1, "web", "2020-01-31"),
        (2, 2, "shop", "2020-02-01"),
        (3, 9, "web", None),
        (4, None, "shop", "2020-02-29"),
        (5, 1, "web", "2021-03-01"),
    ]
]


@dataclass
class Shop:
    """The project's folder and what its source says next."""

    product: Product
    clock: FakeClock = field(default_factory=FakeClock)
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def feed(self) -> Feed:
        """What the source says next."""
        return feed_of(URL)

    def keep(self) -> None:
        """Keep the shop as it is."""
        shutil.copytree(self.product.folder, self._kept)

    def put_back(self) -> Shop:
        """Put the shop back to what was kept, at its own path: table metadata holds absolute paths."""
        shutil.rmtree(self.product.folder)
        shutil.copytree(self._kept, self.product.folder)
        self.feed.next.clear()
        self.streams = deepcopy(STREAMS)
        return self

    @property
    def _kept(self) -> Path:
        return self.product.folder.with_name("kept")

    def declare(self) -> None:
        """Write warehouse.yml as the streams are now."""
        streams = {name: {"undeclared": "ignore", **stream} for name, stream in self.streams.items()}
        self.product.declare(NAME, {"name": "till", "kind": "memory", "url": URL, "streams": streams})

    def table(self, path: str, sql: str) -> None:
        """Write a table's file, such as `facts/fact_sales`."""
        self.product.table(NAME, path, sql)

    def say(self, *, whole: bool = True, **records: list[dict[str, Any]]) -> None:
        """Let streams say records, at the next reading."""
        for stream, said in records.items():
            self.feed.say(stream, Said([said], whole=whole))

    def lake(self, home: Path | None = None) -> Lake:
        """Open the lake with the declarations as they are now."""
        settings = Settings.load(self.product.folder, {"STARBERG_HOME": str(home or self.product.home)}, {})
        return open_lake(settings, clock=self.clock)

    def run(self, **how: Any) -> RunResult:
        """Run; the clock moves on by a minute."""
        self.clock.sleep(60)
        return self.lake().run(NAME, **how)

    def rows(self, sql: str, at: str | None = None) -> list[tuple[Any, ...]]:
        """Answer SQL."""
        return list(self.lake().query(sql, warehouse=NAME, at=at).rows)

    def strategies(self, result: RunResult) -> dict[str, str]:
        """Return how each table was built."""
        return {table.name: table.strategy for table in result.tables}

    def tables(self) -> dict[str, str]:
        """Return where main's tables stand, the control tables left out."""
        found = {name.split(".", 1)[1]: at for name, at in self.lake().catalog.state().tables.items()}
        return {name: at for name, at in found.items() if name not in TABLES}

    def content(self, lake: Lake | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return all rows, sorted; surrogate keys as the row of the dimension they stand for, run and load left out."""
        names = [table for table in self.tables() if not table.startswith("quarantine_")]
        engine = (lake or self.lake()).reader(NAME)
        content = {}
        for name in sorted(names):
            columns = [column.name for column in engine.columns(f"FROM {name}")]
            content[name] = [dict(zip(columns, row, strict=True)) for row in engine.rows(f"FROM {name}")]
        engine.close()
        keys = {}
        for name, rows in content.items():
            if name.startswith("dim_"):
                own = next(column for column in rows[0] if column.endswith("_key"))
                keys[own] = keys[f"{name.removeprefix('dim_')}_key"] = {row[own]: row for row in rows}
        left_out = {"_run_id", "_load_id"}
        return {
            name: sorted(
                ({c: _named(keys, c, value) for c, value in row.items() if c not in left_out} for row in rows), key=repr
            )
            for name, rows in content.items()
        }

    def built_anew(self, home: Path) -> dict[str, list[dict[str, Any]]]:
        """Return the content of an empty lake that gets this one's raw zone and these declarations."""
        shutil.copytree(self.product.home / "lake" / "raw", home / "lake" / "raw")
        lake = self.lake(home)
        lake.run(NAME, ingest=False)
        return self.content(lake)


def _named(keys: Mapping[str, Mapping[int, Mapping[str, Any]]], column: str, value: Any) -> Any:
    """Return the natural key and attributes a surrogate key stands for."""
    if column not in keys:
        return value
    return {
        name: each
        for name, each in keys[column][value].items()
        if name not in {"_run_id", "_load_id"} and not name.endswith("_key")
    }


@contextmanager
def opened(folder: Path) -> Iterator[Shop]:
    """Yield a shop without any run."""
    with playing("memory"):
        shop = Shop(Product(folder), streams=deepcopy(STREAMS))
        shop.declare()
        for path, sql in TABLES_OF_THE_SHOP.items():
            shop.table(path, sql)
        yield shop


@contextmanager
def published(folder: Path, more: Mapping[str, str] | None = None) -> Iterator[Shop]:
    """Yield a shop after its first run, kept as it is then; `more` are tables, views and functions it has beside."""
    with opened(folder) as shop:
        for path, sql in (more or {}).items():
            shop.table(path, sql)
        shop.say(customers=CUSTOMERS, sales=SALES)
        shop.run()
        shop.keep()
        yield shop
