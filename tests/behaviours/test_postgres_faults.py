"""The server, the connection or the run dies in the middle: nothing is lost, nothing doubled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from database import CAPTURES, Database, Feed

from starberg.ingestion.postgres_log import LogReader
from starberg.ingestion.postgres_reader import Reader
from starberg.storage.raw_chain import RawStream
from starberg.utils.errors import CredentialsError, StarbergError, TransientError, Unreachable

pytestmark = pytest.mark.proof


@pytest.fixture(params=CAPTURES)
def source(tmp_path: Path, database: Database, request: pytest.FixtureRequest) -> Feed:
    database.run(
        "create table t (id int primary key, at timestamptz not null default now())",
        "create publication starberg for table t",
        "insert into t select n from generate_series(1, 50) n",
    )
    return Feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id"], **CAPTURES[request.param]}})


def interrupted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """Let `act` happen once, just before a step."""
    real, done = getattr(owner, name), []

    def step(*args: Any, **more: Any) -> Any:
        if not done:
            done.append(True)
            act()
        return real(*args, **more)

    monkeypatch.setattr(owner, name, step)


@pytest.mark.parametrize("first", [True, False])
def test_a_server_killed_while_it_is_read(source: Feed, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    server = source.database.server
    if not first:
        source.ingest()
        source.database.run("insert into t select n from generate_series(51, 60) n", "delete from t where id = 1")
    step = (LogReader, "_decode") if "log" in str(source.streams) and not first else (Reader, "_write")
    with monkeypatch.context() as patch:
        interrupted(patch, *step, server.kill)
        with pytest.raises(Unreachable):
            source.ingest()
    assert len(source.chain("t").loads()) == (0 if first else 1)
    with pytest.raises(Unreachable):
        source.ingest()
    server.start()
    source.ingest()
    left = [row for (row,) in source.database.rows("select id from t")]
    kept = [*left, *([1] if source.streams["t"]["capture"] == "high_water_mark" and not first else [])]
    assert sorted(row for (row,) in source.now("t", "id")) == sorted(kept)
    assert len(source.seen("t", "id", where="_op = 'U'")) == (50 if first else 60)


def test_a_run_killed_between_its_load_and_the_slot(source: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    source.ingest()
    source.database.run("insert into t values (51)")
    real = RawStream.commit

    def commits_and_dies(chain: RawStream, manifest: Any) -> None:
        real(chain, manifest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RawStream, "commit", commits_and_dies)
        with pytest.raises(KeyboardInterrupt):
            source.ingest()
    source.database.run("insert into t values (52)")
    source.ingest()
    assert sorted(row for (row,) in source.seen("t", "id")) == list(range(1, 53))


def test_sessions_cut_by_the_administrator(source: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut() -> None:
        source.database.run(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'starberg' and datname = current_database()"
        )

    with monkeypatch.context() as patch:
        interrupted(patch, Reader, "_write", cut)
        with pytest.raises((Unreachable, TransientError)):
            source.ingest()
    source.ingest()
    assert len(source.seen("t")) == 50


def test_no_session_stays_behind(source: Feed) -> None:
    source.ingest()
    assert source.database.rows("select count(*) from pg_stat_activity where application_name = 'starberg'") == [(0,)]


def test_a_table_that_is_locked_stops_the_run_in_time(source: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starberg.ingestion.postgres_address.LOCK_WAIT_S", 1)
    owner = source.database.connect()
    owner.cursor().execute("lock table t in access exclusive mode")
    with pytest.raises(TransientError, match="lock timeout"):
        source.ingest()
    owner.rollback()
    owner.close()
    assert source.ingest()[0].changed == 50


def test_an_alter_in_the_middle_goes_first_and_the_reading_begins_anew(
    source: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table rewritten after the snapshot would read as empty."""
    monkeypatch.setattr("starberg.ingestion.postgres_address.SCANNER_LOCK_WAIT_S", 1)
    waiting = threading.Thread(target=lambda: source.database.run("alter table t alter id type bigint"))
    with monkeypatch.context() as patch:
        interrupted(patch, Reader, "_write", lambda: (waiting.start(), time.sleep(0.3)))
        assert source.ingest()[0].changed == 50
    waiting.join()
    assert source.chain("t").loads()[0].columns["id"] == "BIGINT"


