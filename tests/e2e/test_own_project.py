"""What `starberg new` writes runs as it is, and answers what its sample says."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from product import Product
from servers import Asked, Say, Server


def test_a_new_warehouse_runs_on_its_sample_and_goes_on_with_what_is_added(tmp_path: Path) -> None:
    product = Product(tmp_path)
    for typed in (("warehouse", "sales"), ("dimension", "sales.dim_order"), ("fact", "sales.fact_customers")):
        assert product("new", *typed).code == 0
    sample = tmp_path / "warehouses" / "sales" / "sample"
    orders, customers = (json.loads((sample / f"{name}.json").read_text()) for name in ("orders", "customers"))

    def serve(asked: Asked) -> Say:
        return Say({"/orders.json": orders, "/customers.json": customers}[asked.path])

    with Server(serve) as server:
        product.environ["SALES_URL"] = server.url
        assert product("run", "sales").code == 0
        assert revenue(product) == expected(orders, customers)
        assert product.query("select customer_id from sales.dim_customer where is_inferred") == [[9]]

        orders.append(
            {"id": 105, "customer_id": 9, "ordered_at": "2026-02-12T00:00:00", "quantity": 1, "unit_price": 1}
        )
        customers.append({"id": 9, "name": "Late Riser", "city": "Rome"})
        assert product("run", "sales").code == 0
        assert revenue(product) == expected(orders, customers)
        assert product.query("select name from sales.dim_customer where customer_id = 9") == [["Late Riser"]]
    assert product("verify", "sales").code == 0


def revenue(product: Product) -> dict[tuple[int, str], Decimal]:
    rows = product.query("select month, city, revenue from sales.mart_revenue_by_month")
    return {(month, city): Decimal(str(amount)) for month, city, amount in rows}


def expected(orders: list[dict[str, Any]], customers: list[dict[str, Any]]) -> dict[tuple[int, str], Decimal]:
    cities = {customer["id"]: customer["city"] for customer in customers}
    totals: dict[tuple[int, str], Decimal] = {}
    for order in orders:
        cell = int(order["ordered_at"][5:7]), cities.get(order["customer_id"], "Unknown")
        totals[cell] = totals.get(cell, Decimal()) + order["quantity"] * Decimal(str(order["unit_price"]))
    return totals
