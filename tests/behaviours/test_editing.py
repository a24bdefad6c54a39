"""Editing declarations: an edited table is built anew and named, and is what an empty lake would give.

Proven beside: which edits of a SELECT are told apart (tests/unit/test_sql_rules.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from shop import CUSTOMERS, NAME, SALES, TABLES_OF_THE_SHOP, Shop, opened

from starberg.entrypoints.lake import Lake
from starberg.etl.row_delta import RowDelta, Target
from starberg.storage.branch_tables import BranchTables
from starberg.utils.errors import DeclarationError

FACT, STAGED = TABLES_OF_THE_SHOP["facts/fact_sales"], TABLES_OF_THE_SHOP["staging/stg_sales"]
MART, DATES = TABLES_OF_THE_SHOP["marts/mart_cities"], TABLES_OF_THE_SHOP["dimensions/dim_date"]
CUSTOMER = TABLES_OF_THE_SHOP["dimensions/dim_customer"]


@pytest.fixture(scope="module")
def with_a_past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("editing") / "project") as shop:
        shop.say(customers=CUSTOMERS, sales=SALES)
        shop.run()
        shop.say(customers=[*CUSTOMERS[:1], {"id": 3, "name": "Eve", "city": None}], sales=SALES[1:])
        shop.run()
        shop.keep()
        yield shop


@pytest.fixture
def shop(with_a_past: Shop) -> Shop:
    """A shop after two loads, the second with a change, new keys and deletes."""
    return with_a_past.put_back()


@dataclass(frozen=True)
class Edit:
    """One edit: what is written, what the run must say of it."""

    make: Callable[[Shop], None]
    notes: tuple[str, ...]
    untouched: tuple[str, ...]
    """Tables that must be skipped all the same; a dimension is computed again if what looks it up was edited."""


def write(path: str, sql: str, old: str = "", new: str = "") -> Callable[[Shop], None]:
    """Write a table; with `old`, that text in it is replaced."""
    assert old in sql
    return lambda shop: shop.table(path, sql.replace(old, new) if old else sql)


def stream(**columns: str) -> Callable[[Shop], None]:
    """Declare other types for columns of sales."""

    def make(shop: Shop) -> None:
        shop.streams["sales"]["columns"] |= columns
        shop.declare()

    return make


def both(*makes: Callable[[Shop], None]) -> Callable[[Shop], None]:
    return lambda shop: [make(shop) for make in makes][-1]


EDITS = {
    "a column added and one changed": Edit(
        write(
            "facts/fact_sales", FACT, "    quantity,", "    quantity * 2 as quantity,\n    quantity * price as amount,"
        ),
        ("shop.fact_sales was edited (added amount; changed quantity)",),
        ("stg_customers", "stg_sales"),
    ),
    "a column removed": Edit(
        write("facts/fact_sales", FACT, "    quantity,\n", ""),
        ("shop.fact_sales was edited (removed quantity)",),
        ("stg_customers", "stg_sales"),
    ),
    "a filter in staging": Edit(
        write("staging/stg_sales", STAGED, "from sales", "from sales\nwhere quantity > 2"),
        ("shop.stg_sales was edited (changed header or FROM)",),
        ("stg_customers",),
    ),
    "another grain": Edit(
        write(
            "marts/mart_cities",
            MART.replace("grain: city", "grain: [city, quantity]")
            .replace("select coalesce", "select sales.quantity, coalesce")
            .replace("group by", "group by sales.quantity,"),
        ),
        ("shop.mart_cities was edited", "added quantity"),
        ("stg_customers", "stg_sales", "dim_customer", "fact_sales"),
    ),
    "a new lookup": Edit(
        both(
            write(
                "dimensions/dim_channel",
                "/*\nnatural_key: channel\n*/\nselect channel, count(*) as sales from stg_sales group by channel",
            ),
            write("facts/fact_sales", FACT, "keys:", "keys:\n  channel_key: dim_channel(channel)"),
        ),
        ("shop.fact_sales was edited",),
        ("stg_customers", "stg_sales"),
    ),
    "deletes that mark": Edit(
        write("facts/fact_sales", FACT, "grain: sale_id", "grain: sale_id\ndeletes: mark"),
        ("shop.fact_sales was edited (changed header or FROM)",),
        ("stg_customers", "stg_sales"),
    ),
    "partitions": Edit(
        write("facts/fact_sales", FACT, "grain: sale_id", "grain: sale_id\npartition: month(sold_on)"),
        ("shop.fact_sales was edited (changed header or FROM)",),
        ("stg_customers", "stg_sales"),
    ),
    "a longer calendar": Edit(
        write("dimensions/dim_date", DATES, "from: 2020-01-01", "from: 2018-01-01"),
        ("shop.dim_date was edited (changed header or FROM)",),
        ("stg_customers", "stg_sales", "dim_customer"),
    ),
    "another name for a surrogate key": Edit(
        both(
            write("dimensions/dim_customer", CUSTOMER, "natural_key:", "surrogate_key: buyer_key\nnatural_key:"),
            write("marts/mart_cities", MART, "customers.customer_key", "customers.buyer_key"),
        ),
        (
            "shop.dim_customer was edited (changed header or FROM)",
            "shop.mart_cities was edited (changed header or FROM)",
        ),
        ("stg_customers", "stg_sales"),
    ),
    "a wider type": Edit(
        stream(quantity="BIGINT", price="DECIMAL(12, 2)"),
        ("shop.stg_sales was edited (changed sales.price, sales.quantity)",),
        ("stg_customers",),
    ),
    "another type": Edit(
        stream(quantity="VARCHAR"),
        ("shop.stg_sales was edited (changed sales.quantity)",),
        ("stg_customers",),
    ),
    "a column of the stream": Edit(
        both(stream(note="VARCHAR"), write("staging/stg_sales", STAGED, "price,", "price,\n    note,")),
        ("shop.stg_sales was edited (added note, sales.note)",),
        ("stg_customers",),
    ),
}


QUICK = ("a column added and one changed",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.proof) for name in EDITS]
)
def test_an_edited_table_is_what_an_empty_lake_would_give(shop: Shop, tmp_path: Path, name: str) -> None:
    edit, numbers, before = EDITS[name], numbers_of(shop), shop.tables()
    edit.make(shop)
    with pytest.raises(DeclarationError, match=r"was edited .*Run without --no-rebuild"):
        shop.run(rebuild=False)
    assert shop.tables() == before

    result = shop.run()
    said = " ".join(result.notes)
    assert all(note in said for note in edit.notes), result.notes
    assert said.count("was edited") == len([note for note in edit.notes if "was edited" in note]), result.notes
    assert {table: shop.strategies(result)[table] for table in edit.untouched} == dict.fromkeys(edit.untouched, "skip")
    if name != "another name for a surrogate key":
        assert numbers.items() <= numbers_of(shop).items()
    else:  # a new column numbers anew, and gives no number again
        assert not {*numbers.values()} & {*numbers_of(shop).values()} - {0}
    assert shop.content() == shop.built_anew(tmp_path / "anew")
    assert shop.run().status == "SKIPPED"

    shop.say(sales=[*SALES[2:], {**SALES[0], "id": 7}])
    shop.run()
    assert shop.content() == shop.built_anew(tmp_path / "later")


def numbers_of(shop: Shop) -> dict[int, int]:
    """Return the customers' surrogate keys, whatever their column is called."""
    [key] = [name for name in ("customer_key", "buyer_key") if name in columns(shop, "dim_customer")]
    return dict(shop.rows(f"select customer_id, {key} from dim_customer"))


