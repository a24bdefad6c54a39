"""Applications write in several sessions while a warehouse is run: in the end it holds what they hold."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from starberg.entrypoints.bootstrap import open_lake
from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.samples.operational.life import mutate
from starberg.samples.operational.seeding import seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import SYSTEMS
from starberg.samples.scenes import learning_settings, mafia_settings, projects_settings, retail_settings
from starberg.utils.settings import Settings

pytestmark = pytest.mark.proof

SETTINGS = {
    "retail": retail_settings,
    "mafia": mafia_settings,
    "learning": learning_settings,
    "projects": projects_settings,
}
LIVE = "where _deleted_at is null"
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
    "learning": [
        ("oltp", "tenants", "tenant_id, plan, is_active, updated_at", "dim_tenant", PERSON),
        ("oltp", "learners", "learner_id, teacher_id, last_name, grade, updated_at", "dim_learner", PERSON),
        ("oltp", "mastery_changes", "change_id, skill_id, mastery, changed_at", "stg_mastery_changes", ""),
        ("oltp", "sessions", "session_id, learner_id, responses, ended_at", "stg_sessions", LIVE),
        ("oltp", "homework_events", "event_id, homework_id, event_type", "stg_homework_events", ""),
    ],
    "projects": [
        ("operations", "issues", "issue_id, status, priority, category, updated_at", "dim_issue", PERSON),
        ("operations", "projects", "project_id, status, budget, ends_on, updated_at", "dim_project", PERSON),
        ("operations", "users", "user_id, hourly_rate, role, is_active, updated_at", "dim_user", PERSON),
        ("operations", "review_cycles", "cycle_id, started_at, reviewed_at, finished_at", "fact_review_cycle", ""),
        ("operations", "issue_reviews", "issue_id, review_id", "brg_issue_review", ""),
        ("operations", "project_members", "project_id, user_id, role, allocation", "brg_project_user", ""),
        ("operations", "expenses", "expense_id, project_id, amount, spent_on", "stg_expenses", LIVE),
    ],
}


def plain(value: Any) -> Any:
    """Return a value as both sides have it: times in UTC without zone, UUIDs as text."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return str(value) if isinstance(value, UUID) else value


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
                cursor.execute(f"select {columns} from {table} order by 1, 2")
                there = [tuple(map(plain, row)) for row in cursor.fetchall()]
            key = columns.split(",")[0]
            sql = f"select {columns} from {target} {where.format(key)} order by 1, 2"
            found = [tuple(map(plain, row)) for row in lake.query(sql, warehouse=warehouse).rows]
            assert found == there, table
    assert lake.verify(warehouse).equal
