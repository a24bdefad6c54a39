"""Applications write in several sessions while a warehouse is run: in the end it holds what they hold."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from starberg.entrypoints.bootstrap import open_lake
from starberg.samples.demos import mafia_settings, retail_settings
from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.samples.operational.life import mutate
from starberg.samples.operational.seeding import seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import SYSTEMS
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

SETTINGS = {"retail": retail_settings, "mafia": mafia_settings}
PERSON = "where is_current and not is_inferred and {} is not null"
SAME = {
    "retail": [
        ("operations", "customers", "customer_id, email, postal_code, updated_at", "dwh_dim_customers", PERSON),
        ("operations", "products", "product_id, unit_price, is_active, updated_at", "dwh_dim_products", PERSON),
        ("operations", "sales", "sale_id, customer_id, product_id, quantity, amount", "dwh_fact_sales", ""),
    ],
    "mafia": [
        ("user_service", "users", "user_id, username, status, level, updated_at", "dim_users", PERSON),
        ("user_service", "currency_transactions", "transaction_id, user_id, amount", "fact_transactions", ""),
        ("user_service", "access_events", "event_id, user_id, occurred_at", "fact_access_events", ""),
        ("game_service", "player_sessions", "session_id, user_id, won, survived", "fact_player_sessions", ""),
        ("game_service", "game_actions", "action_id, game_id, round", "fact_game_actions", ""),
    ],
}


def plain(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


@pytest.mark.parametrize("warehouse", SYSTEMS)
def test_what_is_written_while_runs_go_on_is_there_in_the_end(tmp_path: Path, warehouse: str) -> None:
    system = SYSTEMS[warehouse]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        for database in system.databases:
            server.create(database)
        seed(system, server.connect, Size(people=200, days=20, seed=7, until=midnight))
        settings = Settings.load(None, {"STARBERG_HOME": str(tmp_path / "home")}, {})
        lake = open_lake(settings, environment=SETTINGS[warehouse](server))
        lake.run(warehouse)
        life = threading.Thread(
            target=mutate, args=(system, server.connect), kwargs={"transactions": 2500, "seed": 11, "sessions": 4}
        )
        life.start()
        meanwhile = 0
        while life.is_alive():
            lake.run(warehouse)
            meanwhile += 1
        lake.run(warehouse)
        assert meanwhile
        for database, table, columns, target, where in SAME[warehouse]:
            with closing(server.connect(database)) as connection, connection.cursor() as cursor:
                cursor.execute("set timezone to 'UTC'")
                cursor.execute(f"select {columns} from {table} order by 1")
                there = [tuple(map(plain, row)) for row in cursor.fetchall()]
            key = columns.split(",")[0]
            sql = f"select {columns} from {target} {where.format(key)} order by 1"
            assert [tuple(row) for row in lake.query(sql, warehouse=warehouse).rows] == there, table
    assert lake.verify(warehouse).equal
