from __future__ import annotations

from pathlib import Path

import pytest

from starberg.etl.declarations import parse_declaration, read_declaration
from starberg.etl.headers import DimensionHeader, FactHeader, StagingHeader
from starberg.etl.model import Kind
from starberg.utils.errors import DeclarationError

FACT = """\
-- Orders of the shop.
/*
grain: order_id
keys:
  customer_key: dim_customer(customer_id)
  seller_key: {dimension: dim_user, on: {user_id: seller_id}, missing: unknown}
partition: month(ordered_at)
*/

select
    order_id,
    amount
from stg_orders;
"""


def told(text: str, name: str = "fact_orders", kind: Kind = Kind.FACT) -> str:
    with pytest.raises(DeclarationError) as error:
        parse_declaration(text, Path(f"{name}.sql"), "shop", kind)
    return str(error.value)


def test_a_file_is_a_header_and_a_select() -> None:
    table = parse_declaration(FACT, Path("facts/fact_orders.sql"), "shop", Kind.FACT).table
    header = table.header
    assert isinstance(header, FactHeader)
    assert (table.id, table.kind, table.reads) == ("shop.fact_orders", Kind.FACT, ("stg_orders",))
    assert (header.grain, header.partition) == (["order_id"], ["month(ordered_at)"])
    assert header.keys["customer_key"].columns == ["customer_id"]
    assert header.keys["seller_key"].on == {"user_id": "seller_id"}
    assert table.select == "select\n    order_id,\n    amount\nfrom stg_orders"
    assert table.first_line == 10


def test_a_staging_table_needs_no_header() -> None:
    table = parse_declaration("select id from orders", Path("stg_orders.sql"), "shop", Kind.STAGING).table
    assert table.header == StagingHeader()


def test_a_dimension_is_keyed_by_its_name() -> None:
    text = "/* natural_key: [country, code] */ select country, code from stg_stores"
    table = parse_declaration(text, Path("dim_store.sql"), "shop", Kind.DIMENSION).table
    assert isinstance(table.header, DimensionHeader)
    assert (table.header.natural_key, table.surrogate_key) == (["country", "code"], "store_key")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "select a from b",
            "fact_orders.sql:1: there is no header. Start the file with /* grain: column */",
        ),
        ("/*\n*/\nselect a from b", "fact_orders.sql:1: grain: is missing"),
        (
            "\n/*\ngrian: a\n*/\nselect a from b",
            "fact_orders.sql:3: grian: unknown key (and 1 more). Did you mean 'grain'?",
        ),
        (
            "/*\ngrain: a\nkeys:\n  k: dim_x\n*/\nselect a from b",
            "fact_orders.sql:4: keys.k: 'dim_x' is not of the form dim_name(column[, column])",
        ),
        (
            "/*\ngrain: a\nkeys:\n  k: {dimension: dim_x, columns: [a], missing: guess}\n*/\nselect a from b",
            "fact_orders.sql:4: keys.k.missing: expected 'infer', 'unknown' or 'fail', not 'guess'",
        ),
        (
            "/*\ngrain: a\ndeletes: erase\n*/\nselect a from b",
            "fact_orders.sql:3: deletes: expected 'remove', 'mark' or 'keep', not 'erase'",
        ),
        ("/* grain: [a */\nselect a from b", "fact_orders.sql:1: not YAML: did not find expected ',' or ']'"),
        (
            "/* One row per order. */\nselect a from b",
            "fact_orders.sql:1: the header is not a mapping. The first /* … */ is the table's header, in YAML; write",
        ),
        (
            "/*\ngrain: a\n*/\nselect a,\n  b c d\nfrom e",
            "fact_orders.sql:5:7: SQL cannot be read at 'd': Invalid expression / Unexpected token",
        ),
        (
            "/* grain: a */\nselect a from b;\nselect 1",
            "fact_orders.sql:3: a second statement. A file holds one SELECT",
        ),
        ("/* grain: a */\n", "fact_orders.sql: there is no SELECT"),
        (
            "/* grain: a */\nselect a,\n  now() as b,\n  random() as c\nfrom d",
            "fact_orders.sql:3:3: now() depends on when it runs (and 1 more). A snapshot has its day as run_date()",
        ),
        ("/* grain: a */ select a, now() as b from d", "fact_orders.sql:1:26: now() depends on when it runs"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(text: str, message: str) -> None:
    assert told(text).startswith(message)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("orders", Kind.FACT, "a table in facts/ is named fact_… or dwh_fact_…. Rename the file to fact_orders.sql."),
        ("dim_x", Kind.STAGING, "a table in staging/ is named stg_… or mrr_…. Rename the file to stg_x.sql."),
        ("fact_Orders", Kind.FACT, "'fact_Orders' is no name for a table"),
        ("fact-orders", Kind.FACT, "'fact-orders' is no name for a table"),
    ],
)
def test_a_name_says_its_kind(name: str, kind: Kind, message: str) -> None:
    assert told("/* grain: a */ select a from b", name, kind).startswith(f"{name}.sql: {message}")


@pytest.mark.parametrize("day", ["2015-02-30", "15-01-01", "today"])
def test_a_calendar_runs_from_day_to_day(day: str) -> None:
    text = f"/*\ncalendar:\n  from: {day}\n*/\nselect date from calendar"
    assert told(text, "dim_date", Kind.DIMENSION).startswith(f"dim_date.sql:3: calendar.from: '{day}' is not a day")


def test_a_dimension_has_a_natural_key_or_a_calendar() -> None:
    message = "dim_x.sql:1: needs `natural_key`, or `calendar` for a date dimension"
    assert told("/* partition: a */ select a from b", "dim_x", Kind.DIMENSION) == message


def test_a_file_starts_with_or_without_a_byte_order_mark_and_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "stg_orders.sql"
    path.write_bytes("\ufeffselect 'ä' as a from orders\r\n".encode())
    assert read_declaration(path, "shop", Kind.STAGING).table.select == "select 'ä' as a from orders"
    path.write_bytes(b"select '\xe4' as a from orders")
    with pytest.raises(DeclarationError, match="not UTF-8"):
        read_declaration(path, "shop", Kind.STAGING)
