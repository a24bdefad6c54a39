"""A lake with facts and bridges of every shape that passes the gate of keyed recomputation, and a life for it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from lake import TempLake

TABLES = {
    "staging/stg_customers": "select id as customer_id, city, tags from customers",
    "staging/stg_sales": "select id as sale_id, customer as customer_id, sold as sold_at, amount from sales",
    "staging/stg_returns": "select id as return_id, sale as sale_id, amount from returns",
    "dimensions/dim_customer": "/*\nnatural_key: customer_id\nhistory: type2\ntrack: [city]\n*/\n"
    "select customer_id, city from stg_customers",
    "dimensions/dim_tag": "/* natural_key: tag */ select distinct t.tag from stg_customers as c "
    "cross join unnest(c.tags) as t(tag)",
    "facts/fact_sales": "/*\ngrain: sale_id\nkeys:\n  customer_key: dim_customer(customer_id) as of sold_at\n"
    "deletes: mark\n*/\nselect sale_id, amount from stg_sales",
    "facts/fact_joined": "/* grain: sale_id */ select s.sale_id, c.city, c.tags from stg_sales as s "
    "left join stg_customers as c on c.customer_id = s.customer_id and len(c.city) > 3",
    "facts/fact_inner": "/*\ngrain: sale_id\nkeys:\n  customer_key: dim_customer(customer_id)\n*/\n"
    "select s.sale_id, s.customer_id, s.amount from stg_sales as s join stg_customers as c using (customer_id) "
    "where c.city <> 'Rome'",
    "facts/fact_customers": "/*\ngrain: customer_id\nkeys:\n"
    "  customer_key: {dimension: dim_customer, on: {customer_id: customer_id}, missing: unknown}\n*/\n"
    "select customer_id, sum(amount) as amount, count(*) as sales from stg_sales group by customer_id "
    "having count(*) > 1",
    "facts/fact_ranked": "/* grain: [customer_id, sale_id] */ select customer_id, sale_id, "
    "row_number() over (partition by customer_id order by sale_id) as rank from stg_sales",
    "facts/fact_kept": "/* grain: sale_id */ select s.sale_id, s.amount - coalesce(r.amount, 0) as kept, r.returns "
    "from stg_sales as s left join (select sale_id, sum(amount) as amount, count(*) as returns from stg_returns "
    "group by sale_id) as r on r.sale_id = s.sale_id",
    "bridges/bridge_customer_tag": "/*\ngrain: [customer_id, tag]\nkeys:\n  tag_key: dim_tag(tag)\nweight: equal\n*/\n"
    "select c.customer_id, t.tag from stg_customers as c cross join unnest(c.tags) as t(tag)",
}
KEYED = sorted(name.split("/")[1] for name in TABLES if name.startswith(("facts", "bridges")))


def keyed_lake(folder: Path) -> TempLake:
    """Return the lake, empty."""
    lake = TempLake(folder)
    lake.stream("customers", {"id": "BIGINT", "city": "VARCHAR", "tags": "VARCHAR[]"})
    lake.stream("sales", {"id": "BIGINT", "customer": "BIGINT", "sold": "TIMESTAMP", "amount": "BIGINT"})
    lake.stream("returns", {"id": "BIGINT", "sale": "BIGINT", "amount": "BIGINT"})
    for name, sql in TABLES.items():
        lake.declare(name, sql)
    return lake


class Life:
    """What happens in the shop, by a seed."""

    def __init__(self, lake: TempLake, seed: int) -> None:
        self.lake = lake
        self.random = Random(seed)
        self.rows: dict[str, dict[int, dict[str, Any]]] = {"customers": {}, "sales": {}, "returns": {}}

    def go_on(self, changes: int) -> None:
        """Change, add and remove some rows of some streams, and read those streams."""
        for stream in self.random.sample(list(self.rows), self.random.randint(1, 3)):
            rows = self.rows[stream]
            for _ in range(changes):
                number = self.random.randint(1, 40 if stream == "sales" else 15)
                if number in rows and self.random.random() < 0.2:
                    del rows[number]
                else:
                    rows[number] = {"id": number, **getattr(self, f"_{stream}")()}
            self.lake.clock.sleep(3600)
            self.lake.land(stream, list(rows.values()), whole=True)

    def _customers(self) -> dict[str, Any]:
        tags = self.random.sample("abcde", self.random.randint(0, 3))
        return {"city": self.random.choice(["Rome", "Bonn", "Ulm", None]), "tags": tags}

    def _sales(self) -> dict[str, Any]:
        day = f"20{self.random.randint(24, 28)}-01-{self.random.randint(1, 28):02}"
        return {"customer": self.random.randint(1, 18), "sold": day, "amount": self.random.randint(1, 9)}

    def _returns(self) -> dict[str, Any]:
        return {"sale": self.random.randint(1, 44), "amount": self.random.randint(1, 3)}
