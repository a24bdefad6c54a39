"""`starberg seed` and `starberg mutate`: sample data and a life of its own for a user's own PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from starberg.ingestion.postgres_address import Address, address, url_address
from starberg.ingestion.postgres_errors import explain
from starberg.ingestion.streams import SourceSpec
from starberg.samples.operational import life, seeding
from starberg.samples.operational.system import Size, System
from starberg.samples.operational.systems import system_of
from starberg.utils.errors import CredentialsError, UsageError

if TYPE_CHECKING:
    import psycopg2.extensions

    from starberg.entrypoints.lake import Lake

_OPTION = "--url"


def seed(
    lake: Lake,
    warehouse: str,
    urls: Sequence[str],
    *,
    people: int | None,
    days: int | None,
    until: date | None,
    seed: int,
    replace: bool,
) -> list[dict[str, Any]]:
    """Fill the databases of a warehouse's sources; return what was written, by table. The past ends at a midnight."""
    system = system_of(warehouse)
    midnight = datetime.combine(until or lake.clock.now().date(), time(), UTC)
    size = Size(people or system.people, days or system.days, seed, midnight)
    with _explained(hint="Nothing was changed."):
        return seeding.seed(system, connector(lake, warehouse, system, urls), size, replace=replace)


def mutate(
    lake: Lake,
    warehouse: str,
    urls: Sequence[str],
    *,
    transactions: int,
    seed: int,
    sessions: int,
    day: date | None = None,
) -> list[dict[str, Any]]:
    """Let the applications behind a warehouse's sources live on, now or on a day; return what they did, by kind."""
    system = system_of(warehouse)
    connect = connector(lake, warehouse, system, urls)
    with _explained(hint="Transactions before it are committed."):
        how = {"transactions": transactions, "seed": seed, "sessions": sessions}
        done = life.mutate(system, connect, **how, clock=lake.clock, day=day)
    return life.as_rows(done)


def connector(lake: Lake, warehouse: str, system: System, urls: Sequence[str]) -> life.Connect:
    """Return what opens a session to each of the system's databases: at its URL, else where the source is declared.

    Raises UsageError for a URL that is none or is for no database, CredentialsError if a setting is not set.
    """
    given = _by_database(urls, list(system.databases))
    sources = lake.warehouse(warehouse).sources
    places = {name: _address(sources.get(name), name, given.get(name, ""), lake.secret_of) for name in system.databases}

    def connect(database: str) -> psycopg2.extensions.connection:
        import psycopg2

        where = places[database]
        with _explained(database):
            return psycopg2.connect(
                host=where.host or None,
                port=where.port or None,
                dbname=where.database,
                user=where.user or None,
                password=where.password or None,
                sslmode=where.sslmode or None,
                sslrootcert=where.sslrootcert or None,
                connect_timeout=15,
                application_name="starberg sample",
                options="-c search_path=public",
            )

    return connect


def _by_database(urls: Sequence[str], databases: Sequence[str]) -> dict[str, str]:
    """Return the URLs by database; without a name it is for the only one.

    >>> _by_database(["a=postgresql://h/d"], ["a", "b"])
    {'a': 'postgresql://h/d'}
    """
    found: dict[str, str] = {}
    for text in urls:
        named = re.fullmatch(r"(?:([a-z][a-z0-9_]*)=)?(.*)", text, re.DOTALL)
        assert named is not None
        database = named[1] or (databases[0] if len(databases) == 1 else "")
        if database not in databases or database in found:
            forms = " ".join(f"{_OPTION} {name}=postgresql://…" for name in databases)
            raise UsageError(f"each {_OPTION} is for one of {', '.join(databases)}", hint=f"Write {forms}")
        found[database] = named[2]
    return found


def _address(spec: SourceSpec | None, name: str, url: str, secret_of: Callable[[str], str | None]) -> Address:
    if url:
        return url_address(_OPTION, url)
    if spec is None or spec.connection is None:
        raise UsageError(f"the warehouse declares no database {name}", hint=f"Say where it is with {_OPTION}.")
    try:
        return address(spec, secret_of)
    except CredentialsError as error:
        raise CredentialsError(error.args[0], hint=f"Set it, or say where the database is with {_OPTION}.") from None


@contextmanager
def _explained(database: str = "", hint: str = "") -> Iterator[None]:
    """Turn the errors of connecting to a database, or of what is done there, into ours."""
    import psycopg2

    try:
        yield
    except psycopg2.Error as error:
        said, code = str(error).strip().split("\n")[0], getattr(error, "pgcode", None) or ""
        known = explain(database, said, code)
        if database:
            hint = "Is the address right, and does PostgreSQL run there?"
        elif code == "42P01":  # undefined table
            hint = "Fill the database with `starberg seed` first."
        raise type(known)(f"{database or 'the database'}: {said}", hint=hint) from error
