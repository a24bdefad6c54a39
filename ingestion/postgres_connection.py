"""The connection to one PostgreSQL database: where it is, who it is, and what its catalog says.

Rows are read through the engine's scanner; this side holds the table's lock meanwhile, so that no ALTER or TRUNCATE
can commit between looking at the catalog and reading, and asks what a snapshot cannot tell.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from starberg.ingestion.postgres_types import SESSION, PgColumn
from starberg.ingestion.postgres_watch import watch
from starberg.ingestion.streams import Connection, SourceSpec, Stream
from starberg.utils.errors import (
    CredentialsError,
    SourceDataError,
    StarbergError,
    TransientError,
    Unreachable,
    UsageError,
)
from starberg.utils.sql import quote

if TYPE_CHECKING:
    import psycopg2.extensions

LOCK_WAIT_S = 30
SCANNER_LOCK_WAIT_S = 3
"""The scanner's sessions may stand behind an ALTER that itself waits for our lock: nobody would get on."""
STATEMENT_TIMEOUT_S = 6 * 3600
_AGAIN = "Is PostgreSQL running there? Nothing was landed; run again."
_OPEN = "could not connect|Unable to connect|terminating connection|server closed|SSL connection|not open|no connection"


class Locked(TransientError):
    """The table's lock could not be had in time."""


@dataclass(frozen=True)
class Address:
    """Where a database is and who asks."""

    host: str
    port: str
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    sslrootcert: str

    @property
    def secret(self) -> dict[str, str]:
        """Return what goes into the engine's secret."""
        parts = ("host", "port", "database", "user", "password")
        return {part: getattr(self, part) for part in parts}

    @property
    def login(self) -> dict[str, Any]:
        """Return psycopg2's parameters."""
        secret = self.secret
        return {"dbname": secret.pop("database"), **{k: v for k, v in secret.items() if v}, **self.options(LOCK_WAIT_S)}

    def options(self, lock_wait_s: int) -> dict[str, str]:
        """Return libpq's options, of which none is secret."""
        limits = {
            "lock_timeout": f"{lock_wait_s}s",
            "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
            "idle_in_transaction_session_timeout": "0",  # the table's lock is held idly while the scanner reads
            "default_transaction_read_only": "on",
            "row_security": "off",  # rows that a policy hides are an error instead of deletes
        }
        session = " ".join(f"-c {name}={value}" for name, value in {**SESSION, **limits}.items())
        keepalives = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
        keepalives["tcp_user_timeout"] = "60000"
        tls = {"sslmode": self.sslmode, "sslrootcert": self.sslrootcert}
        given = {"application_name": "starberg", "connect_timeout": "15", **keepalives, **tls, "options": session}
        return {name: value for name, value in given.items() if value}

    def connection_string(self) -> str:
        """Return the scanner's options as libpq's connection string."""
        return " ".join(f"{name}='{value}'" for name, value in self.options(SCANNER_LOCK_WAIT_S).items())


def address(spec: SourceSpec, secret_of: Callable[[str], str | None]) -> Address:
    """Return where a source's database is; CredentialsError if a setting it names is not set."""
    declared = spec.connection
    assert declared is not None

    def secret(name: str) -> str:
        if not name:
            return ""
        found = secret_of(name)
        if found is None:
            raise CredentialsError(f"source {spec.name} needs {name}, which is not set", hint=f"Set {name}.")
        return found

    said = _url_parts(declared.url, secret(declared.url)) if declared.url else {}
    return _address(declared, said, secret)


def url_address(name: str, url: str) -> Address:
    """Return where a URL says a database is; UsageError if it is none, which calls it by `name`."""
    return _address(Connection(url="URL"), _url_parts(name, url), lambda _: "")


def _url_parts(name: str, url: str) -> dict[str, str]:
    """Return what a URL says by the names of libpq; UsageError if it is none, which calls it by `name`."""
    try:
        parts = urlsplit(url)
        port = str(parts.port or "")
        if "@" in parts.path + parts.query + parts.fragment:
            raise ValueError
    except ValueError:  # most likely of a password that is not percent-encoded: say nothing of what was read
        hint = "In a password write / as %2F, @ as %40, # as %23, ? as %3F."
        raise UsageError(f"{name} is no URL", hint=hint) from None
    if parts.scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise UsageError(f"{name} is no postgresql:// URL")
    given = {"host": parts.hostname, "port": port, "database": parts.path[1:]}
    login = {"user": parts.username, "password": parts.password}
    said = {key: unquote(value) for key, value in {**given, **login}.items() if value}
    return dict(parse_qsl(parts.query)) | said


