"""One SQL database as a catalog's store: its tables, and transactions that are safe to run again.

SQLite (a file beside a local lake) and PostgreSQL, by the same code. All writers of one catalog stand in one queue:
SQLite's BEGIN IMMEDIATE, PostgreSQL's advisory lock. A transaction whose answer was lost is run again in that queue,
so it sees whether the first one landed.

SQLite keeps its rollback journal instead of a write-ahead log: transactions last milliseconds, so readers in the way
cost nothing, the file alone is the whole catalog (a copy of it is a backup), and network folders work. `synchronous`
is EXTRA, because with a rollback journal FULL may lose the last commit in a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import ipaddress
import sqlite3
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, LakeError, StarbergError, Unreachable, UsageError
from starberg.utils.secrets import MASK

FORMAT_VERSION = 1
LOCK_WAIT_S = 30
_QUEUE = 0x57A2BE26  # the advisory lock all writers of a PostgreSQL catalog take
_DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg2", "postgresql": "postgresql+psycopg2"}

Result = TypeVar("Result")
_metadata = MetaData()

# The tables of PyIceberg's SqlCatalog (and Iceberg's JdbcCatalog, schema V1), column for column.
iceberg_tables = Table(
    "iceberg_tables",
    _metadata,
    Column("catalog_name", String(255), primary_key=True),
    Column("table_namespace", String(255), primary_key=True),
    Column("table_name", String(255), primary_key=True),
    Column("metadata_location", String(1000)),
    Column("previous_metadata_location", String(1000)),
    Column("iceberg_type", String(5)),
)
Table(
    "iceberg_namespace_properties",
    _metadata,
    Column("catalog_name", String(255), primary_key=True),
    Column("namespace", String(255), primary_key=True),
    Column("property_key", String(255), primary_key=True),
    Column("property_value", String(1000), nullable=False),
)
# Ours. Times are UTC in ISO 8601 with six decimals, so that they order as text.
branches = Table(
    "starberg_branch",
    _metadata,
    Column("run_id", String(100), primary_key=True),
    Column("warehouse", String(255), nullable=False),
    Column("base_seq", Integer, nullable=False),
    Column("created_at", String(32), nullable=False),
)
branch_base = Table(
    "starberg_branch_base",
    _metadata,
    Column("run_id", String(100), primary_key=True),
    Column("table_id", String(511), primary_key=True),
    Column("location", String(1000), nullable=False),
)
publishes = Table(
    "starberg_publish",
    _metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(100), nullable=False, unique=True),
    Column("warehouse", String(255), nullable=False),
    Column("message", String, nullable=False),
    Column("published_at", String(32), nullable=False, index=True),
)
pointers = Table(  # location null: the table was dropped
    "starberg_pointer",
    _metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("table_id", String(511), primary_key=True),
    Column("location", String(1000)),
    Index("starberg_pointer_of_table", "table_id", "seq"),
)
tags = Table(
    "starberg_tag",
    _metadata,
    Column("name", String(100), primary_key=True),
    Column("seq", Integer, nullable=False),
)
store_format = Table(
    "starberg_format",
    _metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("catalog_id", String(36), nullable=False),
)


class Database:
    """Runs actions in transactions, and explains what goes wrong without telling the password."""

    def __init__(self, uri: str, clock: Clock) -> None:
        self._url = _checked(uri)
        self._clock = clock
        self._opening = threading.Lock()
        self._engine: Engine | None = None
        self._catalog_id = ""

    @property
    def name(self) -> str:
        """Return where the catalog is, without secrets."""
        if self._url.get_backend_name() == "sqlite":
            return str(self._url.database)
        url = self._url
        return str(URL.create("postgresql", url.username, host=url.host, port=url.port, database=url.database))

    def read(self, action: Callable[[Connection], Result]) -> Result:
        """Run an action on one consistent look at the database."""
        self.identity()
        return self._run(action, write=False)

    def write(self, action: Callable[[Connection], Result]) -> Result:
        """Run an action alone and commit it. It may run again after its commit landed, so it looks before it acts."""
        self.identity()
        return self._run(action, write=True)

    def identity(self) -> str:
        """Return the id drawn when this database became a catalog, which it does at the first use."""
        with self._opening:
            if not self._catalog_id:
                self._catalog_id = self._run(_existing, write=False) or self._run(_created, write=True)
        return self._catalog_id

    def close(self) -> None:
        """Release the connections; the next use opens new ones."""
        if self._engine is not None:
            self._engine.dispose()

    def _run(self, action: Callable[[Connection], Result], *, write: bool) -> Result:
        attempts = Retrying(
            retry=retry_if_exception_type(_ConnectionLost),
            stop=stop_after_attempt(4),
            wait=wait_random_exponential(0.2, max=3),
            sleep=self._clock.sleep,
            reraise=True,
        )
        result: Result = attempts(self._once, action, write)
        return result

    def _once(self, action: Callable[[Connection], Result], write: bool) -> Result:
        try:
            with self._connect(write) as connection, connection.begin():
                if write and connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_WAIT_S * 1000}")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_QUEUE})")
                return action(connection)
        except DBAPIError as error:
            raise self._explained(error) from error

    def _connect(self, write: bool) -> Connection:
        if self._engine is None:
            self._engine = _engine(self._url)
        connection = self._engine.connect()
        if connection.dialect.name == "sqlite":
            return connection.execution_options(starberg_write=write)
        # Readers get one snapshot for all their statements; writers, alone in the queue, see what is committed.
        level = "READ COMMITTED" if write else "REPEATABLE READ"
        return connection.execution_options(isolation_level=level, postgresql_readonly=not write)

    def _explained(self, error: DBAPIError) -> StarbergError:
        text = str(error.orig)
        if self._url.password:
            text = text.replace(str(self._url.password), MASK)
        if isinstance(error.orig, sqlite3.Error):
            return _explained_sqlite(self.name, text, getattr(error.orig, "sqlite_errorcode", None))
        return _explained_postgres(self.name, text, error)


class _ConnectionLost(Unreachable):
    """The connection broke: the transaction may or may not have been committed."""


def _checked(uri: str) -> URL:
    try:
        url = make_url(uri)
    except ArgumentError:
        raise UsageError("the catalog's address is no database URL", hint=_URL_HINT) from None
    driver = _DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None or not url.database or url.database == ":memory:":
        raise UsageError(f"the catalog's address cannot be a {url.drivername} URL", hint=_URL_HINT)
    return url.set(drivername=driver)


_URL_HINT = "Give sqlite:////folder/catalog.db or postgresql://user@host/database"


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        _make_folder(Path(str(url.database)).parent)
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_WAIT_S})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # A server that hangs or vanishes is noticed within half a minute, also in the middle of a statement.
    patience = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    arguments = patience | {"tcp_user_timeout": LOCK_WAIT_S * 1000} | _proof(url)
    return create_engine(url, pool_size=2, pool_pre_ping=True, connect_args=arguments)


def _proof(url: URL) -> dict[str, str]:
    """Return how a server of another machine proves that it is the one, unless the URL says it: by its certificate."""
    if not url.host or url.host == "localhost" or _is_loopback(url.host) or "sslmode" in url.query:
        return {}
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    # libpq's own default looks for its authorities where its build machine had them.
    return {"sslmode": "verify-full"} | ({} if "sslrootcert" in url.query else {"sslrootcert": DEFAULT_CA_BUNDLE_PATH})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the catalog's folder {folder} cannot be made: {error.strerror}") from error


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN, not the driver
    connection.execute("PRAGMA synchronous = EXTRA")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("starberg_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _existing(connection: Connection) -> str:
    if not inspect(connection).has_table(store_format.name):
        return ""
    row = connection.execute(select(store_format).order_by(store_format.c.version.desc())).first()
    if row is None:
        return ""
    if row.version > FORMAT_VERSION:
        raise LakeError(
            f"the catalog was written by a newer starberg (format {row.version}, this one knows {FORMAT_VERSION})",
            hint="Upgrade starberg",
        )
    return str(row.catalog_id)


def _created(connection: Connection) -> str:
    if catalog_id := _existing(connection):
        return catalog_id
    _metadata.create_all(connection)
    catalog_id = str(uuid.uuid4())
    connection.execute(insert(store_format).values(version=FORMAT_VERSION, catalog_id=catalog_id))
    return catalog_id


def _explained_sqlite(name: str, text: str, code: int | None) -> StarbergError:
    match (code or 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            hint = "Another process holds the file; try again"
            return Unreachable(f"the catalog {name} stayed locked for {LOCK_WAIT_S} s", hint=hint)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return CredentialsError(f"the catalog {name} may not be written: {text}")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_FULL:
            return Unreachable(f"the catalog {name} cannot be used: {text}", hint="Check the folder and its disk")
        case _:
            return LakeError(f"the catalog {name} is damaged or no catalog: {text}")


def _explained_postgres(name: str, text: str, error: DBAPIError) -> StarbergError:
    code = getattr(error.orig, "pgcode", None) or ""
    refused = any(sign in text for sign in ("authentication failed", "no password supplied", "pg_hba.conf"))
    if refused or code.startswith("28") or code == "42501":
        return CredentialsError(f"the catalog {name} refused: {text}")
    if code == "55P03":
        hint = "Another process holds the lock; try again"
        return Unreachable(f"the catalog {name} stayed locked for {LOCK_WAIT_S} s", hint=hint)
    if 'database "' in text and "does not exist" in text:
        return UsageError(f"the catalog {name} is missing: {text}", hint="Create the database")
    if "certificate" in text or "does not support SSL" in text:  # "SSL … closed" is a connection that broke
        hint = "Name its authority by ?sslrootcert=FILE in WAREHOUSE_DATABASE_URL, or set WAREHOUSE_DB_SSLMODE"
        return Unreachable(f"the catalog {name} cannot prove who it is: {text}", hint=hint)
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
        return _ConnectionLost(f"the catalog {name} does not answer: {text}", hint="Is PostgreSQL running there?")
    return LakeError(f"the catalog {name} is damaged or no catalog: {text}")
