"""A PostgreSQL source in log capture: every committed version, in commit order, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from database import Database, Feed

from starberg.ingestion import postgres_log
from starberg.utils.errors import SourceDataError, TransientError, UsageError

ITEMS = {"items": {"table": "public.items", "key": ["id"], "capture": "log"}}


@pytest.fixture
def items(database: Database) -> Database:
    database.run(
        "create table items (id int primary key, name text, big text)",
        "alter table items alter big set storage external",
        "insert into items (id, name) values (1, 'a'), (2, 'b')",
        "create publication starberg for table items",
    )
    return database


def feed(tmp_path: Path, database: Database, streams: dict[str, Any] | None = None, **more: Any) -> Feed:
    return Feed(tmp_path, database, streams or ITEMS, more)


def changes(source: Feed, load: int, columns: str = "_op, id, name", stream: str = "items") -> list[tuple[Any, ...]]:
    return source.seen(stream, columns, where=f"_load_id = {load}")


def confirmed(source: Feed) -> int:
    [(lsn,)] = source.database.rows(
        f"select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = '{source.slot}'"
    )
    return int(lsn)


def confirmed_slots(source: Feed) -> list[Any]:
    return source.database.rows(f"select 1 from pg_replication_slots where slot_name = '{source.slot}'")


def test_every_version_is_landed_in_commit_order_with_its_commit_time(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run(
        "insert into items values (3, 'c')",
        "update items set name = 'A' where id = 1",
        "update items set name = 'AA' where id = 1",
        "delete from items where id = 2",
    )
    [load] = source.ingest()
    assert changes(source, 2) == [("U", 3, "c"), ("U", 1, "A"), ("U", 1, "AA"), ("D", 2, None)]
    assert (load.changed, load.deleted) == (3, 1)
    stamps = [stamp for (stamp,) in changes(source, 2, "_observed")]
    assert stamps == sorted(set(stamps))
    assert source.ingest() == []


@pytest.mark.proof
def test_the_order_is_that_of_commits_not_of_writes(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    slow = items.connect()
    slow.cursor().execute("insert into items values (10, 'written first')")
    items.run("insert into items values (11, 'committed first')")
    source.ingest()
    slow.commit()
    slow.close()
    source.ingest()
    assert [row for load in (2, 3) for row in changes(source, load, "id")] == [(11,), (10,)]


@pytest.mark.proof
def test_the_snapshot_and_the_log_meet_without_gap_or_overlap(tmp_path: Path, items: Database) -> None:
    """Transactions open at the snapshot come by the log; those between the slot and the snapshot do not come twice."""
    source = feed(tmp_path, items)
    source.slot  # noqa: B018
    items.run(f"select pg_create_logical_replication_slot('{source.slot}', 'pgoutput')")
    items.run("insert into items values (3, 'in both')")
    open_one = items.connect()
    open_one.cursor().execute("insert into items values (4, 'open')")
    other = Feed(tmp_path, items, ITEMS, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_log.LogReader, "_wait_for_open_transactions", lambda self: None)
        other.ingest()
    assert [row for (row,) in changes(other, 1, "id")] == [1, 2, 3]
    open_one.commit()
    open_one.close()
    other.ingest()
    assert changes(other, 2, "_op, id") == [("U", 4)]
    assert other.ingest() == []


@pytest.mark.proof
def test_an_update_of_the_key_is_a_delete_and_an_insert(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run("update items set id = 20 where id = 2")
    source.ingest()
    assert changes(source, 2) == [("D", 2, None), ("U", 20, "b")]


def test_a_truncate_deletes_what_lived_at_that_moment(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run(
        "insert into items values (3, 'c')",
        "delete from items where id = 1",
        "truncate items",
        "insert into items values (2, 'again')",
        "truncate items",
        "insert into items values (9, 'last')",
    )
    source.ingest()
    assert changes(source, 2, "_op, id") == [
        ("U", 3),
        ("D", 1),
        ("D", 2),
        ("D", 3),
        ("U", 2),
        ("D", 2),
        ("U", 9),
    ]
    assert source.now("items", "id") == [(9,)]


def test_toasted_values_that_were_not_touched_are_carried(tmp_path: Path, items: Database) -> None:
    items.run("update items set big = repeat('x', 10000)", "insert into items values (3, 'c', null)")
    source = feed(tmp_path, items)
    source.ingest()
    items.run(
        "update items set name = 'A' where id = 1",
        "update items set big = repeat('y', 10000) where id = 1",
        "update items set name = 'AA' where id = 1",
        "update items set id = 20 where id = 2",
        "insert into items values (2, 'new', repeat('z', 10000))",
        "update items set name = 'B' where id = 20",
        "update items set name = 'N' where id = 2",
        "update items set name = 'C' where id = 3",
    )
    source.ingest()
    assert changes(source, 2, "_op, id, name, left(big, 1), length(big)") == [
        ("U", 1, "A", "x", 10000),
        ("U", 1, "A", "y", 10000),
        ("U", 1, "AA", "y", 10000),
        ("D", 2, None, None, None),
        ("U", 20, "b", "x", 10000),
        ("U", 2, "new", "z", 10000),
        ("U", 20, "B", "x", 10000),
        ("U", 2, "N", "z", 10000),
        ("U", 3, "C", None, None),
    ]


@pytest.mark.proof
def test_with_replica_identity_full_deletes_and_keys_come_from_the_whole_old_row(
    tmp_path: Path, items: Database
) -> None:
    items.run("update items set big = repeat('x', 10000)", "alter table items replica identity full")
    source = feed(tmp_path, items)
    source.ingest()
    items.run("update items set name = 'A' where id = 1", "delete from items where id = 2")
    source.ingest()
    assert changes(source, 2, "_op, id, name, length(big)") == [("U", 1, "A", 10000), ("D", 2, None, None)]


def test_several_tables_and_publications_share_one_slot(tmp_path: Path, items: Database) -> None:
    items.run(
        "create table orders (a int, b text, n numeric(10, 2), primary key (a, b))",
        "create publication more for table orders",
    )
    streams = {**ITEMS, "orders": {"table": "public.orders", "key": ["a", "b"], "capture": "log"}}
    source = feed(tmp_path, items, streams, publications=["starberg", "more"])
    source.ingest()
    items.run("insert into orders values (1, 'x', 1.50)", "insert into items values (3, 'c')")
    source.ingest()
    assert changes(source, 2, "_op, a, b, n::varchar", "orders") == [("U", 1, "x", "1.50")]
    assert changes(source, 2, "_op, id") == [("U", 3)]
    assert source.ingest() == []


@pytest.mark.proof
def test_a_table_that_joins_later_starts_at_its_own_snapshot(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run(
        "create table orders (a int primary key)",
        "alter publication starberg add table orders",
        "insert into orders values (1)",
        "insert into items values (3, 'c')",
    )
    source.streams = {**ITEMS, "orders": {"table": "public.orders", "key": ["a"], "capture": "log"}}
    source.ingest()
    items.run("insert into orders values (2)")
    source.ingest()
    assert source.seen("orders", "_load_id, _op, a") == [(1, "U", 1), (2, "U", 2)]
    assert changes(source, 2, "id") == [(3,)]


def test_the_slot_moves_only_once_every_load_is_committed(
    tmp_path: Path, items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    before = confirmed(source)
    items.run("insert into items values (3, 'c')")

    def fails(*_: Any) -> bool:
        raise RuntimeError("killed before the slot moved")

    with monkeypatch.context() as patch:
        patch.setattr(postgres_log.LogReader, "settle", fails)
        with pytest.raises(RuntimeError):
            source.ingest()
    assert confirmed(source) == before
    items.run("insert into items values (4, 'd')")
    source.ingest()
    assert confirmed(source) > before
    assert changes(source, 2, "id") + changes(source, 3, "id") == [(3,), (4,)]


@pytest.mark.proof
def test_a_long_log_is_landed_in_batches(tmp_path: Path, items: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    monkeypatch.setattr(postgres_log, "CHANGES_A_BATCH", 5)
    items.run(*(f"insert into items values ({n}, 'x')" for n in range(10, 18)))
    loads = source.ingest()
    assert len(loads) > 1
    assert [row for load in loads for row in changes(source, load.seq, "id")] == [(n,) for n in range(10, 18)]


@pytest.mark.proof
def test_a_missing_slot_is_told_and_a_full_run_heals_it(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run(f"select pg_drop_replication_slot('{source.slot}')", "update items set name = 'A' where id = 1")
    with pytest.raises(SourceDataError, match=r"replication slot .* is missing. Type `starberg run --full`"):
        source.ingest()
    items.run("delete from items where id = 2")
    source.ingest(full=True)
    assert source.now("items", "id, name") == [(1, "A")]
    items.run("insert into items values (5, 'e')")
    source.ingest()
    assert source.now("items", "id, name") == [(1, "A"), (5, "e")]


@pytest.mark.proof
def test_a_slot_that_somebody_else_read_is_told(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run("insert into items values (3, 'c')", "select pg_switch_wal()")
    items.run(f"select pg_replication_slot_advance('{source.slot}', pg_current_wal_lsn())")
    with pytest.raises(SourceDataError, match="moved past changes of stream items that were never landed"):
        source.ingest()
    source.ingest(full=True)
    assert len(source.now("items")) == 3


def test_what_log_capture_needs_is_named(tmp_path: Path, items: Database) -> None:
    items.run("create table plain (id int primary key)", "create table bare (id int not null unique)")
    with pytest.raises(UsageError, match=r'ALTER PUBLICATION "starberg" ADD TABLE "public"."plain"'):
        feed(tmp_path, items, {"plain": {"table": "public.plain", "key": ["id"], "capture": "log"}}).ingest()
    items.run("alter publication starberg add table bare")
    with pytest.raises(UsageError, match=r"its replica identity does not hold id"):
        feed(tmp_path, items, {"bare": {"table": "public.bare", "key": ["id"], "capture": "log"}}).ingest()
    items.run("drop publication starberg")
    with pytest.raises(UsageError, match=r'CREATE PUBLICATION "starberg" FOR TABLE "public"."items"'):
        feed(tmp_path, items).ingest()


@pytest.mark.proof
def test_a_first_load_waits_for_open_transactions_and_says_so(
    tmp_path: Path, items: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began before the slot may have changes that neither the log nor the snapshot tells."""
    monkeypatch.setattr("starberg.ingestion.postgres_address.LOCK_WAIT_S", 1)
    monkeypatch.setattr(postgres_log, "_OPEN_WAIT_S", 1)
    held = items.connect()
    held.cursor().execute("insert into items values (10, 'open')")
    source = feed(tmp_path, items)
    for _ in range(2):
        with pytest.raises(TransientError, match="a transaction stays open"):
            source.ingest()
        assert confirmed_slots(source) == []
    held.commit()
    held.close()
    assert source.ingest()[0].changed == 3


@pytest.mark.proof
def test_columns_may_come_and_go_while_the_log_is_written(tmp_path: Path, items: Database) -> None:
    source = feed(tmp_path, items)
    source.ingest()
    items.run(
        "insert into items values (3, 'c')",
        "alter table items add n int",
        "insert into items values (4, 'd', null, 7)",
        "alter table items drop name",
        "insert into items values (5, null, 8)",
    )
    source.ingest()
    assert changes(source, 2, "id, n") == [(3, None), (4, 7), (5, 8)]
