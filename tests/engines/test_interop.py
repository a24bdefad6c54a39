"""A shop's tables after inserts, updates, deletes and new columns and types: every reader finds the same rows.

They were written by DuckDB, and by Spark.
Readers are DuckDB, PyIceberg, Trino and Spark; on main, at a tag and at each earlier snapshot; by Nessie and by
PostgreSQL's catalog.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import local_spark
import pytest
from answers import counted, rows_of
from shop import CUSTOMERS, NAME, SALES, Shop, opened
from stack import Stack

from starberg.engines.clients import Login, TableAt
from starberg.engines.spark.session import session
from starberg.engines.trino import TrinoClient
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.utils.errors import UsageError
from starberg.utils.settings import Settings

KINDS = {
    "flag": ("BOOLEAN", [True, False]),
    "small": ("SMALLINT", [-32768, 32767]),
    "whole": ("INTEGER", [-2147483648, 2147483647]),
    "big": ("BIGINT", [-9223372036854775808, 9223372036854775807]),
    "single": ("FLOAT", [0.5, -1.25]),
    "double": ("DOUBLE", [1e300, -1e-300]),
    "money": ("DECIMAL(38, 10)", ["1234567890123456789012345678.0123456789", "-0.0000000001"]),
    "said": ("VARCHAR", ["Zoë 🎲 'quoted'", ""]),
    "document": ("JSON", [{"a": [1, None]}, []]),
    "day": ("DATE", ["0001-01-01", "9999-12-31"]),
    "moment": ("TIMESTAMP", ["1900-01-01 00:00:00.000001", "2262-04-12 00:00:00"]),
    "instant": ("TIMESTAMPTZ", ["1969-12-31T23:59:59.5+02:00", "2025-06-30T12:00:00Z"]),
    "id_of": ("UUID", ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    "list_of": ("INTEGER[]", [[1, None, 3], []]),
    "pair": ("STRUCT(a INTEGER, b VARCHAR)", [{"a": 1, "b": "x"}, {"a": None, "b": None}]),
    "map_of": ("MAP(VARCHAR, INTEGER)", [{"k": 1}, {}]),
}
"""Types with values at their ends."""


@dataclass
class OnServers(Shop):
    """A shop in a lake that the environment names."""

    environ: dict[str, str] = field(default_factory=dict)

    def lake(self, home: Path | None = None) -> Lake:
        """Open it there."""
        settings = Settings.load(self.product.folder, {"STARBERG_HOME": str(home or self.product.home)}, self.environ)
        return open_lake(settings, clock=self.clock)


@pytest.fixture(scope="module", params=["nessie", "warehouse"])
def shop(
    request: pytest.FixtureRequest, stack: Stack, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnServers]:
    """The shop after its runs, in a lake of its own; the parameter is Trino's catalog over it."""
    environ = {**environ, **stack.env, "TRINO_CATALOG": request.param}
    environ["STARBERG_LAKE"] = f"s3://starberg/shop-{secrets.token_hex(4)}"
    if request.param == "nessie":
        environ.pop("WAREHOUSE_DATABASE_URL")
        environ["STARBERG_LAKE"] = stack.env["STARBERG_LAKE"]
    else:
        environ.pop("NESSIE_URI")
        environ["STARBERG_CATALOG"] = "postgresql"
    with opened(tmp_path_factory.mktemp("shop") / "project") as plain:
        shop = OnServers(plain.product, plain.clock, plain.streams, environ)
        live(shop)
        yield shop


