"""A warehouse whose tables have another namespace in the catalog: others find them there, its own commands by its name.

Below is SQLite; what a catalog must answer is asked through the names, too.
"""

# ruff: noqa: E402 (the shared questions' assertions are explained before they are imported)
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
pytest.register_assert_rewrite("catalog_questions")

from catalog_questions import CatalogQuestions, MakeCatalog, Warehouse
from product import Product
from shop import CUSTOMERS, NAME, SALES, Shop, opened

from starberg.storage.branches import Catalog
from starberg.storage.namespaces import NamespacedCatalog
from starberg.storage.sql_catalog import SqlCatalog

NAMESPACES = {f"house{number}": f"street{number}" for number in range(9)}


class TestQuestions(CatalogQuestions):
    """Every question, by warehouses that have another namespace."""

    @pytest.fixture
    def make_catalog(self, tmp_path: Path) -> MakeCatalog:
        self.left = iter(NAMESPACES)
        return lambda: NamespacedCatalog(SqlCatalog(f"sqlite:///{tmp_path}/catalog.db"), lambda: NAMESPACES)

    def warehouse(self, catalog: Catalog) -> Warehouse:
        found = Warehouse(catalog)
        found.name = next(self.left)
        found.known_as = NAMESPACES[found.name]
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop without any run, whose catalog knows it as SHOP_DB says."""
    with opened(tmp_path / "project") as shop:
        _named(shop.product, "${SHOP_DB:-BigShop}")
        shop.say(customers=CUSTOMERS, sales=SALES)
        yield shop


def _named(product: Product, namespace: str, warehouse: str = NAME) -> None:
    file = product.folder / "warehouses" / warehouse / "warehouse.yml"
    file.write_text(f'{{"namespace": "{namespace}", {file.read_text().removeprefix("{")}')


def _namespaces(shop: Shop, at: str = "main") -> set[str]:
    """Return what the catalog's file itself has."""
    with closing(SqlCatalog(f"sqlite:///{shop.product.home}/catalog.db")) as catalog:
        return {name.partition(".")[0] for name in catalog.state(at).tables}


def test_others_find_the_tables_in_the_namespace_and_its_own_commands_by_the_warehouses_name(shop: Shop) -> None:
    assert shop.run().status == "SUCCESS"
    assert _namespaces(shop) == {"bigshop"}, "in lower case: Trino knows no other names"
    assert shop.rows("select count(*) from fact_sales") == shop.rows("select count(*) from shop.fact_sales") == [(5,)]
    assert {row["table"].partition(".")[0] for row in shop.lake().tables()} == {NAME}
    assert [run["warehouse"] for run in shop.lake().status(NAME)] == [NAME]
    assert shop.run().status == "SKIPPED"
    shop.say(sales=SALES[:2])
    assert shop.run().status == "SUCCESS"
    assert shop.lake().verify(NAME).equal
    shop.lake().maintain(NAME)
    assert shop.rows("select count(*) from fact_sales") == [(2,)]
    assert _namespaces(shop) == {"bigshop"}


def test_a_variable_names_it(shop: Shop) -> None:
    answer = shop.product("run", NAME, SHOP_DB="Sales_DB")
    assert answer.code == 0, answer.err
    assert _namespaces(shop) == {"sales_db"}
    said = shop.product("query", "--json", "select count(*) as n from shop.fact_sales", SHOP_DB="Sales_DB")
    assert said.rows == [{"n": 5}]


def test_with_another_namespace_it_is_built_anew_from_what_was_read_and_the_old_tables_stay(shop: Shop) -> None:
    shop.run()
    before = shop.content()
    assert shop.product("run", NAME, SHOP_DB=NAME).code == 0
    assert _namespaces(shop) == {"bigshop", NAME}
    assert shop.content() == before, "without the variable, what was there is there"
    shop.lake().maintain(NAME)
    assert shop.product("verify", NAME, SHOP_DB=NAME).code == 0, "upkeep of one leaves the other's files"


@pytest.mark.parametrize("other", ["shop", "BIGSHOP"], ids=["a warehouse", "a warehouse's namespace"])
def test_a_namespace_has_one_warehouse(shop: Shop, other: str) -> None:
    shop.product.declare("store")
    _named(shop.product, other, "store")
    answer = shop.product("run", "store")
    assert answer.code == 2
    assert f"warehouse.yml: namespace: {other.lower()} is another warehouse's" in answer.complaint
    assert shop.run().status == "SUCCESS", "which is of no concern to the other"


def test_a_namespace_is_a_plain_name(shop: Shop) -> None:
    answer = shop.product("run", NAME, SHOP_DB="Sales DB")
    assert answer.code == 2
    assert "warehouse.yml:1: namespace: must be a letter" in answer.complaint
