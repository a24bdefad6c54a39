"""The network to PostgreSQL fails in the middle: nothing is lost, nothing doubled, and nobody waits forever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from database import CAPTURES, Database, Feed, Server
from tcp_proxy import TcpProxy, tcp_proxy

from starberg.ingestion import postgres_watch
from starberg.ingestion.postgres_reader import Reader
from starberg.utils.errors import StarbergError, TransientError, Unreachable

pytestmark = pytest.mark.proof


@pytest.fixture
def proxy(database: Database) -> Iterator[TcpProxy]:
    with tcp_proxy(database.server.port) as found:
        yield found


@pytest.fixture(params=CAPTURES)
def source(tmp_path: Path, database: Database, proxy: TcpProxy, request: pytest.FixtureRequest) -> Feed:
    database.run(
        "create table t (id int primary key, note text, at timestamptz not null default clock_timestamp())",
        "create publication starberg for table t",
        "insert into t select n, repeat('x', 100) from generate_series(1, 3000) n",
    )
    feed = Feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id"], **CAPTURES[request.param]}})
    feed.url = database.reader_url.replace(f":{database.server.port}/", f":{proxy.port}/")
    return feed


def changed(source: Feed, turn: int) -> None:
    source.database.run(
        f"insert into t select n, 'new' from generate_series({turn * 10000}, {turn * 10000 + 500}) n",
        f"update t set note = 'turn {turn}', at = clock_timestamp() where id between {turn * 50} and {turn * 50 + 20}",
    )


def check(source: Feed) -> None:
    """The live rows are the table's, and no version was landed twice."""
    assert sorted(source.now("t", "id, note")) == sorted(source.database.rows("select id, note from t"))
    landed = source.seen("t", "id, note", where="_op = 'U'")
    assert len(landed) == len(set(landed))


def test_connections_reset_at_any_point_of_a_run(source: Feed, proxy: TcpProxy) -> None:
    def cut_at(count: int) -> None:
        loads = len(source.chain("t").loads())
        proxy.heal()
        proxy.reset_at = count
        with suppress(TransientError, Unreachable):
            source.ingest()
        assert len(source.chain("t").loads()) - loads in (0, 1)
        proxy.heal()

    for share in (0.02, 0.3, 0.6, 0.95):
        cut_at(int(share * 400_000))
    source.ingest()
    check(source)
    proxy.heal()
    changed(source, 1)
    source.ingest()
    check(source)
    total = proxy.answered
    for turn in range(2, 10):
        changed(source, turn)
        cut_at(total * turn // 10)
    source.ingest()
    check(source)
    assert sum(load.changed for load in source.ingest()) == 0


@pytest.mark.parametrize("first", [True, False])
def test_a_network_that_swallows_everything_ends_the_run_and_the_next_one_goes_on(
    source: Feed, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    if first and source.streams["t"]["capture"] in ("high_water_mark", "keys"):
        pytest.skip("their first load is a full one")
    if not first:
        source.ingest()
        changed(source, 1)
    monkeypatch.setattr(postgres_watch, "ASKED_EVERY_S", 0.2)
    monkeypatch.setattr(postgres_watch, "ANSWER_S", 2)
    proxy.heal()
    proxy.stall_at = 60_000 if first else 20_000
    with pytest.raises((Unreachable, TransientError)):
        source.ingest()
    proxy.close()
    source.url = ""
    source.ingest()
    check(source)


def test_a_slow_network_is_no_fault(source: Feed, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_watch, "ASKED_EVERY_S", 0.2)
    monkeypatch.setattr(postgres_watch, "ANSWER_S", 2)
    proxy.delay_s = 0.02
    source.ingest()
    changed(source, 1)
    source.ingest()
    check(source)


def test_a_server_that_is_frozen_ends_the_run(source: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_watch, "ASKED_EVERY_S", 0.2)
    monkeypatch.setattr(postgres_watch, "ANSWER_S", 2)
    source.url = ""
    with monkeypatch.context() as patch:
        real, done = Reader._write, []

        def freezes(*args: Any, **more: Any) -> Any:
            if not done:
                done.append(True)
                source.database.server.pause()
            return real(*args, **more)

        patch.setattr(Reader, "_write", freezes)
        with pytest.raises((Unreachable, TransientError)):
            source.ingest()
    source.database.server.resume()
    source.ingest()
    check(source)


def test_a_postmaster_killed_with_its_sessions_left_to_find_out(source: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    server = source.database.server
    source.url = ""
    source.ingest()
    changed(source, 1)
    with monkeypatch.context() as patch:
        real, done = Reader._write, []

        def kills(*args: Any, **more: Any) -> Any:
            if not done:
                done.append(True)
                os.kill(server.pid, signal.SIGKILL)
            return real(*args, **more)

        patch.setattr(Reader, "_write", kills)
        if source.streams["t"]["capture"] == "log":
            patch.setattr("starberg.ingestion.postgres_log.LogReader._decode", kills_then(server))
        with suppress(TransientError, Unreachable):
            source.ingest()
    started_again(server)
    source.ingest()
    check(source)


def started_again(server: Server) -> None:
    """Its sessions hold the shared memory until they notice."""
    server.stop()
    for _ in range(100):
        try:
            return server.start()
        except StarbergError:
            time.sleep(0.1)
    return server.start()


def kills_then(server: Any) -> Any:
    def dies(*_: Any) -> Any:
        os.kill(server.pid, signal.SIGKILL)
        raise Unreachable("killed")

    return dies
