"""The gate of keyed recomputation: what passes and by which columns, what does not and why; and that it is used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lake import TempLake

from starberg.etl import keyed_build
from starberg.etl.keyed import Joined, Refused, keyed

sys.path.append(str(Path(__file__).parents[1] / "properties"))
from keyed_lake import KEYED, keyed_lake


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    return keyed_lake(tmp_path)


def test_units_are_the_grains_columns_that_are_the_drivers_and_joins_tell_how_inputs_reach_them(lake: TempLake) -> None:
    found = {name: keyed(lake.warehouse.tables[name], lake.warehouse) for name in KEYED}
    assert {name: dict(how.unit) for name, how in found.items()} == {
        "bridge_customer_tag": {"customer_id": "customer_id"},
        "fact_customers": {"customer_id": "customer_id"},
        "fact_inner": {"sale_id": "sale_id"},
        "fact_joined": {"sale_id": "sale_id"},
        "fact_kept": {"sale_id": "sale_id"},
        "fact_ranked": {"customer_id": "customer_id"},
        "fact_sales": {"sale_id": "sale_id"},
    }
    assert [*found["fact_joined"].joined, *found["fact_kept"].joined] == [
        Joined("stg_customers", {"customer_id": "customer_id"}),
        Joined("stg_returns", {"sale_id": "sale_id"}),
    ]


@pytest.mark.parametrize(
    ("grain", "select", "said"),
    [
        ("sale_id", "select sale_id from stg_sales union all select return_id from stg_returns", "no single SELECT"),
        ("sale_id", "with s as (select sale_id from stg_sales) select sale_id from s", "no staging table stands"),
        ("sale_id", "with s as (select 1 as a) select sale_id from stg_sales cross join s", "it has WITH"),
        ("sale_id", "select sale_id from (select sale_id from stg_sales)", "no staging table stands"),
        ("id", "select sale_id + 1 as id from stg_sales", "no column of its grain"),
        ("sale_id", "select sale_id, sum(amount) over (partition by customer_id) as a from stg_sales", "no column of"),
        ("sale_id", "select sale_id, sum(amount) over () as a from stg_sales", "no column of its grain"),
        ("sale_id", "select min(sale_id) as sale_id from stg_sales group by customer_id", "no column of its grain"),
        ("sale_id", "select s.sale_id from stg_sales s right join stg_returns r using (sale_id)", "RIGHT JOIN"),
        ("sale_id", "select s.sale_id from stg_sales s join stg_returns r on r.amount > s.amount", "by no column that"),
        (
            "sale_id",
            "select s.sale_id from stg_sales s join stg_sales o on o.customer_id = s.customer_id",
            "stg_sales is read elsewhere than in FROM or a join, or twice",
        ),
        (
            "sale_id",
            "select sale_id from stg_sales where sale_id in (select sale_id from stg_returns)",
            "stg_returns is read elsewhere",
        ),
        (
            "sale_id",
            (
                "select s.sale_id from stg_sales s join (select sale_id, sum(sum(amount)) over () as a from "
                "stg_returns group by sale_id) r on r.sale_id = s.sale_id"
            ),
            "by no column that equals",
        ),
        (
            "sale_id",
            (
                "select s.sale_id from stg_sales s join (select sale_id from stg_returns order by sale_id limit 3) r "
                "on r.sale_id = s.sale_id"
            ),
            "it has LIMIT",
        ),
    ],
)
def test_what_does_not_pass_is_told(lake: TempLake, grain: str, select: str, said: str) -> None:
    lake.declare("facts/fact_other", f"/* grain: {grain} */ {select}")
    with pytest.raises(Refused, match=said):
        keyed(lake.warehouse.tables["fact_other"], lake.warehouse)


def test_few_changes_are_computed_by_key_and_many_in_full(lake: TempLake, monkeypatch: pytest.MonkeyPatch) -> None:
    sales = [{"id": n, "customer": 1 + n % 3, "sold": "2026-01-01", "amount": n} for n in range(20)]
    lake.land("customers", [{"id": 1, "city": "Rome", "tags": ["a", "b"]}])
    lake.land("sales", sales)
    lake.build()
    lake.land("sales", [{**sales[4], "amount": 400}])
    built = lake.build()
    assert built.tables["fact_sales"].strategy == "keyed"
    assert built.changed["fact_sales"] == built.changed["fact_kept"] == (0, 1, 0)
    assert lake.rows("SELECT sum(amount) FROM fact_sales") == lake.rows("SELECT sum(amount) FROM stg_sales")
    lake.clock.sleep(3600)
    lake.land("customers", [{"id": 1, "city": "Bonn", "tags": ["b"]}])
    built = lake.build()
    assert built.tables["fact_joined"].strategy == "full", "a third of the sales are the customer's"
    assert built.tables["bridge_customer_tag"].strategy == "full"
    monkeypatch.setattr(keyed_build, "KEYED_SHARE", 0)
    lake.land("sales", sales[4:5])
    assert lake.build().tables["fact_sales"].strategy == "full"
    assert lake.verify() == []