def columns(shop: Shop, table: str) -> list[str]:
    return list(shop.lake().query(f"from {table} limit 0", warehouse=NAME).columns)


@pytest.mark.proof
def test_a_column_removed_and_added_again_holds_only_new_values(shop: Shop) -> None:
    """The field id of a removed column is not used again, so old files cannot fill it."""
    shop.table("facts/fact_sales", FACT.replace("    quantity,\n", ""))
    shop.run()
    shop.table("facts/fact_sales", FACT.replace("quantity,", "-quantity as quantity,"))
    shop.run()
    assert shop.rows("select sale_id, quantity from fact_sales order by 1") == [(n, -n) for n in range(2, 6)]


def test_without_rebuild_the_command_is_a_mistake_in_the_declarations(shop: Shop) -> None:
    shop.table("facts/fact_sales", FACT.replace("quantity,", "quantity * 2 as quantity,"))
    answer = shop.product("run", NAME, "--no-rebuild")
    assert answer.code == 2
    assert "fact_sales.sql" in answer.complaint
    assert "changed quantity" in answer.complaint


def test_a_new_file_is_a_new_table_and_nothing_else_is_built(shop: Shop) -> None:
    shop.table("marts/mart_prices", "/*\ngrain: price\n*/\nselect price, count(*) as n from fact_sales group by price")
    result = shop.run()
    built = {table: how for table, how in shop.strategies(result).items() if how != "skip"}
    assert built == {"mart_prices": "full"}
    assert shop.rows("select sum(n) from mart_prices") == [(4,)]