def _address(declared: Connection, said: Mapping[str, str], secret: Callable[[str], str]) -> Address:
    """Put together what a URL says and what is declared beside it."""
    host = said.get("host") or declared.host
    sslmode = declared.sslmode or said.get("sslmode", "") or ("" if _is_local(host) else "verify-full")
    return Address(
        host=host,
        port=said.get("port") or str(declared.port),
        database=said.get("database") or declared.database,
        user=said.get("user") or declared.user,
        password=said.get("password") or secret(declared.password),
        sslmode=sslmode,
        sslrootcert=declared.sslrootcert or said.get("sslrootcert", "") or _authorities(sslmode),
    )


@dataclass(frozen=True)
class TableFacts:
    """What the catalog says of a table, while its lock is held."""

    oid: int
    columns: tuple[PgColumn, ...]
    unique: tuple[frozenset[str], ...]
    """Sets of NOT NULL columns that identify a row."""
    replica_identity: frozenset[str] | None
    """Columns the log has of a row's old self; None: all."""


class Control:
    """One plain connection, opened at the first question; every method raises a StarbergError where libpq failed."""

    def __init__(self, name: str, where: Address) -> None:
        self.name = name
        self.address = where
        self._connection: psycopg2.extensions.connection | None = None
        self._watch: threading.Event | None = None

    @property
    def connection(self) -> psycopg2.extensions.connection:
        """Return the open connection, in autocommit; one that was lost is not replaced: with it its lock is gone."""
        if self._connection is None:
            self._connection = self._connect()
            self._connection.autocommit = True
            self._watch = watch(self.address)
        if self._connection.closed:
            raise Unreachable(f"source {self.name}: the connection was lost", hint=_AGAIN)
        return self._connection

    def _connect(self) -> psycopg2.extensions.connection:
        import psycopg2

        with self.explained():
            connection: psycopg2.extensions.connection = psycopg2.connect(**self.address.login)
            return connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the answer to a question."""
        with self.explained(), self.connection.cursor() as cursor:
            cursor.execute(sql, tuple(parameters) or None)
            return cursor.fetchall() if cursor.description else []

    @property
    def is_open(self) -> bool:
        """Tell whether anything was asked yet."""
        return self._connection is not None and not self._connection.closed

    def stream(self, sql: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield a long answer in pieces, over a connection of its own."""
        connection = self._connect()
        try:
            with self.explained(), connection.cursor(name="starberg") as cursor:
                cursor.itersize = 5000
                cursor.execute(sql, tuple(parameters))
                yield from cursor
        finally:
            connection.close()

    def identity(self) -> str:
        """Return the system identifier and the database's oid, which a copy or another server does not share."""
        [(system, oid)] = self.rows(
            "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "FROM pg_control_system()"
        )
        return f"postgres {system}/{oid}"

    def position(self) -> int:
        """Return how far the server has written its log (on a standby: replayed it)."""
        [(lsn,)] = self.rows(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END "
            "- '0/0'::pg_lsn)::bigint"
        )
        return int(lsn)

    @contextmanager
    def locked(self, stream: Stream) -> Iterator[TableFacts]:
        """Hold the table's weakest lock (SELECT's own): until the end nobody can alter, truncate or drop it."""
        self.rows("BEGIN")
        try:
            self.rows(f"LOCK TABLE {quote(stream.table)} IN ACCESS SHARE MODE")
            yield self._facts(stream.table)
        except BaseException:
            with suppress(StarbergError):  # the connection may be what failed; with it the lock is gone
                self.rows("ROLLBACK")  # psycopg2's own rollback() does nothing in autocommit
            raise
        self.rows("ROLLBACK")  # if this fails the lock may have been gone for long

    def close(self) -> None:
        """End the connection."""
        if self._watch:
            self._watch.set()
        if self._connection:
            self._connection.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn libpq's errors into ours."""
        import psycopg2

        try:
            yield
        except psycopg2.Error as error:
            text = str(error).strip().split("\n")[0]
            raise explain(self.name, text, getattr(error, "pgcode", None) or "") from error

    def _facts(self, table: str) -> TableFacts:
        [(oid, identity)] = self.rows(
            "SELECT oid::bigint, relreplident FROM pg_class WHERE oid = %s::regclass", [quote(table)]
        )
        columns = tuple(PgColumn(*row) for row in self.rows(_COLUMNS, [oid]))
        indexes = self.rows(_INDEXES, [oid])
        unique = tuple(frozenset(names) for names, unique, _, _ in indexes if unique)
        replica: frozenset[str] | None = frozenset()
        if identity == "f":
            replica = None
        for names, _, is_primary, is_replica in indexes:
            if (identity == "d" and is_primary) or (identity == "i" and is_replica):
                replica = frozenset(names)
        return TableFacts(oid, columns, unique, replica)


