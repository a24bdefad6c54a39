"""What a query client is: another engine (Dremio, Trino, Spark) that answers SQL over the published tables.

Unlike an `Engine` it builds nothing for starberg: it reads the same tables, for people.
Rows come as Arrow record batches, one after the other; memory holds a few of them, however many there are.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from starberg.utils.errors import Unreachable, UsageError
from starberg.utils.secrets import MASK

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import Dialect

CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Batches:
    """An answer: its columns, and its rows as they come. Closing the iterator cancels what still runs on the server."""

    schema: pa.Schema
    rows: Iterator[pa.RecordBatch] = field(repr=False)

    def reader(self) -> pa.RecordBatchReader:
        """Return the same as Arrow's own reader."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self.rows)


@dataclass(frozen=True)
class TableAt:
    """A table of a state, as engines find it: under its name on main, among its snapshots, or by its metadata file.

    `snapshot` tells which of its snapshots it is, none if it is main's last; UsageError if main's table has it not.
    """

    name: str
    location: str = ""
    snapshot: Callable[[], int | None] = lambda: None


class QueryClient(Protocol):
    """One engine, asked one question after the other."""

    @property
    def name(self) -> str:
        """The engine's name, as people say it."""

    @property
    def dialect(self) -> str | type[Dialect]:
        """The SQL it is asked in, as sqlglot knows it."""

    def table(self, table: TableAt) -> str:
        """Return SQL for a table as a state has it."""

    def query(self, sql: str) -> Batches:
        """Ask one question in the client's `dialect`.

        An interruption (Ctrl-C, SIGTERM) while it runs or while its rows are read cancels it on the server. Raises
        UsageError for SQL that the server refuses, CredentialsError, Unreachable, StarbergError for its own failures.
        """

    def close(self) -> None:
        """Cancel what still runs, and leave."""


@dataclass(frozen=True)
class Login:
    """Who asks, and where: a user with a password, or a token. `tls` None: unless the server is on this machine."""

    what: str
    host: str
    port: int
    user: str = ""
    password: SecretStr | None = None
    token: SecretStr | None = None
    tls: bool | None = None
    ca: Path | None = None

    @property
    def address(self) -> str:
        """The server, as messages name it."""
        return f"{self.what} at {self.host}:{self.port}"

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted and the server proves itself by its certificate."""
        return not is_this_machine(self.host) if self.tls is None else self.tls

    @property
    def netloc(self) -> str:
        """Host and port as an address has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def certificates(self) -> str:
        """Return the authorities of the server's certificate as PEM text; nothing for those of the system."""
        if self.ca is None:
            return ""
        try:
            return self.ca.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no PEM file"
            raise UsageError(f"cannot read {self.ca}: {reason}", hint=f"Set {self.what.upper()}_CA.") from error

    def check_there(self) -> None:
        """Raise Unreachable if nobody listens: drivers try again in silence, some for minutes."""
        try:
            with closing(socket.create_connection((self.host, self.port), timeout=CONNECT_TIMEOUT_S)):
                return
        except OSError as error:
            reason = "it did not answer" if isinstance(error, TimeoutError) else (error.strerror or str(error))
            hint = f"Is it running there? Check {self.what.upper()}_HOST and _PORT."
            raise Unreachable(f"{self.address} does not answer: {reason}", hint=hint) from error

    def cleaned(self, text: str) -> str:
        """Return a server's or driver's text without our secrets."""
        for secret in (self.password, self.token):
            if secret and secret.get_secret_value():
                text = text.replace(secret.get_secret_value(), MASK)
        return text


def is_this_machine(host: str) -> bool:
    """Tell whether a host is this machine, so that nobody else reads what is sent there.

    >>> is_this_machine("localhost"), is_this_machine("127.0.0.1"), is_this_machine("dremio")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
