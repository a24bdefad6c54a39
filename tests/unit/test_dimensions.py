"""Dimensions of type 1: members ever seen, inferred members, the unknown member, and the calendar."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from lake import TempLake

from starberg.utils.errors import CheckFailed

SALES = {"id": "BIGINT", "customer": "VARCHAR", "sold": "DATE", "seller": "VARCHAR"}


@pytest.fixture
def lake(tmp_path: Path) -> TempLake:
    lake = TempLake(tmp_path)
    lake.stream("customers", {"id": "VARCHAR", "name": "VARCHAR", "born": "DATE"})
    lake.stream("sales", SALES)
    lake.declare("staging/stg_customers", "select id as customer_id, name, born from customers")
    lake.declare("staging/stg_sales", "select id as sale_id, customer as customer_id, seller, sold from sales")
    lake.declare(
        "dimensions/dim_customer", "/* natural_key: customer_id */ select customer_id, name from stg_customers"
    )
    lake.declare("facts/fact_sales", sales_fact("dim_customer(customer_id)"))
    return lake


def sales_fact(lookup: str) -> str:
    return f"/*\ngrain: sale_id\nkeys:\n  customer_key: {lookup}\n*/ select sale_id, customer_id from stg_sales"


def customers(lake: TempLake, *ids: str, **names: str | None) -> None:
    records: list[dict[str, Any]] = [
        {"id": key, "name": name} for key, name in {**dict.fromkeys(ids, "?"), **names}.items()
    ]
    lake.land("customers", records, whole=True)


def sales(lake: TempLake, *customer_ids: str | None) -> None:
    lake.land("sales", [{"id": n, "customer": customer} for n, customer in enumerate(customer_ids)], whole=True)


def members(lake: TempLake) -> list[tuple[Any, ...]]:
    return lake.rows(
        "SELECT customer_key, customer_id, name, is_inferred, is_deleted FROM dim_customer ORDER BY customer_key"
    )


UNKNOWN = (0, None, "Unknown", False, False)


def test_a_dimension_has_its_members_and_one_unknown(lake: TempLake) -> None:
    customers(lake, b="Bea", a="Ann")
    lake.build()
    assert members(lake) == [UNKNOWN, (1, "a", "Ann", False, False), (2, "b", "Bea", False, False)]


def test_the_unknown_member_is_there_without_any_other_and_is_unknown_in_text_alone(lake: TempLake) -> None:
    lake.declare(
        "dimensions/dim_customer", "/* natural_key: customer_id */ select customer_id, name, born from stg_customers"
    )
    lake.build()
    assert lake.rows("SELECT customer_key, customer_id, name, born FROM dim_customer") == [(0, None, "Unknown", None)]


def test_a_key_nobody_delivered_is_inferred_and_later_corrected_in_place(lake: TempLake) -> None:
    customers(lake, a="Ann")
    sales(lake, "late", "a", None)
    lake.build()
    assert members(lake)[1:] == [(1, "a", "Ann", False, False), (2, "late", None, True, False)]
    customers(lake, a="Ann", late="Lea")
    assert lake.build().changed["dim_customer"] == (0, 1, 0)
    assert members(lake)[1:] == [(1, "a", "Ann", False, False), (2, "late", "Lea", False, False)]
    assert lake.rows("SELECT customer_key FROM fact_sales ORDER BY sale_id") == [(2,), (1,), (0,)]


def test_an_inferred_member_no_fact_uses_any_more_goes_and_its_number_is_not_used_again(lake: TempLake) -> None:
    customers(lake, a="Ann")
    sales(lake, "wrong")
    lake.build()
    sales(lake, "other")
    lake.build()
    assert members(lake)[1:] == [(1, "a", "Ann", False, False), (3, "other", None, True, False)]
    assert lake.verify() == []


def test_a_deleted_member_stays_marked_with_its_last_values_and_number(lake: TempLake) -> None:
    customers(lake, a="Ann", b="Bea")
    sales(lake, "b")
    lake.build()
    customers(lake, a="Ann")
    lake.build()
    assert members(lake)[1:] == [(1, "a", "Ann", False, False), (2, "b", "Bea", False, True)]
    customers(lake, a="Ann", b="Bo")
    lake.build()
    assert members(lake)[2] == (2, "b", "Bo", False, False)


def test_new_members_follow_and_a_rebuild_keeps_the_numbers(lake: TempLake) -> None:
    customers(lake, m="Mo")
    lake.build()
    customers(lake, m="Mo", a="Ann")
    lake.build()
    before = members(lake)
    assert [row[:2] for row in before] == [(0, None), (1, "m"), (2, "a")]
    lake.build(rebuild="*")
    lake.declare(
        "dimensions/dim_customer",
        "/* natural_key: customer_id */ select customer_id, trim(name) as name from stg_customers",
    )
    lake.build()
    assert [row[:2] for row in members(lake)] == [row[:2] for row in before]


def test_no_key_is_inferred_where_the_lookup_says_unknown(lake: TempLake) -> None:
    lake.declare("facts/fact_sales", sales_fact("{dimension: dim_customer, columns: [customer_id], missing: unknown}"))
    customers(lake, a="Ann")
    sales(lake, "nobody", "a")
    lake.build()
    assert len(members(lake)) == 2
    assert lake.rows("SELECT customer_key FROM fact_sales ORDER BY sale_id") == [(0,), (1,)]


def test_two_lookups_of_one_dimension_infer_for_both(lake: TempLake) -> None:
    lake.declare(
        "facts/fact_sales",
        "/*\ngrain: sale_id\nkeys:\n  customer_key: dim_customer(customer_id)\n  seller_key: dim_customer(seller)\n*/ "
        "select sale_id, customer_id, seller from stg_sales",
    )
    lake.land("sales", [{"id": 1, "customer": "x", "seller": "y"}, {"id": 2, "customer": "y", "seller": "x"}])
    lake.build()
    assert lake.rows("SELECT customer_key, seller_key FROM fact_sales ORDER BY sale_id") == [(1, 2), (2, 1)]


def test_a_natural_key_of_several_columns_is_inferred_only_when_whole(lake: TempLake) -> None:
    lake.declare("dimensions/dim_pair", "/* natural_key: [a, b] */ select name as a, born as b from stg_customers")
    lake.declare(
        "facts/fact_sales",
        "/*\ngrain: sale_id\nkeys:\n  pair_key: {dimension: dim_pair, on: {b: sold, a: customer_id}}\n*/ "
        "select sale_id, customer_id, sold from stg_sales",
    )
    lake.land("customers", [{"id": "1", "name": "Ann", "born": "2000-01-01"}])
    lake.land("sales", [
        {"id": 1, "customer": "Ann", "sold": "2000-01-01"}, {"id": 2, "customer": "Ann", "sold": "2000-01-02"},
        {"id": 3, "customer": "Ann", "sold": None}, {"id": 4, "customer": None, "sold": "2000-01-01"},
    ])  # fmt: skip
    lake.build()
    assert lake.rows("SELECT pair_key FROM fact_sales ORDER BY sale_id") == [(1,), (2,), (0,), (0,)]
    assert lake.rows("SELECT a, b, is_inferred FROM dim_pair WHERE pair_key = 2") == [("Ann", date(2000, 1, 2), True)]


def test_two_rows_of_one_natural_key_stop_the_publish(lake: TempLake) -> None:
    lake.declare("dimensions/dim_customer", "/* natural_key: name */ select name, customer_id from stg_customers")
    lake.declare("facts/fact_sales", sales_fact("dim_customer(customer_id)"))
    customers(lake, a="Ann", b="Ann")
    with pytest.raises(CheckFailed, match="key_unique"):
        lake.build()


def test_members_that_become_twins_stop_the_publish_too(lake: TempLake) -> None:
    """Both rows are the same then, so that a comparison by key alone would see no difference."""
    lake.declare("dimensions/dim_customer", "/* natural_key: name */ select name from stg_customers")
    lake.declare("facts/fact_sales", sales_fact("dim_customer(customer_id)"))
    customers(lake, a="Ann")
    lake.build()
    customers(lake, a="Ann", b="Ann")
    with pytest.raises(CheckFailed, match="key_unique"):
        lake.build()


# The calendar

CALENDAR = "/* calendar: {from: 2024-01-01, to: 2024-12-31} */ select date, year(date) as year from calendar"


def dated(lake: TempLake, lookup: str = "dim_date(sold)") -> None:
    lake.declare("dimensions/dim_date", CALENDAR)
    lake.declare(
        "facts/fact_sales",
        f"/*\ngrain: sale_id\nkeys:\n  date_key: {lookup}\n*/ select sale_id, sold from stg_sales",
    )


def sold(lake: TempLake, *days: str | None) -> None:
    lake.land("sales", [{"id": n, "sold": day} for n, day in enumerate(days)], whole=True)


def years(lake: TempLake) -> list[tuple[Any, ...]]:
    return lake.rows("SELECT year, count(*) FROM dim_date GROUP BY 1 ORDER BY 1")


def test_the_calendar_has_every_day_of_its_range_and_an_unknown_one(lake: TempLake) -> None:
    dated(lake)
    lake.build()
    assert years(lake) == [(2024, 366), (None, 1)]
    assert lake.rows("SELECT date_key, date FROM dim_date WHERE date_key IN (0, 20240229) ORDER BY 1") == [
        (0, None), (20240229, date(2024, 2, 29))
    ]  # fmt: skip


def test_the_calendar_grows_by_the_years_in_use_and_shrinks_again(lake: TempLake) -> None:
    dated(lake)
    sold(lake, "2024-05-01", "0001-01-01", "9999-12-31", "2023-02-03")
    lake.build()
    assert years(lake) == [(1, 365), (2023, 365), (2024, 366), (9999, 365), (None, 1)]
    keys = lake.rows("SELECT date_key FROM fact_sales ORDER BY sale_id")
    assert keys == [(20240501,), (10101,), (99991231,), (20230203,)]
    sold(lake, "2024-05-01")
    lake.build()
    assert years(lake) == [(2024, 366), (None, 1)]


def test_a_null_date_is_key_0(lake: TempLake) -> None:
    dated(lake)
    sold(lake, None, "2024-01-01")
    lake.build()
    assert lake.rows("SELECT date_key FROM fact_sales ORDER BY sale_id") == [(0,), (20240101,)]


@pytest.mark.parametrize("missing", ["unknown", "fail"])
def test_a_day_outside_the_calendar_is_treated_as_the_lookup_says(lake: TempLake, missing: str) -> None:
    dated(lake, f"{{dimension: dim_date, columns: [sold], missing: {missing}}}")
    sold(lake, "2023-05-01", "2024-01-01")
    if missing == "fail":
        with pytest.raises(CheckFailed, match="date_key"):
            lake.build()
        return
    lake.build()
    assert lake.rows("SELECT date_key FROM fact_sales ORDER BY sale_id") == [(0,), (20240101,)]
