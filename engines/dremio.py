"""Dremio: Flight SQL through ADBC, and the only module that imports it.

Written to Arrow's Flight SQL and Dremio's documentation of it (user and password by handshake, a personal access token
as bearer: docs.dremio.com, "Arrow Flight SQL"). Tested against Arrow's own Flight SQL server, never against Dremio.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from starberg.engines.clients import Batches, Login, TableAt
from starberg.utils.errors import CredentialsError, StarbergError, Unreachable, UsageError
from starberg.utils.sql import quote

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection, Cursor
    from sqlglot import Dialect

Result = TypeVar("Result")

_NOISE = re.compile(r"^[A-Z_]+: (?=\S)|\[FlightSQL\] |( \(\w+; [^()]*\))?(\. Vendor code: \d+)?$")
"""What the driver puts around the server's words: names of statuses and calls."""
_GRPC_STATUS = re.compile(r"\((\w+); [^()]*\)")
_NOT_ALLOWED = {"Unauthenticated", "PermissionDenied", "UNAUTHENTICATED", "UNAUTHORIZED"}
_NOT_THERE = {"Unavailable", "DeadlineExceeded", "IO", "TIMEOUT"}
_WRONG = {"InvalidArgument", "NotFound", "Unimplemented", "INVALID_ARGUMENT", "NOT_FOUND", "NOT_IMPLEMENTED"}
_PLANNING_TIMEOUT_S = 300.0
"""For the plan alone; rows may take as long as they take."""


class DremioClient:
    """Dremio's Flight SQL endpoint; it is connected to at the first question."""

    name = "dremio"

    def __init__(self, login: Login, source: str) -> None:
        self._login = login
        self._source = source
        # The driver waits in C, where no signal is heard: it works in a thread, and this one waits for it.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="flight")
        self._open: list[_Answer] = []

    @property
    def dialect(self) -> type[Dialect]:
        """See `QueryClient.dialect`."""
        from starberg.engines.dialects import DremioSql

        return DremioSql

    def table(self, table: TableAt) -> str:
        """See `QueryClient.table`; the source is Nessie's, whose namespaces are folders."""
        snapshot = table.snapshot()
        at = "" if snapshot is None else f" AT SNAPSHOT '{snapshot}'"
        return f"{quote(f'{self._source}.{table.name}')}{at}"

    def query(self, sql: str) -> Batches:
        """See `QueryClient.query`."""
        answer = _Answer(self._connection.cursor())
        self._open.append(answer)
        try:
            with self._explained():
                schema = self._wait(lambda: answer.ask(sql), answer.cancel)
        except BaseException:
            self._end(answer)
            raise
        return Batches(schema, self._batches(answer))

    def close(self) -> None:
        """See `QueryClient.close`."""
        for answer in list(self._open):
            self._end(answer)
        if connection := vars(self).pop("_connection", None):
            self._worker.submit(connection.close).result()
        self._worker.shutdown()

    @cached_property
    def _connection(self) -> Connection:
        self._login.check_there()
        dbapi, options = _driver(), _options(self._login)
        scheme = "grpc+tls" if self._login.uses_tls else "grpc"
        with self._explained():
            connection: Connection = self._wait(
                lambda: dbapi.connect(f"{scheme}://{self._login.netloc}", db_kwargs=options, autocommit=True),
                lambda: None,
            )
        return connection

    def _batches(self, answer: _Answer) -> Iterator[pa.RecordBatch]:
        try:
            while True:
                with self._explained():
                    batch = self._wait(answer.next, answer.cancel)
                if batch is None:
                    return
                yield batch
        finally:
            self._end(answer)

    def _end(self, answer: _Answer) -> None:
        """Cancel what is under way, if anything is, and close."""
        if answer in self._open:
            self._open.remove(answer)
            answer.cancel()
            self._worker.submit(answer.close).result()

    def _wait(self, work: Callable[[], Result], cancel: Callable[[], None]) -> Result:
        future = self._worker.submit(work)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                cancel()
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the driver's errors into ours; those of rows under way are Arrow's."""
        import pyarrow as pa
        from adbc_driver_manager import Error

        try:
            yield
        except (Error, OSError, pa.ArrowException) as error:
            raise translated(error, self._login) from None  # its text may hold what was sent


class _Answer:
    """One question under way; all but `cancel` is for the worker's thread alone."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._reader: pa.RecordBatchReader | None = None
        self.cancel = cursor.adbc_cancel

    def ask(self, sql: str) -> pa.Schema:
        """Ask, and return the columns. Nothing is prepared on the server: it would have to be told to forget it."""
        import pyarrow as pa

        statement = self._cursor.adbc_statement
        statement.set_sql_query(sql)
        stream, _ = statement.execute_query()
        self._reader = pa.RecordBatchReader.from_stream(stream)
        return self._reader.schema

    def next(self) -> pa.RecordBatch | None:
        """Return the next rows, None after the last."""
        assert self._reader is not None
        return next(iter(self._reader), None)

    def close(self) -> None:
        """Let go of rows and statement."""
        if self._reader is not None:
            self._reader.close()
        self._cursor.close()


def _driver() -> Any:
    try:
        import adbc_driver_flightsql.dbapi as dbapi
    except ModuleNotFoundError as error:
        hint = "Install it: uv add 'starberg[dremio]'"
        raise UsageError("the driver for Dremio is not installed", hint=hint) from error
    return dbapi


def _options(login: Login) -> dict[str, str]:
    """Return the driver's options; the login is one of them, so that no address ever holds it."""
    from adbc_driver_flightsql import DatabaseOptions as Option

    options = {
        Option.WITH_COOKIE_MIDDLEWARE.value: "true",  # Dremio keeps a session by its cookie
        Option.TIMEOUT_QUERY.value: str(_PLANNING_TIMEOUT_S),
    }
    if login.token:
        options[Option.AUTHORIZATION_HEADER.value] = f"Bearer {login.token.get_secret_value()}"
    elif login.password:
        options |= {"username": login.user, "password": login.password.get_secret_value()}
    if login.uses_tls and (certificates := login.certificates()):
        options[Option.TLS_ROOT_CERTS.value] = certificates
    return options


def translated(error: Exception, login: Login) -> StarbergError:
    """Return our error for one of the driver's: by gRPC's status if its text has one, else by ADBC's."""
    text = login.cleaned(str(error))
    said, found = _NOISE.sub("", text), _GRPC_STATUS.findall(text)
    status = found[-1] if found else getattr(getattr(error, "status_code", None), "name", "")
    if status in _NOT_ALLOWED:
        hint = "Check DREMIO_USER and DREMIO_PASSWORD, or DREMIO_TOKEN."
        return CredentialsError(f"{login.address} refused: {said}", hint=hint)
    if status in _NOT_THERE:
        return Unreachable(f"{login.address} does not answer: {said}", hint="Is it up? Check DREMIO_TLS, too.")
    return UsageError(f"Dremio: {said}") if status in _WRONG else StarbergError(f"Dremio failed: {said}")