def live(shop: OnServers) -> None:
    """Run it: load; insert, update and delete; widen types, add columns; fold what became small.

    In PostgreSQL's catalog all but the first load is built by Spark.
    """
    kinds = {name: kind for name, (kind, _) in KINDS.items()}
    shop.streams["kinds"] = {"key": ["id"], "columns": {"id": "BIGINT", **kinds}}
    shop.streams["clocks"] = {"key": ["id"], "columns": {"id": "BIGINT", "clock": "TIME"}}
    shop.declare()
    shop.table("staging/stg_kinds", f"select id, {', '.join(KINDS)} from kinds")
    shop.table("staging/stg_clocks", "select id, clock from clocks")
    rows = [{"id": n, **{name: values[n] for name, (_, values) in KINDS.items()}} for n in (0, 1)]
    clocks = [{"id": 1, "clock": "00:00:00"}, {"id": 2, "clock": "23:59:59.999999"}, {"id": 3}]
    shop.say(customers=CUSTOMERS, sales=SALES, kinds=[*rows, {"id": 2}], clocks=clocks)
    assert shop.run().status == "SUCCESS"
    if shop.environ["TRINO_CATALOG"] == "warehouse":
        shop.environ |= {"STARBERG_ENGINE": "spark", "STARBERG_SPARK_FROM": "0"}
    changed = [{**SALES[0], "price": "100.25"}, *SALES[2:], {**SALES[1], "id": 6}]
    shop.say(customers=[{**CUSTOMERS[0], "city": "Bergen"}, CUSTOMERS[1]], sales=changed)
    assert shop.run().status == "SUCCESS"
    shop.lake().catalog.tag("before-new-columns")
    columns = shop.streams["sales"]["columns"]
    columns |= {"quantity": "BIGINT", "price": "DECIMAL(12, 2)", "note": "VARCHAR"}
    shop.declare()
    stage = "staging/stg_sales"
    shop.table(
        stage, "select id as sale_id, customer as customer_id, channel, quantity, price, sold_on, note from sales"
    )
    shop.say(sales=[{**SALES[0], "price": "9876543210.99", "quantity": 3_000_000_000}, *changed[1:]])
    assert shop.run().status == "SUCCESS"
    shop.say(sales=[{**SALES[0], "price": "1.00"}, *changed[2:]])
    assert shop.run().status == "SUCCESS"
    shop.environ |= {"STARBERG_ENGINE": "duckdb"}
    assert shop.lake().verify(NAME).equal


def by_pyiceberg(shop: OnServers, location: str) -> Counter[Any]:
    from pyiceberg.table import StaticTable

    access = {
        "s3.endpoint": shop.environ["MINIO_ENDPOINT"],
        "s3.access-key-id": shop.environ["MINIO_ACCESS_KEY"],
        "s3.secret-access-key": shop.environ["MINIO_SECRET_KEY"],
        "s3.region": shop.environ["MINIO_REGION"],
    }
    found = StaticTable.from_metadata(location, access).scan().to_arrow()
    return counted(zip(*(column.to_pylist() for column in found.columns), strict=True))


def by_duckdb(shop: OnServers, name: str, at: str | None = None) -> Counter[Any]:
    return counted(shop.lake().query(f"select * from {name}", at=at).rows)


def by_trino(shop: OnServers, name: str, at: str | None = None) -> Counter[Any]:
    return counted(shop.lake().query(f"select * from {name}", at=at, engine="trino").rows)


def by_spark(shop: OnServers, name: str, at: str | None = None) -> Counter[Any]:
    """Return the rows as Spark finds them; of a table with a TIME, which it cannot read, those of DuckDB."""
    if name.endswith(("clocks", "clocks_changes")):
        with pytest.raises(UsageError, match="TIME is no type of Spark's"):
            shop.lake().query(f"select * from {name}", at=at, engine="spark")
        return by_duckdb(shop, name, at)
    return counted(shop.lake().query(f"select * from {name}", at=at, engine="spark").rows)


def names(shop: OnServers, at: str = "main") -> dict[str, str]:
    found = {name: place for name, place in shop.lake().catalog.state(at).tables.items() if name.startswith(f"{NAME}.")}
    assert len(found) > 8
    return found


def test_every_reader_finds_the_same_rows_on_main(shop: OnServers) -> None:
    for name, location in names(shop).items():
        wanted = by_duckdb(shop, name)
        assert by_pyiceberg(shop, location) == wanted, name
        assert by_trino(shop, name) == wanted, name
        assert by_spark(shop, name) == wanted, name


def test_every_reader_finds_the_same_rows_at_a_tag(shop: OnServers, stack: Stack) -> None:
    at = "before-new-columns"
    assert by_duckdb(shop, f"{NAME}.fact_sales", at) != by_duckdb(shop, f"{NAME}.fact_sales")
    with catalog_at(stack, shop, at) as client:
        for name, location in names(shop, at).items():
            wanted = by_duckdb(shop, name, at)
            assert by_pyiceberg(shop, location) == wanted, name
            assert by_trino(shop, name, at) == wanted, f"{name}, by its snapshot"
            assert by_spark(shop, name, at) == wanted, name
            if client:
                found = rows_of(client.query(f"select * from {client.table(TableAt(name))}"))
                assert counted(found) == wanted, f"{name}, by the tag"


