"""Trino: its HTTP protocol through Trino's own client, and the only module that imports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starberg.engines import trino_types
from starberg.engines.clients import Batches, Login, TableAt
from starberg.utils.errors import CredentialsError, StarbergError, Unreachable, UsageError
from starberg.utils.sql import quote

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import Dialect
    from trino.dbapi import Connection, Cursor

_BATCH_ROWS = 10_000
_REQUEST_TIMEOUT_S = 30.0
_ATTEMPTS = 3


class TrinoClient:
    """Trino's coordinator; it is connected to at the first question."""

    name = "trino"

    def __init__(self, login: Login, catalog: str) -> None:
        self._login = login
        self._catalog = catalog
        self._open: list[Cursor] = []

    @property
    def dialect(self) -> type[Dialect]:
        """See `QueryClient.dialect`."""
        from starberg.engines.dialects import TrinoSql

        return TrinoSql

    def table(self, table: TableAt) -> str:
        """See `QueryClient.table`."""
        snapshot = table.snapshot()
        at = "" if snapshot is None else f" FOR VERSION AS OF {snapshot}"
        return f"{quote(f'{self._catalog}.{table.name}')}{at}"

    def query(self, sql: str) -> Batches:
        """See `QueryClient.query`."""
        cursor = self._connection.cursor()
        self._open.append(cursor)
        try:
            with _explained(self._login):
                cursor.execute(sql)
                described = cursor.description or []
            columns = trino_types.schema([(column[0], column[1]) for column in described])
        except BaseException:
            self._end(cursor)
            raise
        return Batches(columns, self._batches(cursor, columns))

    def close(self) -> None:
        """See `QueryClient.close`."""
        for cursor in list(self._open):
            self._end(cursor)

    @cached_property
    def _connection(self) -> Connection:
        dbapi = _driver()
        self._login.check_there()
        with _explained(self._login):
            return dbapi.connect(  # type: ignore[no-any-return]
                host=self._login.host,
                port=self._login.port,
                user=self._login.user,
                source="starberg",
                catalog=self._catalog,
                http_scheme="https" if self._login.uses_tls else "http",
                verify=str(self._login.ca) if self._login.ca else True,
                auth=_authentication(self._login),
                request_timeout=_REQUEST_TIMEOUT_S,
                max_attempts=_ATTEMPTS,
                timezone="UTC",
                encoding=None,  # rows in the answers themselves: nothing is fetched from a third place
            )

    def _batches(self, cursor: Cursor, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            while True:
                with _explained(self._login):
                    rows = cursor.fetchmany(_BATCH_ROWS)
                if not rows:
                    return
                yield trino_types.batch(columns, rows)
        finally:
            self._end(cursor)

    def _end(self, cursor: Cursor) -> None:
        """Cancel on the server what is not finished."""
        if cursor in self._open:
            self._open.remove(cursor)
            with _explained(self._login):
                cursor.cancel()  # type: ignore[no-untyped-call]


def _driver() -> Any:
    try:
        import trino.dbapi as dbapi
    except ModuleNotFoundError as error:
        hint = "Install it: uv add 'starberg[trino]'"
        raise UsageError("the driver for Trino is not installed", hint=hint) from error
    return dbapi


def _authentication(login: Login) -> Any:
    """Return how to log in; Trino's client sends neither password nor token without TLS."""
    from trino.auth import BasicAuthentication, JWTAuthentication

    if login.token:
        return JWTAuthentication(login.token.get_secret_value())
    if login.password:
        return BasicAuthentication(login.user, login.password.get_secret_value())
    return None


@contextmanager
def _explained(login: Login) -> Iterator[None]:
    """Turn the client's errors into ours."""
    from trino.exceptions import Error, HttpError

    try:
        yield
    except (Error, HttpError, OSError, ValueError) as error:  # of requests, and of an answer that is no JSON
        raise translated(error, login) from None  # its text may hold what was sent


def translated(error: Exception, login: Login) -> StarbergError:
    """Return our error for one of the client's."""
    from trino.exceptions import HttpError, TrinoAuthError, TrinoQueryError, TrinoUserError

    match error:
        case TrinoUserError():
            return UsageError(f"Trino: {login.cleaned(error.message)}")
        case TrinoQueryError():
            return StarbergError(f"Trino failed ({error.error_name}): {login.cleaned(error.message)}")
        case TrinoAuthError():
            return UsageError(f"{login.address}: a password or token needs TLS", hint="Set TRINO_TLS=true.")
        case HttpError() if any(status in str(error) for status in ("401", "403")):
            hint = "Check TRINO_USER and TRINO_PASSWORD, or TRINO_TOKEN."
            return CredentialsError(f"{login.address} refused: {login.cleaned(str(error))}", hint=hint)
    hint = "Is it up? Check TRINO_TLS, too."
    return Unreachable(f"{login.address} does not answer: {login.cleaned(str(error))}", hint=hint)
