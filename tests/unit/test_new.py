from __future__ import annotations

from pathlib import Path

import pytest

from starberg.etl.headers import DimensionHeader, FactHeader
from starberg.etl.model import QUERIED, Kind, Warehouse
from starberg.etl.project import load_warehouse
from starberg.etl.templates import new_dimension, new_fact, new_warehouse
from starberg.utils.errors import UsageError


def load(project: Path) -> Warehouse:
    return load_warehouse(project / "warehouses" / "sales", {})


def test_a_new_warehouse_has_a_table_of_each_kind_and_loads(tmp_path: Path) -> None:
    files = new_warehouse(tmp_path, "sales")
    assert all(path.is_file() for path in files)
    assert not [path for path in files if "__name__" in path.read_text().lower()]
    kinds = {table.kind for table in load(tmp_path).tables.values()}
    assert kinds == set(Kind) - {Kind.BRIDGE, *QUERIED}


def test_a_folder_outside_a_project_becomes_one(tmp_path: Path) -> None:
    assert tmp_path / "starberg.toml" in new_warehouse(tmp_path, "sales")
    (tmp_path / "starberg.toml").write_text("# mine\n")
    new_warehouse(tmp_path, "shipping")
    assert (tmp_path / "starberg.toml").read_text() == "# mine\n"
    inside = tmp_path / "inside"
    new_warehouse(inside, "sales")
    assert not (inside / "starberg.toml").exists()


def test_a_new_warehouses_source_is_a_variable_of_its_own(tmp_path: Path) -> None:
    new_warehouse(tmp_path, "sales")
    home = tmp_path / "warehouses" / "sales"
    assert load_warehouse(home, {"SALES_URL": "http://shop/api"}).sources["shop"].url == "http://shop/api"


@pytest.mark.parametrize("name", ["", "Sales", "my-sales", "../sales", "1st", "sales.x", "s" * 64])
def test_a_warehouse_needs_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a warehouse"):
        new_warehouse(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new_warehouse(tmp_path, "sales")
    readme = tmp_path / "warehouses" / "sales" / "README.md"
    readme.write_text("mine")
    with pytest.raises(UsageError, match="there is a warehouse sales"):
        new_warehouse(tmp_path, "sales")
    [fact] = new_fact(tmp_path, "sales.fact_returns")
    fact.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        new_fact(tmp_path, "sales.fact_returns")
    assert (readme.read_text(), fact.read_text()) == ("mine", "mine")


def test_a_shipped_warehouses_name_is_taken(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is a warehouse games"):
        new_warehouse(tmp_path, "games")


def test_a_new_dimension_reads_the_staging_table_like_its_name_and_loads(tmp_path: Path) -> None:
    new_warehouse(tmp_path, "sales")
    new_dimension(tmp_path, "sales.dim_order")
    table = load(tmp_path).tables["dim_order"]
    assert isinstance(table.header, DimensionHeader)
    assert (table.reads, table.header.natural_key) == (("stg_orders",), ["order_id"])


def test_a_new_fact_looks_up_the_dimensions_whose_key_it_has_and_loads(tmp_path: Path) -> None:
    new_warehouse(tmp_path, "sales")
    new_fact(tmp_path, "sales.fact_order_lines")
    table = load(tmp_path).tables["fact_order_lines"]
    assert isinstance(table.header, FactHeader)
    assert (table.header.grain, table.header.keys["customer_key"].dimension) == (["order_id"], "dim_customer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dim_store", "is no name for a dimension. Lower-case letters, digits and _, such as sales.dim_orders"),
        ("sales.store", "is no name for a dimension. Lower-case letters, digits and _, such as sales.dim_store"),
        ("sales.dim_Store", "is no name for a dimension"),
        ("sales.../dim_store", "is no name for a dimension"),
        ("sale.dim_store", "there is no warehouse sale in .*. Did you mean 'sales'?"),
    ],
)
def test_a_table_needs_a_warehouse_and_a_name_of_its_kind(tmp_path: Path, name: str, message: str) -> None:
    new_warehouse(tmp_path, "sales")
    with pytest.raises(UsageError, match=message):
        new_dimension(tmp_path, name)


def test_a_table_needs_a_staging_table_with_named_columns(tmp_path: Path) -> None:
    new_warehouse(tmp_path, "sales")
    staging = tmp_path / "warehouses" / "sales" / "staging"
    (staging / "stg_customers.sql").unlink()
    (staging / "stg_orders.sql").write_text("select * from orders")
    with pytest.raises(UsageError, match="stg_orders names no columns"):
        new_fact(tmp_path, "sales.fact_returns")
    (staging / "stg_orders.sql").unlink()
    with pytest.raises(UsageError, match="sales has no staging table"):
        new_fact(tmp_path, "sales.fact_returns")
