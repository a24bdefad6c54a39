"""A run that would delete too much of what a database gave stops before it publishes, until it is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from database import Database
from product import Product

MEMBERS = 40


@pytest.fixture
def shop(tmp_path: Path, database: Database) -> Iterator[Product]:
    """A published warehouse with one dimension with history, its key sets compared in each run."""
    database.run(
        "create table members (id bigint primary key, city text, updated_at timestamptz default now())",
        f"insert into members select n, 'Rome' from generate_series(1, {MEMBERS}) n",
    )
    product = Product(tmp_path, {"SHOP_URL": database.url})
    members = {"table": "public.members", "key": ["id"], "capture": "keys", "cursor": "updated_at"}
    product.declare(
        "shop",
        {"name": "db", "kind": "postgres", "connection": {"url": "SHOP_URL"}, "streams": {"members": members}},
    )
    product.table("shop", "staging/stg_members", "select id as member_id, city, updated_at from members")
    product.table(
        "shop",
        "dimensions/dim_member",
        "/*\nnatural_key: member_id\nhistory: type2\ntrack: city\n*/\nselect member_id, city from stg_members",
    )
    assert product("run", "shop").code == 0
    yield product
    assert product("verify", "shop").code == 0


def current(shop: Product) -> int:
    answer = shop("query", "--json", "select count(*) as n from shop.dim_member where is_current and member_key > 0")
    return int(answer.rows[0]["n"])


BROKEN = {
    "the table was emptied": ("truncate members", MEMBERS, 0),
    "the key column was broken": ("update members set id = id + 1000", MEMBERS, MEMBERS),
    "more than a fifth is gone": ("delete from members where id > 19", 21, 19),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_run_stops_in_one_line_and_goes_on_when_it_is_allowed(shop: Product, database: Database, how: str) -> None:
    damage, closed, left = BROKEN[how]
    database.run(damage)
    for _ in range(2):
        stopped = shop("run", "shop")
        assert stopped.code == 4
        assert f"shop.stg_members: the source would delete {closed} of {MEMBERS} rows" in stopped.complaint
        assert "--allow-deletes stg_members" in stopped.complaint
        assert current(shop) == MEMBERS
    assert shop("run", "shop", "--allow-deletes", "stg_members").code == 0
    assert current(shop) == left
    runs = shop("query", "--json", "select status, notes from shop.etl_runs order by started_at")
    assert [row["status"] for row in runs.rows] == ["SUCCESS", "FAILED", "FAILED", "SUCCESS"]
    assert "as --allow-deletes said" in runs.rows[-1]["notes"]
    assert shop("run", "shop").code == 0


def test_fewer_deletes_than_the_limit_close_versions_without_a_question(shop: Product, database: Database) -> None:
    database.run("delete from members where id <= 8")
    assert shop("run", "shop").code == 0
    assert current(shop) == MEMBERS - 8
