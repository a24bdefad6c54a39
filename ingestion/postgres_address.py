"""Where a database is and how its sessions are opened: what the declaration and its settings say."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from starberg.ingestion.postgres_types import SESSION
from starberg.ingestion.streams import Connection, SourceSpec
from starberg.utils.errors import CredentialsError, UsageError

LOCK_WAIT_S = 30
SCANNER_LOCK_WAIT_S = 3
"""The scanner's sessions may stand behind an ALTER that itself waits for our lock: nobody would get on."""
STATEMENT_TIMEOUT_S = 6 * 3600


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
