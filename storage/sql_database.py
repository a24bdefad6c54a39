"""One SQL database as a catalog's store: its tables, and transactions that are safe to run again.

SQLite (a file beside a local lake) and PostgreSQL, by the same statements. All writers of one catalog stand in one
queue: SQLite's BEGIN IMMEDIATE, PostgreSQL's advisory lock. A transaction whose answer was lost is run again in that
queue, so it sees whether the first one landed.

SQLite keeps its rollback journal instead of a write-ahead log: transactions last milliseconds, so readers in the way
cost nothing, the file alone is the whole catalog (a copy of it is a backup), and network folders work. `synchronous`
is EXTRA, because with a rollback journal FULL may lose the last commit in a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous).

The drivers are called as they are (PEP 249): every command waits for the catalog, and SQLAlchemy alone takes 0.3 s to
import.
"""

from __future__ import annotations

import ipaddress
import re
import sqlite3
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, LakeError, StarbergError, Unreachable, UsageError
from starberg.utils.secrets import MASK

FORMAT_VERSION = 1
LOCK_WAIT_S = 30
_QUEUE = 0x57A2BE26  # the advisory lock all writers of a PostgreSQL catalog take
_URL_HINT = "Give sqlite:////folder/catalog.db or postgresql://user@host/database"

Result = TypeVar("Result")

# The first two are the tables of PyIceberg's SqlCatalog (and Iceberg's JdbcCatalog, schema V1), column for column.
# Times are UTC in ISO 8601 with six decimals, so that they order as text. A pointer without location: it was dropped.
_TABLES = """
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name));
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key));
CREATE TABLE IF NOT EXISTS starberg_branch (
    run_id VARCHAR(100) PRIMARY KEY, warehouse VARCHAR(255) NOT NULL, base_seq INTEGER NOT NULL,
    created_at VARCHAR(32) NOT NULL);
CREATE TABLE IF NOT EXISTS starberg_branch_base (
    run_id VARCHAR(100) NOT NULL, table_id VARCHAR(511) NOT NULL, location VARCHAR(1000) NOT NULL,
    PRIMARY KEY (run_id, table_id));
CREATE TABLE IF NOT EXISTS starberg_publish (
    seq INTEGER PRIMARY KEY, run_id VARCHAR(100) NOT NULL UNIQUE, warehouse VARCHAR(255) NOT NULL,
    message VARCHAR NOT NULL, published_at VARCHAR(32) NOT NULL);
CREATE INDEX IF NOT EXISTS ix_starberg_publish_published_at ON starberg_publish (published_at);
CREATE TABLE IF NOT EXISTS starberg_pointer (
    seq INTEGER NOT NULL, table_id VARCHAR(511) NOT NULL, location VARCHAR(1000), PRIMARY KEY (seq, table_id));
CREATE INDEX IF NOT EXISTS starberg_pointer_of_table ON starberg_pointer (table_id, seq);
CREATE TABLE IF NOT EXISTS starberg_tag (name VARCHAR(100) PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS starberg_format (version INTEGER PRIMARY KEY, catalog_id VARCHAR(36) NOT NULL)
"""


