"""What `starberg demo` can show: for each warehouse a sample source, and the questions its tables answer."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starberg.samples.embedded_postgres import EmbeddedPostgres

log = logging.getLogger(__name__)

Variables = Mapping[str, str]


@dataclass(frozen=True)
class Scene:
    """A running source: the variables that point the declarations at it, and how to let it change, telling what did."""

    variables: Variables
    change: Callable[[], Sequence[Mapping[str, Any]]] | None = None


@dataclass(frozen=True)
class Demo:
    """One demo: `source` runs the sample source, whose data it may keep in a folder; `next` are commands to go on with.

    Each question is one `query` of the warehouse, of which the last statement's rows are the answer.
    """

    source: Callable[[Path], AbstractContextManager[Scene]]
    questions: Mapping[str, str]
    next: Sequence[str]


@contextmanager
def _games(folder: Path) -> Iterator[Scene]:
    from starberg.samples.rawg_catalogue import Catalogue
    from starberg.samples.rawg_server import RawgServer

    del folder  # the same catalogue is made each time
    with RawgServer(Catalogue(seed=7, games=5000)) as server:
        yield Scene({"RAWG_URL": server.url, "RAWG_API_KEY": "sample-key", "GAMES_REQUESTS_PER_SECOND": "1000"})


@contextmanager
def _databases(
    warehouse: str,
    settings: Callable[[EmbeddedPostgres], Variables],
    folder: Path,
    *,
    people: int,
    days: int,
    transactions: int,
) -> Iterator[Scene]:
    """Run an operational system on a PostgreSQL of its own, whose databases are kept: it goes on where it stopped."""
    from starberg.samples.embedded_postgres import EmbeddedPostgres
    from starberg.samples.operational.life import as_rows, mutate
    from starberg.samples.operational.seeding import is_seeded, seed
    from starberg.samples.operational.system import Size
    from starberg.samples.operational.systems import system_of

    system = system_of(warehouse)
    with EmbeddedPostgres(folder) as server:
        for database in system.databases:
            server.create(database)
        fresh = not is_seeded(system, server.connect)
        if fresh:
            midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            written = seed(system, server.connect, Size(people, days, 7, midnight))
            log.info("seeded", extra={"rows": sum(table["rows"] for table in written)})
        mix = 7 if fresh else random.randrange(10**6)

        def change() -> Sequence[Mapping[str, Any]]:
            done = mutate(system, server.connect, transactions=transactions, seed=mix)
            log.info("changed", extra={"transactions": transactions})
            return as_rows(done)

        yield Scene(settings(server), change)


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


DEMOS: Mapping[str, Demo] = {
    "games": Demo(
        _games,
        {
            "Which genres had the most games in 2025?": (
                "SELECT genre, release_year, games, round(average_rating, 2) AS average_rating "
                "FROM mart_games_by_genre_year WHERE release_year = 2025 ORDER BY games DESC, genre LIMIT 5"
            ),
            "On which platforms did the games of 2024 appear?": (
                "SELECT platform, games, round(share, 3) AS share FROM mart_platform_share_by_year "
                "WHERE release_year = 2024 ORDER BY games DESC, platform LIMIT 5"
            ),
            "Which games do players rate highest?": (
                "SELECT place, name, released_on, rating, ratings_count FROM mart_top_rated ORDER BY place LIMIT 5"
            ),
        },
        ['query "select * from games.mart_top_rated limit 10"', "explain games.fact_games 1", "status games"],
    ),
    "retail": Demo(
        partial(_databases, "retail", retail_settings, people=2000, days=90, transactions=400),
        {
            "How did the customer with the most versions change?": (
                "SELECT customer_id, full_name, street, city, country, segment, effective_from, effective_to, "
                "is_current FROM dwh_dim_customers WHERE customer_id = (SELECT customer_id FROM dwh_dim_customers "
                "GROUP BY customer_id ORDER BY count(*) DESC, customer_id LIMIT 1) ORDER BY effective_from"
            ),
            "What was sold in the last week, by day and product group?": (
                "CALL sp_aggregate_sales_report(current_date - 7, current_date); SELECT * FROM temp_sales_report"
            ),
            "Which customers bring the most?": "SELECT * FROM fn_top_customers(5)",
            "What does a customer bring?": (
                "CALL sp_refresh_customer_metrics(); SELECT * FROM customer_metrics WHERE orders > 0 "
                "ORDER BY customer_id LIMIT 5"
            ),
            "How many of a product does a customer take?": "SELECT fn_avg_quantity_per_customer(1) AS average_quantity",
            "What sells fastest, in units per day?": (
                "SELECT product_id, product_name, fn_product_sales_velocity(product_id, 30) AS units_per_day "
                "FROM dwh_dim_products WHERE is_current AND product_key > 0 ORDER BY units_per_day DESC LIMIT 5"
            ),
            "How did the product group Kitchen do this month?": (
                "SELECT g.* FROM (SELECT fn_product_group_performance('Kitchen', current_date - 30, current_date) AS g)"
            ),
            "Does every layer have every row?": "SELECT * FROM vw_row_counts_by_layer ORDER BY table_name, layer",
            "What did the last runs do?": "SELECT * FROM vw_recent_etl_runs",
            "What does each process log?": "SELECT * FROM etl_logs",
            "How long do the processes take?": "SELECT * FROM vw_etl_performance_summary",
        },
        [
            'query --warehouse retail "select * from customer_metrics limit 10"',
            "explain retail.dwh_fact_sales 1",
            "status retail",
        ],
    ),
    "mafia": Demo(
        partial(_databases, "mafia", mafia_settings, people=500, days=45, transactions=400),
        {
            "How did the user with the most versions change?": (
                "SELECT user_id, username, status, level, effective_from, effective_to, is_current FROM dim_users "
                "WHERE user_id = (SELECT user_id FROM dim_users GROUP BY user_id ORDER BY count(*) DESC, user_id "
                "LIMIT 1) ORDER BY effective_from"
            ),
            "Who wins?": """\
SELECT r.role_name, r.side, COUNT(*) AS games_played, SUM(s.won::int) AS wins
FROM fact_player_sessions s
JOIN dim_roles r ON r.role_key = s.role_key
JOIN fact_games g ON g.game_id = s.game_id
GROUP BY r.role_name, r.side
ORDER BY wins DESC, r.role_name""",
            "What do users do? (each payment counts once per game: see the next one)": """\
SELECT u.username, COUNT(DISTINCT s.lobby_key) AS lobbies_joined, SUM(t.amount) AS total_transactions
FROM dim_users u
JOIN fact_player_sessions s ON s.user_key = u.user_key
JOIN fact_transactions t ON t.user_key = u.user_key
GROUP BY u.username
ORDER BY u.username""",
            "What do users do? (each payment counts once)": (
                "SELECT username, lobbies_joined, total_transactions FROM mart_user_activity ORDER BY username"
            ),
            "What did the last runs do?": "SELECT * FROM etl_run_log ORDER BY run_start_time DESC",
        },
        [
            'query --warehouse mafia "select * from mart_user_activity order by games_played desc limit 10"',
            "explain mafia.fact_games 1",
            "status mafia",
        ],
    ),
}
