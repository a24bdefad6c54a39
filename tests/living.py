"""The sources of all shipped warehouses, running side by side: they are seeded up to a moment, and live on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.samples.operational.life import mutate
from starberg.samples.operational.seeding import seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import system_of
from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_server import RawgServer
from starberg.samples.scenes import learning_settings, mafia_settings, retail_settings
from starberg.utils.clock import Clock

WAREHOUSES = ("games", "learning", "mafia", "projects", "retail")
Change = Callable[[int], None]


@contextmanager
def sources(
    folder: Path, clock: Clock, warehouses: Collection[str] = WAREHOUSES, *, games: int = 200, transactions: int = 15
) -> Iterator[tuple[dict[str, str], Change]]:
    """Run the sources of some warehouses, with a past until now; yield where they are, and what lets them live on.

    A change takes a seed of its own, and is stamped by the clock.
    """
    catalogue = Catalogue(seed=7, games=games)
    with EmbeddedPostgres(folder) as server, RawgServer(catalogue) as rawg:
        systems = {name: system_of(name) for name in warehouses if name != "games"}
        connects = {
            # Two systems call their database `operations`.
            name: lambda database, name=name: server.connect(f"{name}_work" if name == "projects" else database)
            for name in systems
        }
        for name, system in systems.items():
            for database in system.databases:
                server.create(f"{name}_work" if name == "projects" else database)
            seed(system, connects[name], Size(12, 20, 7, clock.now()))

        def change(number: int) -> None:
            for name, system in systems.items():
                mutate(system, connects[name], transactions=transactions, seed=number, clock=clock)
            catalogue.change(3)
            catalogue.add(1)
            catalogue.remove(1)

        variables = {**retail_settings(server), **mafia_settings(server), **learning_settings(server)}
        variables |= {"PROJECTS_DATABASE_URL": server.url("projects_work"), "ETL_INTERVAL_MINUTES": "20"}
        variables |= {"RAWG_URL": rawg.url, "RAWG_API_KEY": "sample-key", "GAMES_REQUESTS_PER_SECOND": "1000"}
        yield variables, change