class Transaction:
    """One transaction on one connection. Values are bound by name: `:name` in the statement."""

    def __init__(self, connection: Any, bound: Callable[[str], str]) -> None:
        self._cursor = connection.cursor()
        self._bound = bound

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a question."""
        self._cursor.execute(self._bound(sql), values)
        return list(self._cursor.fetchall())

    def value(self, sql: str, **values: Any) -> Any:
        """Return the first value of the first row, or None."""
        rows = self.rows(sql, **values)
        return rows[0][0] if rows else None

    def run(self, sql: str, **values: Any) -> int:
        """Run a statement; return how many rows it changed."""
        self._cursor.execute(self._bound(sql), values)
        return int(self._cursor.rowcount)


class Database:
    """Runs actions in transactions, and explains what goes wrong without telling the password."""

    def __init__(self, uri: str, clock: Clock) -> None:
        self._driver = _driver(uri)
        self._clock = clock
        self._opening = threading.Lock()
        self._idle: list[Any] = []
        self._catalog_id = ""

    @property
    def name(self) -> str:
        """Return where the catalog is, without secrets."""
        return self._driver.name

    def read(self, action: Callable[[Transaction], Result]) -> Result:
        """Run an action on one consistent look at the database."""
        self.identity()
        return self._run(action, write=False)

    def write(self, action: Callable[[Transaction], Result]) -> Result:
        """Run an action alone and commit it. It may run again after its commit landed, so it looks before it acts."""
        self.identity()
        return self._run(action, write=True)

    def identity(self) -> str:
        """Return the id drawn when this database became a catalog, which it does at the first use."""
        with self._opening:
            if not self._catalog_id:
                self._catalog_id = self._run(self._existing, write=False) or self._run(self._created, write=True)
        return self._catalog_id

    def close(self) -> None:
        """Release the connections; the next use opens new ones."""
        while self._idle:
            self._idle.pop().close()

    def _run(self, action: Callable[[Transaction], Result], *, write: bool) -> Result:
        attempts = Retrying(
            retry=retry_if_exception_type(_ConnectionLost),
            stop=stop_after_attempt(4),
            wait=wait_random_exponential(0.2, max=3),
            sleep=self._clock.sleep,
            reraise=True,
        )
        result: Result = attempts(self._once, action, write)
        return result

    def _once(self, action: Callable[[Transaction], Result], write: bool) -> Result:
        connection = None
        try:
            connection = self._connection()
            transaction = Transaction(connection, self._driver.bound)
            self._driver.begin(transaction, write)
            result = action(transaction)
            transaction.run("COMMIT")
        except BaseException as error:
            if connection is not None:
                connection.close()  # and with it the transaction
            if isinstance(error, self._driver.error):
                raise self._driver.explained(error) from error
            raise
        if self._driver.keeps_connections:
            self._idle.append(connection)
        else:
            connection.close()
        return result

    def _connection(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._driver.connect()

    def _existing(self, transaction: Transaction) -> str:
        if not transaction.value(self._driver.has_format):
            return ""
        rows = transaction.rows("SELECT version, catalog_id FROM starberg_format ORDER BY version DESC")
        if not rows:
            return ""
        version, catalog_id = rows[0]
        if version > FORMAT_VERSION:
            raise LakeError(
                f"the catalog was written by a newer starberg (format {version}, this one knows {FORMAT_VERSION})",
                hint="Upgrade starberg",
            )
        return str(catalog_id)

    def _created(self, transaction: Transaction) -> str:
        if catalog_id := self._existing(transaction):
            return catalog_id
        for statement in _TABLES.split(";"):
            transaction.run(statement)
        catalog_id = str(uuid.uuid4())
        values = {"version": FORMAT_VERSION, "catalog_id": catalog_id}
        transaction.run("INSERT INTO starberg_format (version, catalog_id) VALUES (:version, :catalog_id)", **values)
        return catalog_id


class _ConnectionLost(Unreachable):
    """The connection broke: the transaction may or may not have been committed."""


class _Driver(Protocol):
    """What differs between the databases."""

    name: str
    has_format: str
    keeps_connections: bool

    @property
    def error(self) -> type[Exception]: ...

    def connect(self) -> Any: ...

    def bound(self, sql: str) -> str: ...

    def begin(self, transaction: Transaction, write: bool) -> None: ...

    def explained(self, error: Exception) -> StarbergError: ...


def _driver(uri: str) -> _Driver:
    """Return the driver of an address; UsageError, which tells nothing of it, if there is none."""
    try:
        url = urlsplit(uri)
        kind = url.scheme.partition("+")[0]
        file = uri.partition(":///")[2]
        if kind == "sqlite" and file not in ("", ":memory:"):
            return _Sqlite(file)
        if kind in ("postgres", "postgresql") and len(url.path) > 1:
            return _Postgres(url)
    except ValueError:
        raise UsageError("the catalog's address is no database URL", hint=_URL_HINT) from None
    raise UsageError(f"the catalog's address cannot be a {kind or 'plain'} URL", hint=_URL_HINT)


class _Sqlite:
    error: type[Exception] = sqlite3.Error
    has_format = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'starberg_format'"
    keeps_connections = False
    """A file that was replaced meanwhile is noticed."""

    def __init__(self, file: str) -> None:
        self.name = file

    def connect(self) -> sqlite3.Connection:
        folder = Path(self.name).parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the catalog's folder {folder} cannot be made: {error.strerror}") from error
        connection = sqlite3.connect(self.name, timeout=LOCK_WAIT_S, isolation_level=None)  # we say BEGIN, not it
        connection.execute("PRAGMA synchronous = EXTRA")
        return connection

    def bound(self, sql: str) -> str:
        return sql

    def begin(self, transaction: Transaction, write: bool) -> None:
        transaction.run("BEGIN IMMEDIATE" if write else "BEGIN")

    def explained(self, error: Exception) -> StarbergError:
        text = str(error)
        match (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                hint = "Another process holds the file; try again"
                return Unreachable(f"the catalog {self.name} stayed locked for {LOCK_WAIT_S} s", hint=hint)
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
                return CredentialsError(f"the catalog {self.name} may not be written: {text}")
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_FULL:
                hint = "Check the folder and its disk"
                return Unreachable(f"the catalog {self.name} cannot be used: {text}", hint=hint)
            case _:
                return LakeError(f"the catalog {self.name} is damaged or no catalog: {text}")


class _Postgres:
    has_format = (  # not to_regclass(), which may remember from before the queue that there is none
        "SELECT count(*) FROM pg_catalog.pg_tables "
        "WHERE tablename = 'starberg_format' AND schemaname = ANY (current_schemas(false))"
    )
    keeps_connections = True

    def __init__(self, url: SplitResult) -> None:
        user, host = f"{url.username}@" if url.username else "", url.hostname or ""
        port = f":{url.port}" if url.port else ""
        self.name = f"postgresql://{user}{host}{port}{url.path}"
        self._url = url._replace(scheme="postgresql")

    @property
    def error(self) -> type[Exception]:
        import psycopg2

        return psycopg2.Error

    def connect(self) -> Any:
        import psycopg2

        # A server that hangs or vanishes is noticed within half a minute, also in the middle of a statement.
        patience = {"connect_timeout": 10, "tcp_user_timeout": LOCK_WAIT_S * 1000}
        keepalives = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        arguments: dict[str, Any] = {**patience, **keepalives, **self._proof()}
        connection = psycopg2.connect(self._url.geturl(), **arguments)
        connection.autocommit = True  # we say BEGIN, not the driver
        return connection

    def bound(self, sql: str) -> str:
        return re.sub(r"(?<!:):(\w+)", r"%(\1)s", sql)

    def begin(self, transaction: Transaction, write: bool) -> None:
        """Readers get one snapshot for all their statements; writers, alone in the queue, see what is committed."""
        if not write:
            transaction.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return
        transaction.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        transaction.run(f"SET LOCAL lock_timeout = {LOCK_WAIT_S * 1000}")
        transaction.run(f"SELECT pg_advisory_xact_lock({_QUEUE})")

    def explained(self, error: Exception) -> StarbergError:
        import psycopg2

        text = str(error)
        for password in {self._url.password, unquote(self._url.password or "")} - {None, ""}:
            text = text.replace(str(password), MASK)
        code, where = getattr(error, "pgcode", None) or "", f"the catalog {self.name}"
        refused = any(sign in text for sign in ("authentication failed", "no password supplied", "pg_hba.conf"))
        if refused or code.startswith("28") or code == "42501":
            return CredentialsError(f"{where} refused: {text}")
        if code == "55P03":
            return Unreachable(
                f"{where} stayed locked for {LOCK_WAIT_S} s", hint="Another process holds the lock; try again"
            )
        if 'database "' in text and "does not exist" in text:
            return UsageError(f"{where} is missing: {text}", hint="Create the database")
        if "certificate" in text or "does not support SSL" in text:  # "SSL … closed" is a connection that broke
            hint = "Name its authority by ?sslrootcert=FILE in WAREHOUSE_DATABASE_URL, or set WAREHOUSE_DB_SSLMODE"
            return Unreachable(f"{where} cannot prove who it is: {text}", hint=hint)
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            return _ConnectionLost(f"{where} does not answer: {text}", hint="Is PostgreSQL running there?")
        return LakeError(f"{where} is damaged or no catalog: {text}")

    def _proof(self) -> dict[str, str]:
        """Return how another machine's server proves that it is the one, unless the URL says it: by certificate."""
        host, said = self._url.hostname, parse_qs(self._url.query)
        if not host or host == "localhost" or _is_loopback(host) or "sslmode" in said:
            return {}
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        # libpq's own default looks for its authorities where its build machine had them.
        return {"sslmode": "verify-full"} | ({} if "sslrootcert" in said else {"sslrootcert": DEFAULT_CA_BUNDLE_PATH})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