@contextmanager
def catalog_at(stack: Stack, shop: OnServers, tag: str) -> Iterator[TrinoClient | None]:
    """Give Trino a catalog at a tag of Nessie's; PostgreSQL's has tags that only starberg knows."""
    if shop.environ["TRINO_CATALOG"] != "nessie":
        yield None
        return
    trino: Any = stack.service("trino")
    settings = {key: value for key, value in trino.nessie(tag).items() if key != "connector.name"}
    written = ", ".join(f"\"{key}\" = '{value}'" for key, value in settings.items())
    login = Login("Trino", "127.0.0.1", trino.port, user="test")
    admin, client = TrinoClient(login, "nessie"), TrinoClient(login, "at_tag")
    list(admin.query(f"CREATE CATALOG at_tag USING iceberg WITH ({written})").rows)
    try:
        yield client
    finally:
        list(admin.query("DROP CATALOG at_tag").rows)


@pytest.mark.parametrize("ref", ["main", "before-new-columns"])
def test_the_recipe_for_a_spark_of_ones_own_reads_a_branch_or_a_tag(shop: OnServers, ref: str) -> None:
    if shop.environ["TRINO_CATALOG"] != "nessie":
        pytest.skip("the recipe is Nessie's")
    spark = session(local_spark.MASTER, local_spark.jars())
    for name, value in recipe(shop, ref).items():
        spark.conf.set(name, value)
    for table in names(shop, ref):
        if not table.endswith(("clocks", "clocks_changes")):
            frame = spark.table(f"lake.{table}")
            instants = {field.name for field in frame.schema if field.dataType.typeName() == "timestamp"}
            rows = (row.asDict(recursive=True).items() for row in frame.collect())
            found = [tuple(v.astimezone(UTC) if v and name in instants else v for name, v in row) for row in rows]
            assert counted(found) == by_duckdb(shop, table, ref), table


def recipe(shop: OnServers, ref: str) -> dict[str, str]:
    """Return what docs/engines.md says after --conf, with this lake in it; keys go by the JVM's environment there."""
    text = (Path(__file__).parents[2] / "docs/engines.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"--conf (spark\.sql\.\S+?)=(\S+)", text))
    here = {"uri": shop.environ["NESSIE_URI"] + "/api/v2", "warehouse": shop.environ["STARBERG_LAKE"], "ref": ref}
    here |= {"s3.endpoint": shop.environ["MINIO_ENDPOINT"], "client.region": shop.environ["MINIO_REGION"]}
    here |= {"s3.access-key-id": shop.environ["MINIO_ACCESS_KEY"]}
    here |= {"s3.secret-access-key": shop.environ["MINIO_SECRET_KEY"]}
    lake = "spark.sql.catalog.lake."
    assert {f"{lake}{name}" for name in ("uri", "warehouse", "ref", "s3.endpoint")} <= found.keys()
    return found | {f"{lake}{name}": value for name, value in here.items()}


@pytest.mark.parametrize("engine", ["trino", "spark"])
def test_every_type_is_read_as_what_it_is(shop: OnServers, engine: str) -> None:
    [(zero,)] = shop.lake().query("select count(*) from stg_kinds where id = 2 and flag is null", engine=engine).rows
    assert zero == 1
    ends = "select money, day, moment, said, list_of, pair, map_of from stg_kinds where id < 2 order by id"
    assert counted(shop.lake().query(ends, engine=engine).rows) == counted(shop.lake().query(ends).rows)


def test_views_that_trino_keeps_beside_the_tables_are_none_of_starbergs(shop: OnServers) -> None:
    if shop.environ["TRINO_CATALOG"] == "nessie":
        pytest.skip("Trino keeps no views in Nessie (test_trino.py)")
    shop.table("views/vw_cities", "select city, count(*) as customers from dim_customer group by city")
    steps = shop.product("trino", "setup", "--json", **shop.environ).rows
    assert {step["what"]: step["done"] for step in steps}[f"view {NAME}.vw_cities"] == "made"
    answer = shop.lake().open_client("trino").query(f"select city, customers from warehouse.{NAME}.vw_cities")
    assert counted(rows_of(answer)) == counted(shop.lake().query("from vw_cities").rows)
    shop.say(customers=CUSTOMERS[:1])
    assert shop.run().status == "SUCCESS"
    assert shop.lake().maintain(NAME)
    assert shop.lake().verify(NAME).equal
