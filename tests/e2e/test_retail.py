"""The retail warehouse over a real PostgreSQL: small data, and numbers worked out by hand.

Five customers, two products. Between the runs customer 1 moves, product 1 gets a new price, product 2 another group,
a receipt is cancelled and one arrives late with a date of the past.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

import pytest
from database import Database
from operations import Operations

from starberg.utils.errors import CheckFailed

pytestmark = pytest.mark.proof

CUSTOMERS = """insert into customers (customer_id, first_name, last_name, email, phone, street, city, postal_code,
    country, segment, created_at, updated_at)
select id, first, last, ' Mail@Example.org ', '+1 (2) 3', 'a  street', city, ' ab1 ', country, segment, made, made
from (values
    (1, ' Ann', 'Lee ', 'Berlin', ' germany', 'CONSUMER', timestamptz '2026-01-01Z'),
    (2, 'Bob', 'Stone', 'Leeds', 'UNITED kingdom', ' wholesale', '2026-01-02Z'),
    (3, 'Cy', 'Day', 'Lyon', 'fr', 'Consumer', '2026-01-03Z'),
    (4, 'Di', 'Ray', 'Rome', 'Italy', 'consumer', '2026-01-04Z'),
    (5, 'Ed', 'May', 'Oslo', 'Norway', 'consumer', '2026-01-05Z')
) as v (id, first, last, city, country, segment, made)"""
PRODUCTS = """insert into products (product_id, product_name, product_group, unit_price, created_at, updated_at) values
    (1, 'Lamp', ' home & GARDEN', 10.00, '2026-01-01Z', '2026-01-01Z'),
    (2, 'Book', 'books ', 5.50, '2026-01-01Z', '2026-01-01Z')"""
SALES = "insert into sales values " + ", ".join(
    (
        "(1, 1, 1, '2026-01-10 10:00Z', 2, 10.00, 0, 20.00)",
        "(2, 1, 2, '2026-01-10 12:00Z', 1, 5.50, 0.50, 5.00)",
        "(3, 2, 1, '2026-01-20 09:00Z', 3, 10.00, 1.00, 29.00)",
        "(4, 2, 1, '2026-01-25 09:00Z', -1, 10.00, 0, -10.00)",
    )
)
CHANGES = (
    "update customers set city = 'Munich', updated_at = '2026-02-01Z' where customer_id = 1",
    "update products set unit_price = 12.00, updated_at = '2026-02-01Z' where product_id = 1",
    "update products set product_group = ' MEDIA', updated_at = '2026-02-01Z' where product_id = 2",
    "insert into sales values (5, 1, 1, '2026-02-10 08:00Z', 1, 12.00, 0, 12.00)",
    "insert into sales values (6, 3, 2, '2026-02-10 23:59:59.999Z', 4, 5.50, 2.00, 20.00)",
    "insert into sales values (7, 1, 2, '2026-01-24 12:00Z', 2, 5.50, 0, 11.00)",
    "delete from sales where sale_id = 2",
    "delete from customers where customer_id = 4",
)
WRONG = "insert into sales values (8, 3, 2, '2026-02-11Z', 1, 5.50, 0, 5.49)"


class Shop(Operations):
    """The warehouse after its runs."""

    first: str
    second: str
    failed: str


@pytest.fixture(scope="module")
def shop(source: Database, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop.retail(tmp_path_factory.mktemp("retail"), source)
    assert isinstance(shop, Shop)
    source.run(CUSTOMERS, PRODUCTS, SALES)
    shop.first = shop.run().run_id
    source.run(*CHANGES)
    shop.second = shop.run().run_id
    return shop


def test_names_places_and_codes_are_standard_in_staging_and_untouched_in_the_mirror(shop: Shop) -> None:
    asked = "select customer_id, full_name, country, segment, email, phone, street, postal_code from stg_dim_customers"
    assert shop.rows(f"{asked} order by 1 limit 3") == [
        (1, "Ann Lee", "Germany", "consumer", "mail@example.org", "+123", "a street", "AB1"),
        (2, "Bob Stone", "United Kingdom", "wholesale", "mail@example.org", "+123", "a street", "AB1"),
        (3, "Cy Day", "FR", "consumer", "mail@example.org", "+123", "a street", "AB1"),
    ]
    assert shop.rows("select first_name, country from mrr_dim_customers where customer_id = 1") == [
        (" Ann", " germany")
    ]
    assert shop.rows("select distinct product_group from stg_dim_products order by 1") == [
        ("Home & Garden",),
        ("Media",),
    ]
    parts = "select transaction_year, transaction_month, transaction_day from stg_fact_sales where sale_id = 6"
    assert shop.rows(parts) == [(2026, 2, 10)]


def test_a_customer_who_moved_and_a_product_with_a_new_price_have_two_versions(shop: Shop) -> None:
    moved, never = datetime(2026, 2, 1), None
    versions = "effective_from, effective_to, is_current from"
    assert shop.rows(f"select city, {versions} dwh_dim_customers where customer_id = 1 order by effective_from") == [
        ("Berlin", datetime(2026, 1, 1), moved, False),
        ("Munich", moved, never, True),
    ]
    assert shop.rows(
        f"select unit_price, {versions} dwh_dim_products where product_id = 1 order by effective_from"
    ) == [
        (Decimal("10.00"), datetime(2026, 1, 1), moved, False),
        (Decimal("12.00"), moved, never, True),
    ]
    [(deleted, current)] = shop.rows("select is_deleted, is_current from dwh_dim_customers where customer_id = 4")
    assert (deleted, current) == (True, False)


def test_sales_carry_the_versions_of_their_time_also_when_they_come_late(shop: Shop) -> None:
    assert shop.rows(
        "select sale_id, city, product_group, date_key, quantity, s.unit_price, discount, amount "
        "from dwh_fact_sales s join dwh_dim_customers using (customer_key) join dwh_dim_products using (product_key) "
        "order by sale_id"
    ) == [
        (1, "Berlin", "Home & Garden", 20260110, 2, Decimal("10.00"), Decimal("0.00"), Decimal("20.00")),
        (3, "Leeds", "Home & Garden", 20260120, 3, Decimal("10.00"), Decimal("1.00"), Decimal("29.00")),
        (4, "Leeds", "Home & Garden", 20260125, -1, Decimal("10.00"), Decimal("0.00"), Decimal("-10.00")),
        (5, "Munich", "Home & Garden", 20260210, 1, Decimal("12.00"), Decimal("0.00"), Decimal("12.00")),
        (6, "Lyon", "Media", 20260210, 4, Decimal("5.50"), Decimal("2.00"), Decimal("20.00")),
        (7, "Berlin", "Books", 20260124, 2, Decimal("5.50"), Decimal("0.00"), Decimal("11.00")),
    ]


def test_totals_of_each_day_are_the_source_s_in_every_layer(shop: Shop, source: Database) -> None:
    by_day = (
        "select {day} as day, count(*), sum(quantity), sum(discount), sum(amount) from {table} group by 1 order by 1"
    )
    utc = "(transaction_date at time zone 'UTC')::date"
    expected = source.rows(by_day.format(day=utc, table="sales"))
    assert len(expected) == 5
    live = "(from {} where _deleted_at is null)"
    for table, day in (
        (live.format("mrr_fact_sales"), "transaction_date::date"),
        (live.format("stg_fact_sales"), "sold_on"),
        ("dwh_fact_sales", "sold_on"),
    ):
        assert shop.rows(by_day.format(day=day, table=table)) == expected, table


METRICS = [
    (1, 3, 5, Decimal("43.00"), datetime(2026, 1, 10, 10), datetime(2026, 2, 10, 8), Decimal("14.33")),
    (2, 1, 2, Decimal("19.00"), datetime(2026, 1, 20, 9), datetime(2026, 1, 20, 9), Decimal("19.00")),
    (
        3,
        1,
        4,
        Decimal("20.00"),
        datetime(2026, 2, 10, 23, 59, 59, 999000),
        datetime(2026, 2, 10, 23, 59, 59, 999000),
        Decimal("20.00"),
    ),
    (5, 0, 0, Decimal("0.00"), None, None, None),
]
_METRICS = "customer_id, orders, quantity, revenue, first_purchase, last_purchase, average_basket from customer_metrics"


def test_customer_metrics_are_those_of_the_run(shop: Shop) -> None:
    assert shop.rows(f"select {_METRICS} order by 1") == METRICS


def test_refreshed_customer_metrics_are_the_published_ones(shop: Shop) -> None:
    assert shop.rows(f"CALL sp_refresh_customer_metrics(); select {_METRICS} order by 1") == METRICS
    every = "customer_id, full_name, segment, orders, quantity, revenue, first_purchase, last_purchase, average_basket"
    both = f"select {every} from {{}} except all select {every} from {{}}"
    for one, other in (("temp.customer_metrics", "retail.customer_metrics"),) * 2:
        assert shop.rows(f"CALL sp_refresh_customer_metrics(); {both.format(one, other)}") == []
        assert shop.rows(f"CALL sp_refresh_customer_metrics(); {both.format(other, one)}") == []
    typed = shop.asked("CALL sp_refresh_customer_metrics(); SELECT * FROM customer_metrics")
    assert sorted(row["customer_id"] for row in typed) == [1, 2, 3, 5]


def test_the_sales_report_as_it_is_typed(shop: Shop) -> None:
    typed = "CALL sp_aggregate_sales_report('2026-01-01','2026-01-31'); SELECT * FROM temp_sales_report"
    assert shop.asked(typed) == [
        {
            "sales_date": day,
            "product_group": group,
            "sales": 1,
            "quantity": quantity,
            "discount": discount,
            "amount": amount,
        }
        for day, group, quantity, discount, amount in (
            ("2026-01-10", "Home & Garden", 2, "0.00", "20.00"),
            ("2026-01-20", "Home & Garden", 3, "1.00", "29.00"),
            ("2026-01-24", "Books", 2, "0.00", "11.00"),
            ("2026-01-25", "Home & Garden", -1, "0.00", "-10.00"),
        )
    ]
    february = (
        "CALL sp_aggregate_sales_report('2026-02-01','2026-02-28'); select product_group, amount from temp_sales_report"
    )
    assert shop.rows(f"{february} order by 1") == [("Home & Garden", Decimal("12.00")), ("Media", Decimal("20.00"))]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("fn_avg_quantity_per_customer(1)", 1.67),  # 2, 1 and 2
        ("fn_avg_quantity_per_customer(2)", 3.0),  # the return is left out
        ("fn_avg_quantity_per_customer(5)", None),
        ("fn_product_sales_velocity(1, 5)", 0.2),  # 1 in the 5 days up to 10 February
        ("fn_product_sales_velocity(1, 30)", 0.1),  # 3, 1 given back, 1
        ("fn_product_sales_velocity(2, 20)", 0.3),  # 2 and 4
        ("fn_product_sales_velocity(9, 20)", 0.0),
        (
            "fn_product_group_performance('home & garden', '2026-01-01', '2026-01-31')",
            {
                "sales": 3,
                "customers": 2,
                "quantity": 4,
                "revenue": Decimal("39.00"),
                "average_sale": Decimal("13.00"),
            },
        ),
        ("fn_product_group_performance('Media', '2026-01-01', '2026-12-31').revenue", Decimal("20.00")),
        ("fn_product_group_performance('none', '2026-01-01', '2026-12-31').sales", 0),
    ],
)
def test_functions_answer_what_was_worked_out_by_hand(shop: Shop, call: str, answer: object) -> None:
    assert shop.rows(f"select {call}") == [(answer,)]


def test_a_function_is_asked_for_each_row(shop: Shop) -> None:
    asked = "select customer_id, fn_avg_quantity_per_customer(customer_id) from dwh_dim_customers where is_current"
    assert shop.rows(f"{asked} and customer_key <> 0 order by 1") == [(1, 1.67), (2, 3.0), (3, 4.0), (5, None)]


def test_the_top_customers_are_those_of_the_state_that_is_asked(shop: Shop) -> None:
    top = "select place, customer_id, revenue from fn_top_customers(2) order by place"
    assert shop.rows(top) == [(1, 1, Decimal("43.00")), (2, 3, Decimal("20.00"))]
    assert shop.rows(top, at=shop.first) == [(1, 1, Decimal("25.00")), (2, 2, Decimal("19.00"))]


def test_rows_by_layer(shop: Shop) -> None:
    found = shop.rows(
        "select layer, table_name, row_count from vw_row_counts_by_layer where table_name not like '%date'"
    )
    assert sorted(found) == [
        ("dwh", "dwh_dim_customers", 6),  # of 1 two versions, of 4 one that ended
        ("dwh", "dwh_dim_products", 4),
        ("dwh", "dwh_fact_sales", 6),
        ("mrr", "mrr_dim_customers", 4),
        ("mrr", "mrr_dim_products", 2),
        ("mrr", "mrr_fact_sales", 6),
        ("operational", "customers", 4),
        ("operational", "products", 2),
        ("operational", "sales", 6),
        ("stg", "stg_dim_customers", 4),
        ("stg", "stg_dim_products", 2),
        ("stg", "stg_fact_sales", 6),
    ]
    assert shop.rows("select count(*) from vw_row_counts_by_layer where counted_at is null") == [(0,)]
    sales = "select row_count from vw_row_counts_by_layer where layer = 'operational' and table_name = 'sales'"
    assert shop.rows(sales, at=shop.first) == [(4,)]


def test_marks_are_the_newest_times_of_the_source(shop: Shop, source: Database) -> None:
    marks = dict(shop.rows("select table_name, high_water_mark::timestamp from high_water_mark"))
    [(sold,)] = source.rows("select max(transaction_date) at time zone 'UTC' from sales")
    assert marks == {"customers": datetime(2026, 2, 1), "products": datetime(2026, 2, 1), "sales": sold}
    before = "select high_water_mark::timestamp from high_water_mark where table_name = 'sales'"
    assert shop.rows(before, at=shop.first) == [(datetime(2026, 1, 25, 9),)]


def test_logs_tell_of_each_run_and_each_table(shop: Shop) -> None:
    logged = f"from etl_logs where log_id like '{shop.second}%'"
    assert shop.rows(f"select process_name, layer, status, error_message {logged} and layer = 'all'") == [
        ("run", "all", "SUCCESS", None)
    ]
    rows = dict(shop.rows(f"select process_name, rows {logged} and layer <> 'all'"))
    assert {name: rows[name] for name in ("mrr_fact_sales", "stg_fact_sales", "dwh_fact_sales")} == {
        "mrr_fact_sales": 4,  # three came, one is marked as deleted
        "stg_fact_sales": 4,
        "dwh_fact_sales": 4,
    }
    assert shop.rows(f"select count(*) {logged} and (start_time is null or end_time < start_time)") == [(0,)]
    read = f"select rows_read from etl_table_runs where run_id = '{shop.second}' and table_name = 'stg_fact_sales'"
    assert shop.rows(read) == [(4,)]


def test_a_failed_check_moves_no_mark_and_is_in_the_logs_until_the_source_is_mended(
    shop: Shop, source: Database
) -> None:
    marks = "select table_name, high_water_mark, last_updated from high_water_mark order by 1"
    before, runs = shop.rows(marks), shop.rows("select count(*) from vw_recent_etl_runs")
    [(constraint,)] = source.rows(
        "select conname from pg_constraint where pg_get_constraintdef(oid) like '%unit_price) -%'"
    )
    source.run(f"alter table sales drop constraint {constraint}", WRONG)
    with pytest.raises(CheckFailed, match="amounts_are_what_was_sold"):
        shop.run()
    assert shop.rows(marks) == before
    [failed] = shop.rows("select status, error_message from vw_recent_etl_runs where place = 1")
    assert failed[0] == "FAILED"
    assert "amounts_are_what_was_sold" in failed[1]
    assert shop.rows("select status from etl_logs where error_message is not null") == [("FAILED",)]
    summary = "select runs, success_rate, total_rows > 0 from vw_etl_performance_summary where process_name = 'run'"
    assert shop.rows(summary) == [(3, 0.6667, True)]
    assert shop.rows("select count(*) from vw_recent_etl_runs") == [(runs[0][0] + 1,)]

    source.run(
        "delete from sales where sale_id = 8", "insert into sales values (9, 3, 2, '2026-02-12Z', 1, 5.50, 0, 5.50)"
    )
    shop.run()
    sales = "select high_water_mark::timestamp, source_rows from high_water_mark where table_name = 'sales'"
    assert shop.rows(sales) == [(datetime(2026, 2, 12), 7)]
    assert shop.rows("select sum(amount) from dwh_fact_sales where sold_on >= date '2026-02-11'") == [
        (Decimal("5.50"),)
    ]
    assert shop.lake().verify("retail").equal


def test_a_run_without_changes_writes_no_file_of_the_tables(shop: Shop) -> None:
    def tables() -> dict[str, str]:
        logs = ("retail.etl_runs",)
        return {name: at for name, at in shop.lake().catalog.state().tables.items() if name not in logs}

    before = tables()
    assert shop.run().status == "SKIPPED"
    assert tables() == before


def test_a_new_column_of_the_source_is_in_the_mirror_by_itself(shop: Shop, source: Database) -> None:
    source.run(
        "alter table products add column shelf text",
        "insert into products values (3, 'Pen', 'Office', 1.00, true, '2026-02-20Z', '2026-02-20Z', 'B2')",
    )
    shop.run()
    assert shop.rows("select product_id, shelf from mrr_dim_products order by 1") == [(1, None), (2, None), (3, "B2")]
    assert shop.rows("select product_group from dwh_dim_products where product_id = 3") == [("Office",)]


def test_a_sale_is_explained_by_its_row_in_the_source(shop: Shop) -> None:
    explained = json.loads(shop.type("--json", "explain", "retail.dwh_fact_sales", "7").out)
    raw = explained["raw"]
    assert (raw["load"], raw["record"]["customer_id"], raw["record"]["amount"]) == (2, 1, "11.00")
    assert raw["record"]["transaction_date"] == "2026-01-24 12:00:00+00"
    moved = json.loads(shop.type("--json", "explain", "retail.dwh_dim_customers", "1").out)
    assert [version["city"] for version in moved["versions"]] == ["Berlin", "Munich"]
    assert shop.type("compile", "retail.mrr_fact_sales").code == 0


def test_tables_lists_the_views(shop: Shop) -> None:
    listed = {row["table"] for row in json.loads(shop.type("--json", "tables", "retail").out)}
    views = {"etl_logs", "vw_recent_etl_runs", "vw_row_counts_by_layer", "vw_etl_performance_summary"}
    assert {f"retail.{name}" for name in views} <= listed
