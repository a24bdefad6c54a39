"""A real PostgreSQL for tests, and a source that reads one of its databases into a lake's raw zone.

with running(folder) as server:
    database = server.database()
    database.run("create table t (id int primary key)")
    feed = Feed(tmp_path, database, {"t": {"table": "public.t", "key": ["id"]}})
    feed.ingest()
    assert feed.now("t") == [(1,)]
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2

from starberg.engines.duckdb import DuckDBEngine
from starberg.engines.typed_rows import raw_rows, typed_rows
from starberg.ingestion.columns import json_columns
from starberg.ingestion.ingest_pipeline import Ingestion
from starberg.ingestion.streams import SourceSpec
from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.storage.local_store import LocalStore
from starberg.storage.raw_chain import Chains, Manifest, RawStream
from starberg.utils.clock import Clock
from starberg.utils.sql import names

CAPTURES: dict[str, dict[str, Any]] = {
    "full": {"capture": "full"},
    "high_water_mark": {"capture": "high_water_mark", "cursor": "at"},
    "keys": {"capture": "keys", "cursor": "at"},
    "log": {"capture": "log"},
}
"""Every capture mode of a table with a column `at`."""
READER = "reader"
"""The role of sources: it may see tables, when others' transactions began, and the log."""


class Server(EmbeddedPostgres):
    """A server that can be treated badly."""

    def kill(self) -> None:
        """End it as a crash would, by PostgreSQL's own signal for it: the next start recovers."""
        self.resume()
        os.kill(self.pid, signal.SIGQUIT)
        self.stop()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections are open, nothing answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        if not self.running:
            return
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in [self.pid, *map(int, children)]:
            with suppress(ProcessLookupError):  # a session that just ended
                os.kill(pid, number)


@dataclass
class Database:
    """One database of the server; `reader_url` is of the role with which sources read it: it may only SELECT."""

    server: Server
    url: str
    reader_url: str = ""

    def connect(self) -> Any:
        """Open a session of its own, with transactions."""
        return psycopg2.connect(self.url, connect_timeout=60)

    def run(self, *statements: str) -> None:
        """Run statements, each committed at once."""
        connection = self.connect()
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Answer SQL."""
        connection = self.connect()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            found = cursor.fetchall()
        connection.close()
        return found


@dataclass
class DatabaseServer:
    """The server; each test takes a database of its own."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url()

    def database(self) -> Database:
        """Create a database."""
        name = f"db{secrets.token_hex(4)}"
        self.server.create(name)
        url, login = self.server.url(name), f"{READER}:{self.server.password}@"
        found = Database(self.server, url, re.sub("//[^@]*@", f"//{login}", url))
        found.run(
            f"alter default privileges grant usage on schemas to {READER}",
            f"alter default privileges grant select on tables to {READER}",
        )
        return found

    def drop(self, database: Database) -> None:
        """Drop a database with its slots, which would keep the log of all."""
        admin, name = Database(self.server, self.url), urlsplit(database.url).path[1:]
        for (slot,) in admin.rows(f"select slot_name from pg_replication_slots where database = '{name}'"):
            admin.run(f"select pg_drop_replication_slot('{slot}')")
        for (gid,) in admin.rows(f"select gid from pg_prepared_xacts where database = '{name}'"):
            database.run(f"rollback prepared '{gid}'")
        admin.run(f"drop database {name} with (force)")


@contextmanager
def running(**more: str) -> Iterator[DatabaseServer]:
    """Start a server with logical decoding and prepared transactions; `more` are settings of PostgreSQL's own."""
    folder = Path(tempfile.mkdtemp(prefix="starberg-postgres-"))
    # fsync guards against a power cut, not against a crash, and costs half the time.
    durable = {"fsync": "off", "synchronous_commit": "on"}
    settings = {**durable, "max_prepared_transactions": "5", "max_replication_slots": "50", **more}
    try:
        with Server(folder, settings) as server:
            Database(server, server.url()).run(
                f"create role {READER} login replication password '{server.password}'",
                f"grant pg_read_all_stats to {READER}",
            )
            yield DatabaseServer(server)
    finally:
        shutil.rmtree(folder)


@dataclass
class Feed:
    """A source `db` of kind postgres over one database, and the raw zone it lands in."""

    folder: Path
    database: Database
    streams: Mapping[str, Any]
    source: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    runs: int = 0

    def __post_init__(self) -> None:
        self.store = LocalStore(self.folder / "lake")

    @property
    def spec(self) -> SourceSpec:
        given = {"kind": "postgres", "connection": {"url": "DB_URL"}, "slot": self.slot, **self.source}
        spec = SourceSpec.model_validate({"name": "db", **given, "streams": self.streams})
        streams = {name: stream.model_copy(update={"name": name}) for name, stream in spec.streams.items()}
        return spec.model_copy(update={"streams": streams})

    @property
    def slot(self) -> str:
        return f"slot_{urlsplit(self.database.url).path[1:]}"

    def ingest(self, *, full: bool = False) -> list[Manifest]:
        """Run ingestion; return the loads."""
        self.runs += 1
        secret_of = {"DB_URL": self.url or self.database.reader_url or self.database.url}.get
        ingestion = Ingestion(
            "shop", {"db": self.spec}, self.store, Chains(self.store, "shop"), DuckDBEngine, secret_of, Clock()
        )
        return list(ingestion.run(f"run{self.runs}", full=full))

    def chain(self, stream: str) -> RawStream:
        return RawStream(self.store, "shop", "db", stream)

    def seen(self, stream: str, columns: str = "", *, where: str = "true") -> list[tuple[Any, ...]]:
        """Return all typed rows of a stream's loads in order: `columns` of them, or `_op` and the stream's columns."""
        return self._ask(
            stream,
            lambda listed: f"SELECT {columns or f'_op, {listed}'} FROM typed WHERE {where} ORDER BY _load_id, _row",
        )

    def now(self, stream: str, columns: str = "") -> list[tuple[Any, ...]]:
        """Return the live rows as they are after the last load, in key order."""
        return self._ask(
            stream,
            lambda listed: (
                f"SELECT {columns or listed} FROM typed "
                "QUALIFY row_number() OVER (PARTITION BY _key ORDER BY _load_id DESC, _row DESC) = 1 AND _op = 'U' "
                "ORDER BY _key"
            ),
        )

    def _ask(self, stream: str, select: Any) -> list[tuple[Any, ...]]:
        chain, spec = self.chain(stream), self.spec
        loads = chain.loads()
        columns = json_columns(spec.streams[stream], loads[-1].columns)
        placed = [(part, n) for load in loads for n, part in enumerate(load.parts)]
        files = [(str(chain.fetch(part, self.folder)), n) for part, n in placed]
        kinds = loads[-1].raw_types
        typed = typed_rows(raw_rows(files, kinds), columns, kinds, spec.streams[stream].key, spec.timezone)
        engine = DuckDBEngine()
        try:
            engine.run(f"CREATE TEMP TABLE typed AS {typed}")
            return engine.rows(select(names(list(columns))))
        finally:
            engine.close()
