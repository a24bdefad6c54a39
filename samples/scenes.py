"""The sample sources of the demos, running: an HTTP server or a PostgreSQL of its own, which can live and change."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starberg.samples.embedded_postgres import EmbeddedPostgres

log = logging.getLogger(__name__)

Variables = Mapping[str, str]
Changes = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Scene:
    """A running source: the variables that point the declarations at it, and how to let it change, telling what did.

    `live` lets it live a day that is past, each of `days`, which it has still to live. `correct` runs SQL in its only
    database.
    """

    variables: Variables
    change: Callable[[], Changes] | None = None
    days: Sequence[date] = ()
    live: Callable[[date], Changes] = field(default=lambda day: ())
    correct: Callable[[str], None] = field(default=lambda sql: None)


@contextmanager
def games(folder: Path) -> Iterator[Scene]:
    """Serve a small catalogue over HTTP, as RAWG does."""
    from starberg.samples.rawg_catalogue import Catalogue
    from starberg.samples.rawg_server import RawgServer

    del folder  # the same catalogue is made each time
    with RawgServer(Catalogue(seed=7, games=5000)) as server:
        yield Scene({"RAWG_URL": server.url, "RAWG_API_KEY": "sample-key", "GAMES_REQUESTS_PER_SECOND": "1000"})


@contextmanager
def databases(
    warehouse: str,
    settings: Callable[[EmbeddedPostgres], Variables],
    folder: Path,
    *,
    people: int,
    days: int,
    transactions: int,
    lived: int = 0,
) -> Iterator[Scene]:
    """Run an operational system on a PostgreSQL of its own, whose databases are kept: it goes on where it stopped.

    Of its past the last days, `lived`, are left to be lived one by one.
    """
    from starberg.samples.embedded_postgres import EmbeddedPostgres
    from starberg.samples.operational.life import as_rows, mutate
    from starberg.samples.operational.seeding import is_seeded, seed
    from starberg.samples.operational.system import Size
    from starberg.samples.operational.systems import system_of

    system = system_of(warehouse)
    with EmbeddedPostgres(folder) as server:
        for database in system.databases:
            server.create(database)
        fresh, today = not is_seeded(system, server.connect), datetime.now(UTC).date()
        if fresh:
            begin = today - timedelta(days=lived)
            written = seed(system, server.connect, Size(people, days, 7, datetime.combine(begin, time(), UTC)))
            log.info("seeded", extra={"rows": sum(table["rows"] for table in written)})
        mix = 7 if fresh else random.randrange(10**6)

        def change() -> Changes:
            done = mutate(system, server.connect, transactions=transactions, seed=mix)
            log.info("changed", extra={"transactions": transactions})
            return as_rows(done)

        def live(day: date) -> Changes:
            return as_rows(mutate(system, server.connect, transactions=transactions, seed=7, day=day))

        def correct(sql: str) -> None:
            [database] = system.databases
            with closing(server.connect(database)) as session, session.cursor() as cursor:
                cursor.execute(sql)
                session.commit()

        left = [today - timedelta(days=back) for back in range(lived, 0, -1)] if fresh else []
        yield Scene(settings(server), change, left, live, correct)


def retail_settings(server: EmbeddedPostgres) -> Variables:
    """Return the variables by which the retail warehouse finds a server's database."""
    return {"RETAIL_DATABASE_URL": server.url("operations")}


def mafia_settings(server: EmbeddedPostgres) -> Variables:
    """Return the variables by which the mafia warehouse finds a server's two databases."""
    from starberg.samples.embedded_postgres import HOST, USER

    where = {"HOST": HOST, "PORT": str(server.port), "USER": USER, "PASSWORD": server.password}
    services = {"USER_SERVICE_DB": "user_service", "GAME_SERVICE_DB": "game_service"}
    return {
        f"{prefix}_{name}": value
        for prefix, database in services.items()
        for name, value in {**where, "NAME": database, "SSLMODE": "prefer"}.items()
    }


def learning_settings(server: EmbeddedPostgres) -> Variables:
    """Return the variables by which the learning warehouse finds a server's database."""
    return {"OLTP_DATABASE_URL": server.url("oltp")}


def projects_settings(server: EmbeddedPostgres) -> Variables:
    """Return the variables by which the projects warehouse finds a server's database."""
    return {"PROJECTS_DATABASE_URL": server.url("operations")}
