"""`starberg check` names what a database must grant, as statements that help when they are typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from database import Database, Feed
from product import Product

from starberg.ingestion.postgres_check import check_source
from starberg.utils.errors import CredentialsError, UsageError


@pytest.fixture
def newcomer(database: Database) -> Iterator[Database]:
    """A database that a role without any rights wants to read."""
    role = f"newcomer_{database.url.rsplit('/', 1)[1]}"
    database.run(
        f"create role {role} login password 'pw'", "create schema shop", "create table shop.t (id int primary key)"
    )
    yield Database(database.server, database.url, f"postgresql://{role}:pw@{database.url.split('@')[1]}")
    database.run(f"drop owned by {role}", f"drop role {role}")


def checked(source: Feed) -> tuple[str, list[str], list[str]]:
    url = source.database.reader_url
    reads, missing = check_source(source.spec, {"DB_URL": url}.get)
    return reads, [error.args[0] for error in missing], [error.hint for error in missing]


@pytest.mark.parametrize("capture", [{"capture": "log"}, {"capture": "high_water_mark", "cursor": "id"}])
def test_typing_what_is_named_until_nothing_is_missing_lets_the_source_be_read(
    tmp_path: Path, newcomer: Database, capture: dict[str, Any]
) -> None:
    source = Feed(tmp_path, newcomer, {"t": {"table": "shop.t", "key": ["id"], **capture}})
    with pytest.raises((CredentialsError, UsageError)):
        source.ingest()
    typed: list[str] = []
    while statements := checked(source)[2]:
        assert len(typed) < 10
        for statement in statements:
            newcomer.run(statement.removeprefix("As its owner: "))
        typed += statements
    assert any("GRANT SELECT" in statement for statement in typed)
    assert source.ingest()[0].seq == 1


@pytest.mark.proof
def test_a_source_that_can_be_read_says_so(tmp_path: Path, database: Database) -> None:
    database.run("create table t (id int primary key)")
    source = Feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id"]}})
    reads, missing, _ = checked(source)
    assert missing == []
    assert reads.startswith(f"reader reads 1 tables of {database.url.rsplit('/', 1)[1]} (PostgreSQL 18")


@pytest.mark.proof
def test_a_table_that_is_not_there_is_named(tmp_path: Path, database: Database) -> None:
    source = Feed(tmp_path, database, {"t": {"table": "public.nothing", "key": ["id"]}})
    assert checked(source)[1] == ["there is no table public.nothing"]


def test_rows_a_policy_hides_are_no_deletes(tmp_path: Path, database: Database) -> None:
    database.run("create table t (id int primary key)", "insert into t values (1), (2)")
    source = Feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id"]}})
    source.ingest()
    database.run("alter table t enable row level security", "create policy p on t for select using (id = 1)")
    with pytest.raises(CredentialsError, match="BYPASSRLS"):
        source.ingest()
    _, [said], [hint] = checked(source)
    assert said == "row security may hide rows of public.t from reader, which would count as deleted"
    assert hint == 'ALTER ROLE "reader" BYPASSRLS;'
    assert len(source.now("t")) == 2


def test_check_tells_of_each_source_what_to_type(tmp_path: Path, newcomer: Database) -> None:
    product = Product(tmp_path / "project", {"SHOP_URL": newcomer.reader_url})
    stream = {"table": "shop.t", "key": ["id"], "capture": "keys", "cursor": "id"}
    product.declare(
        "shop", {"name": "db", "kind": "postgres", "connection": {"url": "SHOP_URL"}, "streams": {"t": stream}}
    )
    role = newcomer.reader_url.split("/")[2].split(":")[0]
    answer = product("--json", "check")
    assert answer.code == 1
    assert [row["hint"] for row in answer.rows if row["name"] == "shop.db database"] == [
        f'GRANT USAGE ON SCHEMA "shop" TO "{role}";',
        f'GRANT SELECT ON "shop"."t" TO "{role}";',
        f'GRANT pg_read_all_stats TO "{role}";',
    ]