def test_an_edited_comment_or_another_layout_is_no_edit(shop: Shop) -> None:
    shop.table("facts/fact_sales", FACT.replace("quantity,", "quantity, -- pieces\n").replace("select\n", "select "))
    assert shop.run().status == "SKIPPED"


def test_a_removed_file_leaves_its_table_and_says_so(shop: Shop) -> None:
    (shop.product.folder / "warehouses" / NAME / "marts" / "mart_cities.sql").unlink()
    before = shop.rows("from mart_cities order by all")
    result = shop.run()
    assert [note for note in result.notes if "mart_cities" in note]
    assert shop.rows("from mart_cities order by all") == before


def test_a_rebuild_by_request_keeps_surrogate_keys_and_writes_nothing_new(shop: Shop) -> None:
    numbers, tables = numbers_of(shop), shop.tables()
    result = shop.lake().rebuild(NAME)
    assert set(shop.strategies(result).values()) == {"rebuild"}
    result = shop.lake().rebuild(NAME, ["dim_customer"])
    assert [name for name, how in shop.strategies(result).items() if how == "rebuild"] == ["dim_customer"]
    assert numbers_of(shop) == numbers
    assert shop.tables() == tables


@pytest.mark.proof
@pytest.mark.parametrize(
    ("change", "only_published", "only_rebuilt"),
    [
        ("select * replace (price + 1 as price) from fact_sales where sale_id = 2", 1, 1),
        ("select * replace (99::bigint as sale_id) from fact_sales where sale_id = 2", 1, 0),
    ],
    ids=["a changed row", "a row too many"],
)
def test_verify_finds_a_table_that_was_tampered_with(
    shop: Shop, change: str, only_published: int, only_rebuilt: int
) -> None:
    tamper(shop.lake(), change)
    result = shop.lake().verify(NAME)
    found = {t.name: (t.only_published, t.only_rebuilt) for t in result.tables if t.only_published or t.only_rebuilt}
    assert found["fact_sales"] == (only_published, only_rebuilt)
    assert set(found) <= {"fact_sales", "mart_cities"}
    assert not result.equal

    shop.lake().rebuild(NAME)
    assert shop.product("verify", NAME).code == 0


def tamper(lake: Lake, change: str) -> None:
    """Publish rows in fact_sales that no declaration gives."""
    branch = lake.catalog.create_branch("tampered", NAME)
    engine = lake.open_engine()
    tables = BranchTables(lake.catalog, lake.store, branch, lake.catalog.state(branch.name).tables)
    engine.attach(tables.pointers)
    engine.run(f"SET search_path = '{NAME}'")
    engine.run(f"CREATE TEMP TABLE wrong AS SELECT * EXCLUDE (_run_id) FROM ({change})")
    RowDelta(engine, tables, "tampered").apply(Target(f"{NAME}.fact_sales", ["sale_id"], scope="wrong"), "wrong")
    engine.close()
    tables.publish("tampered")
    lake.catalog.drop_branch(branch)
