"""The shop of tests/shop.py with a table of each kind that is built by date or keeps spans, over a week of November."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

from shop import Shop

FIRST, LAST = date(2026, 11, 14), date(2026, 11, 20)
"""The days before the shop's clock."""
TABLES = {
    "staging/stg_customers": "select id as customer_id, name, city from customers",
    "dimensions/dim_customer": "/*\nnatural_key: customer_id\nhistory: type2\n*/\n"
    "select customer_id, name, city from stg_customers",
    "bridges/brg_city_customer": "/*\ngrain: [city, customer_id]\nhistory: type2\nweight: equal\nkeys:\n"
    "  customer_key: dim_customer(customer_id)\n*/\nselect coalesce(city, 'nowhere') as city, customer_id "
    "from stg_customers",
    "facts/fact_sales": "/*\ngrain: sale_id\nload: by date\ndate: sold_on\nkeys:\n"
    "  customer_key: dim_customer(customer_id)\n  sold_key: dim_date(sold_on)\n*/\n"
    "select sale_id, customer_id, quantity, price, sold_on from stg_sales where sold_on is not null",
    "facts/fact_channel_days": "/*\ngrain: [channel, sold_on]\nload: by date\ndate: sold_on\n*/\n"
    "select channel, sold_on, count(*) as sales, sum(quantity) as quantity from stg_sales "
    "where sold_on is not null group by all",
    "facts/fact_customer_snapshot": "/*\ngrain: [customer_id, day]\nload: snapshot daily\ndate: day\nkeys:\n"
    "  customer_key: dim_customer(customer_id)\n*/\n"
    "select customer_id, run_date() as day, city from stg_customers",
    "marts/mart_cities": "/* grain: city */\nselect coalesce(c.city, 'nowhere') as city, sum(s.quantity) as quantity "
    "from fact_sales as s join dim_customer as c on c.customer_key = s.customer_key group by 1",
}
GRAINS = {
    "dim_customer": ("customer_key",),
    "dim_date": ("date_key",),
    "brg_city_customer": ("city", "customer_id", "effective_from"),
    "fact_sales": ("sale_id",),
    "fact_channel_days": ("channel", "sold_on"),
    "fact_customer_snapshot": ("customer_id", "day"),
}
"""What tells rows apart, of each table that a job builds."""

Rows = dict[tuple[Any, ...], tuple[Any, ...]]


def declare(shop: Shop) -> None:
    """Write the tables."""
    for path, sql in TABLES.items():
        shop.table(path, sql)


def say(shop: Shop, random: Random) -> None:
    """Let the source say random customers and sales, some of them on days that are long built."""
    cities = ["Oslo", "Rome", None]
    customers = [
        {"id": n, "name": f"n{n}", "city": random.choice(cities)} for n in range(1, 6) if random.random() < 0.9
    ]
    sales = [
        {
            "id": n,
            "customer": random.randint(1, 7),
            "channel": random.choice(["web", "shop"]),
            "quantity": random.randint(1, 3),
            "price": "1.50",
            "sold_on": str(FIRST + timedelta(days=random.randint(0, 6))),
        }
        for n in range(40)
        if random.random() < 0.9
    ]
    shop.say(customers=customers, sales=sales)


def rows(shop: Shop) -> dict[str, Rows]:
    """Return the rows of each table by its grain, without what tells where they came from."""
    return {table: _rows(shop, table, grain) for table, grain in GRAINS.items() if table in shop.tables()}


def _rows(shop: Shop, table: str, grain: tuple[str, ...]) -> Rows:
    listed = ", ".join(grain)
    found = shop.rows(f"select {listed}, columns(* exclude ({listed}, _run_id, _load_id)) from {table}")
    return {row[: len(grain)]: row[len(grain) :] for row in found}


def difference(before: Rows, after: Rows) -> tuple[int, int, int]:
    """Return how many rows came, are others, and are gone."""
    updated = sum(before[key] != after[key] for key in before.keys() & after.keys())
    return len(after.keys() - before.keys()), updated, len(before.keys() - after.keys())