def explain(source: str, text: str, code: str = "") -> StarbergError:
    """Return our error for what libpq said (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
    message = f"source {source}: {text}"
    if code.startswith("28") or re.search("authentication failed|no password supplied|pg_hba.conf", text):
        return CredentialsError(message)
    if "row-level security policy" in text:
        return CredentialsError(message, hint="Its rows are hidden from this role: ALTER ROLE … BYPASSRLS;")
    if code == "42501" or "permission denied" in text:
        return CredentialsError(message, hint="Grant the role SELECT on the table (and USAGE on its schema).")
    if code in ("42P01", "3F000", "3D000") or "does not exist" in text:
        return UsageError(message, hint="Check `table` and `connection` in warehouse.yml.")
    if code == "55P03" or "lock timeout" in text:
        return Locked(message, hint="Somebody holds the table, or waits for it; run again.")
    if code == "55006":
        return TransientError(message, hint="Another run reads the slot, or one that was killed still ends; run again.")
    if code in ("57014", "40001", "40P01") or re.search("statement timeout|conflict with", text):
        return TransientError(message, hint="Run again.")
    if code[:2] in ("08", "57", "53") or not code or re.search(_OPEN, text):
        return Unreachable(message, hint=_AGAIN)
    return SourceDataError(message)


@contextmanager
def scanning(source: str) -> Iterator[None]:
    """Turn the errors of the engine's scanner into those of the source."""
    try:
        yield
    except TransientError:
        raise
    except StarbergError as error:
        text = error.args[0]
        if not re.search("Failed to|ostgres|libpq|server closed", text):
            raise
        said = text.rsplit('": ', 1)[-1].split(" LINE 1:")[0].strip()
        lost = "FATAL" in said or said.endswith(":") or re.search(_OPEN, text)
        said = "the connection was lost" if said.endswith(":") else re.sub("^(ERROR|FATAL): *", "", said)
        raise explain(source, said, "" if lost else "XX000") from error


def _is_local(host: str) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authorities(sslmode: str) -> str:
    if not sslmode.startswith("verify"):
        return ""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return str(DEFAULT_CA_BUNDLE_PATH)


_COLUMNS = """
WITH RECURSIVE c AS (
  SELECT attnum, attname::text AS name, format_type(atttypid, atttypmod) AS said, atttypid AS typ, atttypmod AS mod,
    false AS is_domain
  FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
  UNION ALL
  SELECT attnum, name, said, t.typbasetype, CASE WHEN mod = -1 THEN t.typtypmod ELSE mod END, true
  FROM c JOIN pg_type t ON t.oid = c.typ WHERE t.typtype = 'd')
SELECT c.name, c.said, t.typname::text, format_type(c.typ, c.mod), c.mod, t.typtype::text,
  coalesce(e.typname::text, ''), coalesce(e.typtype::text, ''), c.is_domain
FROM c JOIN pg_type t ON t.oid = c.typ
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE t.typtype <> 'd' ORDER BY c.attnum"""
_INDEXES = """
SELECT array_agg(a.attname::text), i.indisunique AND i.indpred IS NULL AND i.indimmediate AND bool_and(a.attnotnull),
  i.indisprimary, i.indisreplident
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
  AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
WHERE i.indrelid = %s AND i.indisvalid AND i.indexprs IS NULL
GROUP BY i.indexrelid, i.indisunique, i.indpred IS NULL, i.indimmediate, i.indisprimary, i.indisreplident"""
