from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import duckdb
import pytest

from starberg.etl.control_tables import TABLES
from starberg.etl.headers import StagingHeader
from starberg.etl.model import Kind
from starberg.etl.project import interpolate, load_warehouse, load_warehouses, shipped_warehouses
from starberg.etl.sql_types import type_problem
from starberg.storage.iceberg_schemas import iceberg_type
from starberg.utils.errors import DeclarationError

FILES = {
    "warehouse.yml": """\
description: Orders.
sources:
  shop:
    kind: rest
    url: ${SHOP_URL:http://localhost/api}
    retries: ${SHOP_RETRIES:3}
    streams:
      orders:
        key: [id]
        columns: {id: BIGINT, customer_id: BIGINT, ordered_at: TIMESTAMP, amount: "DECIMAL(18, 2)"}
        undeclared: ignore
      customers: {key: [id], columns: {id: BIGINT, name: VARCHAR}}
""",
    "staging/stg_orders.sql": "select id as order_id, customer_id, ordered_at, amount from orders",
    "staging/stg_customers.sql": "select id as customer_id, name from customers",
    "dimensions/dim_customer.sql": "/* natural_key: customer_id */ select customer_id, name from stg_customers",
    "dimensions/dim_date.sql": "/* calendar: {} */ select date, year(date) as year from calendar",
    "facts/fact_orders.sql": """\
/*
grain: order_id
keys:
  customer_key: dim_customer(customer_id)
  date_key: dim_date(ordered_at)
*/
select order_id, amount from stg_orders
""",
    "marts/mart_revenue.sql": "select sum(amount) as revenue from fact_orders",
    "checks/revenue_is_positive.sql": "select revenue from mart_revenue where revenue < 0",
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the warehouse with some files changed (None: left out), and return its folder."""
    number = count()

    def warehouse(changed: Mapping[str, str | None] | None = None, name: str = "sales") -> Path:
        home = tmp_path / f"project{next(number)}" / "warehouses" / name
        for file, text in {**FILES, **(changed or {})}.items():
            if text is not None:
                (home / file).parent.mkdir(parents=True, exist_ok=True)
                (home / file).write_text(text)
        return home

    return warehouse


def told(home: Path, environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(DeclarationError) as error:
        load_warehouse(home, environment or {})
    return str(error.value).removeprefix(f"{home}/")


def test_a_folder_becomes_a_warehouse_in_building_order(write: Write) -> None:
    warehouse = load_warehouse(write(), {})
    assert warehouse.name == "sales"
    assert warehouse.description == "Orders."
    assert list(warehouse.tables) == [
        *(
            "stg_customers",
            "stg_orders",
            "dim_customer",
            "dim_date",
            "fact_orders",
            "mart_revenue",
            "revenue_is_positive",
        )
    ]
    assert [table.name for table in warehouse.of_kind(Kind.FACT)] == ["fact_orders"]


def test_sources_and_streams_know_their_names(write: Write) -> None:
    warehouse = load_warehouse(write(), {})
    source, stream = warehouse.stream_of(warehouse.tables["stg_orders"])
    assert (source.name, stream.name) == ("shop", "orders")


def test_key_columns_left_out_of_a_select_are_added_from_its_driver(write: Write) -> None:
    fact = load_warehouse(write(), {}).tables["fact_orders"]
    added = '"stg_orders"."customer_id", "stg_orders"."ordered_at"'
    assert fact.select == f"select order_id, amount, {added} from stg_orders"


# Variables


def test_variables_are_replaced_and_typed(write: Write) -> None:
    home = write()
    source = load_warehouse(home, {"SHOP_URL": "http://shop", "SHOP_RETRIES": "7"}).sources["shop"]
    assert (source.url, source.retries) == ("http://shop", 7)
    source = load_warehouse(home, {"SHOP_URL": ""}).sources["shop"]
    assert (source.url, source.retries) == ("http://localhost/api", 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"),
        ("x${A}y${A:2}", "x1y1"),
        ("${B:2}", "2"),
        ("${B:-2}", "2"),
        ("${B:}", ""),
        ("${B:http://h:80/p}", "http://h:80/p"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
    ],
)
def test_a_variable_has_a_value_or_a_default(text: str, value: str) -> None:
    assert interpolate(text, {"A": "1"}) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url: ${NOWHERE}", "NOWHERE is not set. Set NOWHERE, or write ${NOWHERE:default}."),
        ("url: ${NO WHERE}", "${NO WHERE} is no variable. Write ${NAME} or ${NAME:default}."),
        ("headers: {x: '${SHOP_API_KEY}'}", "SHOP_API_KEY holds a secret. Write `auth: {secret: SHOP_API_KEY}`"),
        ("auth: {secret: '${SHOP_USER}'}", "takes the name of a setting, not its value. Write SHOP_USER."),
    ],
)
def test_a_variable_that_may_not_be_replaced_is_told(write: Write, text: str, message: str) -> None:
    home = write({"warehouse.yml": f"sources:\n  shop:\n    kind: rest\n    {text}\n    streams: {{}}\n"})
    error = told(home, {"SHOP_API_KEY": "hunter22", "SHOP_USER": "hunter22"})
    assert error.startswith("warehouse.yml:4: sources.shop.")
    assert message in error
    assert "hunter22" not in error


# Streams


def stream(lines: str) -> str:
    return f"sources:\n  shop:\n    kind: rest\n    streams:\n      orders:\n{lines}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (stream("        key: []\n"), "warehouse.yml:6: sources.shop.streams.orders.key: is empty"),
        (
            stream("        key: [id]\n        columns:\n          a: VARCHR\n"),
            "warehouse.yml:8: sources.shop.streams.orders.columns.a: 'VARCHR' is not a SQL type. Did you mean 'VAR",
        ),
        (
            stream("        key: [id]\n        columns:\n          a:\n            type: INTERVAL\n"),
            "warehouse.yml:9: sources.shop.streams.orders.columns.a.type: INTERVAL has no Iceberg type",
        ),
        (
            stream("        key: [id]\n        columsn: {}\n"),
            "warehouse.yml:7: sources.shop.streams.orders.columsn: unknown",
        ),
        ("source: {}", "warehouse.yml:1: source: unknown key. Did you mean 'sources'?"),
    ],
)
def test_a_mistake_in_warehouse_yml_is_told_with_its_line(write: Write, text: str, message: str) -> None:
    assert told(write({"warehouse.yml": text})).startswith(message)


@pytest.mark.parametrize(
    ("header", "body", "message"),
    [
        ("", "from order", "staging/stg_orders.sql:1:28: no stream 'order' in warehouse.yml. Did you mean 'orders'?"),
        ("/* stream: shop.order */", "from orders", "staging/stg_orders.sql:1: stream: no stream 'shop.order'"),
        ("/* stream: orders */", "from customers", "staging/stg_orders.sql:1: stream: the header says stream 'orders'"),
        ("", "from shop.orders", "staging/stg_orders.sql:1:28: a stream is read by its own name. Write FROM orders,"),
    ],
)
def test_a_staging_table_names_its_stream(write: Write, header: str, body: str, message: str) -> None:
    sql = f"{header}select id as order_id {body}"
    assert told(write({"staging/stg_orders.sql": sql})).startswith(message)


def test_a_stream_two_sources_have_is_named_with_its_source(write: Write) -> None:
    two = FILES["warehouse.yml"] + "  old_shop:\n    kind: rest\n    streams:\n      orders: {key: [id]}\n"
    assert "Write `stream: shop.orders` or `stream: old_shop.orders` in the header." in told(
        write({"warehouse.yml": two})
    )
    header = "/* stream: old_shop.orders */ "
    home = write({"warehouse.yml": two, "staging/stg_orders.sql": header + FILES["staging/stg_orders.sql"]})
    table = load_warehouse(home, {}).tables["stg_orders"]
    assert isinstance(table.header, StagingHeader)
    assert table.header.stream == "old_shop.orders"


def test_a_staging_table_passes_its_streams_key_on(write: Write) -> None:
    error = told(write({"staging/stg_orders.sql": "select id + 1 as order_id, amount from orders"}))
    assert error.startswith("staging/stg_orders.sql: the stream's key column 'id' is not passed on as it is")


# What a table may read


@pytest.mark.parametrize(
    ("file", "sql", "message"),
    [
        ("dimensions/dim_x.sql", "/* natural_key: a */ select a from stg_order", "no staging table 'stg_order'"),
        ("dimensions/dim_x.sql", "/* natural_key: a */ select a from fact_orders", "'fact_orders' is no staging table"),
        ("dimensions/dim_x.sql", "/* natural_key: a */ select a from other.stg_x", "no staging table 'other.stg_x'"),
        (
            "dimensions/dim_x.sql",
            "/* calendar: {} */ select date from stg_orders",
            "a date dimension reads calendar alone",
        ),
        ("facts/fact_x.sql", "/* grain: a */ select order_id as a from sales.stg_orders", "Write FROM stg_orders."),
        (
            "facts/fact_x.sql",
            "/* grain: a */ select customer_id as a from dim_customer",
            "Keys of dimensions are looked up",
        ),
        ("facts/fact_x.sql", "/* grain: a */ select date as a from calendar", "no staging table 'calendar'"),
        ("marts/mart_x.sql", "select amount from fact_order", "no table 'fact_order'. Did you mean 'fact_orders'?"),
        ("marts/mart_x.sql", "select amount from sales.fact_order", "no table 'sales.fact_order'"),
        ("marts/mart_x.sql", "select revenue from revenue_is_positive", "is a check, not a table"),
        ("marts/mart_x.sql", "select a from STG_ORDERS", "no table 'STG_ORDERS'. Did you mean 'stg_orders'?"),
        ("checks/x.sql", "select a from nothing", "there is no table 'nothing'"),
    ],
)
def test_a_table_reads_what_its_kind_may(write: Write, file: str, sql: str, message: str) -> None:
    error = told(write({file: sql}))
    assert error.startswith(f"{file}:1:")
    assert message in error


@pytest.mark.parametrize("read", [*TABLES, "quarantine_orders", "stg_orders", "sales.fact_orders", "dim_date"])
def test_marts_and_checks_read_anything_of_their_warehouse(write: Write, read: str) -> None:
    home = write({"marts/mart_x.sql": f"select x.* from {read} as x", "checks/x.sql": f"select 1 from {read}"})
    assert load_warehouse(home, {}).tables["mart_x"].reads == (read,)


# What a header may name


def fact(header: str, select: str = "select order_id, amount from stg_orders") -> dict[str, str | None]:
    return {"facts/fact_orders.sql": f"/*\n{header}\n*/\n{select}\n"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("grain: order_no", "2: grain: the SELECT has no column 'order_no'"),
        ("grain: order_id\nkeys:\n  k: dim_customers(customer_id)", "4: keys.k: there is no dimension 'dim_customers'"),
        ("grain: order_id\nkeys:\n  k: stg_orders(customer_id)", "4: keys.k: there is no dimension 'stg_orders'"),
        ("grain: order_id\nkeys:\n  k: dim_customer(customer)", "4: keys.k: the SELECT has no column 'customer'"),
        ("grain: order_id\nkeys:\n  k: dim_customer(order_id, amount)", "4: keys.k: dim_customer takes 1 columns"),
        ("grain: order_id\nkeys:\n  k: dim_date(order_id, amount)", "4: keys.k: dim_date takes one date"),
        (
            "grain: order_id\nkeys:\n  k: {dimension: dim_customer, on: {id: customer_id}}",
            "4: keys.k.on: these are not the natural key of dim_customer",
        ),
        ("grain: order_id\npartition: month(sold_at)", "3: partition: the SELECT has no column 'sold_at'"),
        ("grain: order_id\npartition: week(ordered_at)", "3: partition: 'week(ordered_at)' is not a column or"),
    ],
)
def test_what_a_header_names_is_there(write: Write, header: str, message: str) -> None:
    assert told(write(fact(header))).startswith(f"facts/fact_orders.sql:{message}")


def test_a_grain_may_be_a_looked_up_key(write: Write) -> None:
    header = (
        "grain: [order_id, customer_key]\nkeys:\n  customer_key: dim_customer(customer_id)\npartition: customer_key"
    )
    load_warehouse(write(fact(header)), {})


def test_a_grouped_select_gets_no_columns_added(write: Write) -> None:
    grouped = "select customer_id, sum(amount) as amount from stg_orders group by customer_id"
    header = "grain: customer_id\nkeys:\n  date_key: dim_date(ordered_at)"
    assert "keys.date_key: the SELECT has no column 'ordered_at'" in told(write(fact(header, grouped)))


def test_a_bridges_weight_and_group_are_in_its_select(write: Write) -> None:
    bridge = "/*\ngrain: [order_id, customer_id]\n{}\n*/\nselect order_id, customer_id from stg_orders"
    declared = {"bridges/bridge_x.sql": bridge.format("weight: declared")}
    assert "weight: the SELECT has no column 'weight'" in told(write(declared))
    grouped = {"bridges/bridge_x.sql": bridge.format("weight: equal\ngroup: team_id")}
    assert "group: the SELECT has no column 'team_id'" in told(write(grouped))
    load_warehouse(write({"bridges/bridge_x.sql": bridge.format("weight: equal")}), {})


def test_a_marts_grain_is_in_its_select(write: Write) -> None:
    home = write({"marts/mart_revenue.sql": "/* grain: month */ select amount from fact_orders"})
    assert "grain: the SELECT has no column 'month'" in told(home)


# Folders


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("dimension/dim_x.sql", "dimension/ is no folder of tables. Did you mean 'dimensions'?"),
        ("dim_x.sql", "./ is no folder of tables. The folder is the kind: staging, dimensions,"),
        ("staging/more/stg_x.sql", "staging/more/ is no folder of tables"),
    ],
)
def test_the_folder_is_the_kind(write: Write, file: str, message: str) -> None:
    assert told(write({file: "select 1 as a"})).startswith(f"{file}: {message}")


def test_a_name_is_used_once(write: Write) -> None:
    home = write({"checks/mart_revenue.sql": "select 1"})
    assert f"there is another table 'mart_revenue' in {home}/" in told(home)


def test_a_warehouses_name_is_a_name(write: Write) -> None:
    home = write(name="my-sales")
    with pytest.raises(DeclarationError, match="'my-sales' is no name for a warehouse"):
        load_warehouse(home, {})


def test_the_same_name_in_two_folders_names_both(write: Write) -> None:
    one, other = write(), write()
    with pytest.raises(DeclarationError) as error:
        load_warehouses([one.parent, other.parent], {})
    assert str(one.parent) in str(error.value)
    assert str(other) in str(error.value)


def test_the_same_folder_given_twice_is_one(write: Write) -> None:
    home = write()
    assert list(load_warehouses([home.parent, home.parent], {})) == ["sales"]


def test_a_mistake_in_one_warehouse_does_not_stop_another(write: Write) -> None:
    good, bad = write(name="good"), write({"marts/mart_x.sql": "drop table a"}, name="bad")
    warehouses = load_warehouses([good.parent, bad.parent], {})
    assert sorted(warehouses) == ["bad", "good"]
    assert warehouses["good"].name == "good"
    with pytest.raises(DeclarationError):
        warehouses["bad"]


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("good.fact_orders", ""),
        ("good.etl_runs", ""),
        ("good.fact_order", "reads good.fact_order: no such table. Did you mean 'fact_orders'?"),
        ("goods.fact_orders", "reads goods.fact_orders: no such warehouse. Did you mean 'good'?"),
    ],
)
def test_what_is_read_of_another_warehouse_is_there(write: Write, read: str, message: str) -> None:
    good, reader = write(name="good"), write({"marts/mart_x.sql": f"select x.* from {read} as x"}, name="reader")
    warehouses = load_warehouses([good.parent, reader.parent], {})
    if not message:
        assert warehouses["reader"].tables["mart_x"].reads == (read,)
        return
    with pytest.raises(DeclarationError) as error:
        warehouses["reader"]
    assert message in str(error.value)


def test_every_shipped_warehouse_loads() -> None:
    warehouses = load_warehouses([shipped_warehouses()], {})
    assert "games" in warehouses
    for warehouse in warehouses.values():
        assert warehouse.tables


def test_every_shipped_select_is_sql_to_duckdb() -> None:
    for warehouse in load_warehouses([shipped_warehouses()], {}).values():
        for table in warehouse.tables.values():
            [statement] = duckdb.extract_statements(table.select)
            assert statement.type == duckdb.StatementType.SELECT, table.path


# Types


@pytest.mark.parametrize(
    "sql_type",
    [
        *(
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "HUGEINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
            "UBIGINT",
        ),
        *("REAL", "DOUBLE", "DECIMAL(38, 9)", "DECIMAL", "VARCHAR", "text", "JSON", "ENUM('a')", "DATE", "TIME"),
        *("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMPTZ", "UUID", "BLOB", "BIGINT[]", "INTEGER[3]"),
        *("MAP(VARCHAR, DOUBLE)", "STRUCT(a STRUCT(b DATE)[], c MAP(INTEGER, JSON))"),
        *(
            "INTERVAL",
            "BIT",
            "TIMESTAMP_NS",
            "TIMETZ",
            "UHUGEINT",
            "UNION(a INTEGER)",
            "STRUCT(a INTERVAL)[]",
            "NONSENSE",
        ),
    ],
)
def test_a_type_may_be_declared_if_iceberg_has_it(sql_type: str) -> None:
    try:
        iceberg_type(sql_type, "x", count(1))
    except DeclarationError:
        assert type_problem(sql_type)
    else:
        assert type_problem(sql_type) == ""