def test_a_statement_that_takes_too_long_ends_the_run(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run("create view slow as select n as id, pg_sleep(0.2) is null as b from generate_series(1, 50) n")
    source = Feed(tmp_path, database, {"slow": {"table": "public.slow", "key": ["id"]}})
    with monkeypatch.context() as patch:
        patch.setattr("starberg.ingestion.postgres_address.STATEMENT_TIMEOUT_S", 1)
        with pytest.raises(TransientError, match="statement timeout"):
            source.ingest()
    assert database.rows("select count(*) from pg_stat_activity where application_name = 'starberg'") == [(0,)]
    assert source.chain("slow").loads() == []


def test_a_transaction_open_across_two_runs_is_captured_when_it_commits(source: Feed) -> None:
    """Its rows bear the time at which it began."""
    if source.streams["t"]["capture"] == "log":
        source.ingest()  # a first load waits for open transactions
    late = source.database.connect()
    late.cursor().execute("insert into t values (1000)")
    late.cursor().execute("update t set at = now() where id = 7")
    source.ingest()
    source.database.run("insert into t values (1001)")
    source.ingest()
    late.commit()
    late.close()
    source.database.run("insert into t values (1002)")
    source.ingest()
    stamps = 'id, epoch_us("at")'
    there = source.database.rows("select id, (extract(epoch from at) * 1000000)::bigint from t")
    assert sorted(source.now("t", stamps)) == sorted(there)


def test_an_update_that_keeps_its_stamp_is_seen_by_whoever_does_not_go_by_stamps(source: Feed) -> None:
    source.database.run("alter table t add note text", "update t set at = at - interval '1 day' where id = 7")
    source.ingest()
    source.database.run("update t set note = 'unstamped' where id = 7")
    source.ingest()
    by_stamp = source.streams["t"]["capture"] in ("high_water_mark", "keys")
    assert dict(source.now("t", "id, note"))[7] == (None if by_stamp else "unstamped")
    source.ingest(full=True)
    assert dict(source.now("t", "id, note"))[7] == "unstamped"


def test_a_key_used_again_after_a_delete(source: Feed) -> None:
    capture = source.streams["t"]["capture"]
    source.ingest()
    source.database.run("delete from t where id = 7")
    source.ingest()
    source.database.run("insert into t values (7)")
    source.ingest()
    deletes = {"high_water_mark": []}.get(capture, ["D"])
    assert [op for (op,) in source.seen("t", "_op", where="id = 7")] == ["U", *deletes, "U"]
    source.database.run("delete from t where id = 8", "insert into t values (8)")
    source.ingest()
    between = ["D"] if capture == "log" else []
    assert [op for (op,) in source.seen("t", "_op", where="id = 8")] == ["U", *between, "U"]


def test_several_changes_of_a_key_in_one_transaction_keep_their_order(source: Feed) -> None:
    source.database.run("alter table t add n int")
    source.ingest()
    session = source.database.connect()
    for n in (3, 1, 2):
        session.cursor().execute(f"update t set n = {n}, at = now() where id = 7")
    session.commit()
    session.close()
    source.ingest()
    seen = [n for (n,) in source.seen("t", "n", where="id = 7")]
    assert seen == ([None, 3, 1, 2] if source.streams["t"]["capture"] == "log" else [None, 2])
    assert dict(source.now("t", "id, n"))[7] == 2


def test_no_error_tells_the_password(source: Feed) -> None:
    password = source.database.url.split(":")[2].split("@")[0]
    wrong = source.database.reader_url.replace(password, "wrong-word-of-entry")
    source.url = wrong
    with pytest.raises(CredentialsError) as refused:
        source.ingest()
    source.url = source.database.reader_url.rsplit("/", 1)[0] + "/nothing"
    with pytest.raises(StarbergError) as missing:
        source.ingest()
    for error in (refused.value, missing.value):
        assert "wrong-word-of-entry" not in str(error)
        assert password not in str(error)
