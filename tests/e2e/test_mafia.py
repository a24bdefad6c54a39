"""The mafia warehouse over two real databases: small data, and numbers worked out by hand.

Four games, of which two were completed; ann is renamed annie between them. User 9 is known to the games only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from database import Database, DatabaseServer
from operations import Operations

import starberg

pytestmark = pytest.mark.proof

USERS = (
    """insert into users (user_id, username, email, country, status, level, created_at, updated_at) values
    (1, 'ann', 'Ann@Example.org', ' de', 'active', 1, '2026-01-01Z', '2026-01-01Z'),
    (2, 'bob', 'bob@example.org', 'GB', 'active', 7, '2026-01-02Z', '2026-01-02Z'),
    (3, 'cat', 'cat@example.org', 'fr', 'inactive', 1, '2026-01-03Z', '2026-01-03Z')""",
    """insert into currency_transactions (transaction_id, user_id, transaction_type, amount, created_at) values
    (1, 1, 'purchase', 10.00, '2026-01-05Z'), (2, 1, 'spend', 2.50, '2026-01-06Z'),
    (3, 2, 'refund', 4.00, '2026-01-07Z')""",
    """insert into access_events (event_id, user_id, event_type, ip_address, device, occurred_at) values
    (1, 1, 'login', '192.0.2.7', 'phone', '2026-01-10 19:00Z'),
    (2, 1, 'logout', '2001:db8::1', ' ', '2026-01-11 01:00Z')""",
)
RENAMED = (
    "update users set username = 'annie', level = 2, updated_at = '2026-01-11Z' where user_id = 1",
    "insert into currency_transactions values (4, 1, 'reward', 1.00, '2026-01-12 21:00Z')",
)
GAMES = (
    """insert into lobbies (lobby_id, lobby_name, max_players, created_at, updated_at) values
    (1, 'Night owls', 10, '2026-01-01Z', '2026-01-01Z'), (2, 'Casual', 8, '2026-01-01Z', '2026-01-01Z')""",
    """insert into roles (role_id, role_name, side, description) values (1, 'Mafia', 'mafia', 'kills'),
    (2, 'Citizen', 'town', 'votes'), (3, 'Doctor', 'town', 'heals'), (4, 'Detective', 'town', 'checks')""",
    """insert into games (game_id, lobby_id, status, winner_side, started_at, ended_at, updated_at) values
    (1, 1, 'completed', 'town', '2026-01-10 20:00Z', '2026-01-10 20:20Z', '2026-01-10 20:20Z'),
    (2, 2, 'completed', 'mafia', '2026-01-12 20:00Z', '2026-01-12 20:10:30Z', '2026-01-12 20:10:30Z'),
    (3, 1, 'running', null, '2026-01-12 22:00Z', null, '2026-01-12 22:00Z'),
    (4, 2, 'abandoned', null, '2026-01-12 23:00Z', '2026-01-12 23:01Z', '2026-01-12 23:01Z')""",
    """insert into player_sessions
    (session_id, game_id, user_id, role_id, joined_at, left_at, survived, won, updated_at)
    select id, game, player, role, at, null, won, won, at from (values
        (1, 1, 1, 2, timestamptz '2026-01-10 19:58Z', true), (2, 1, 2, 1, '2026-01-10 19:58Z', false),
        (3, 1, 9, 3, '2026-01-10 19:59Z', true), (4, 2, 1, 1, '2026-01-12 19:58Z', true),
        (5, 2, 2, 3, '2026-01-12 19:58Z', false), (6, 3, 1, 2, '2026-01-12 21:59Z', null),
        (7, 4, 2, 2, '2026-01-12 22:59Z', null)
    ) as v (id, game, player, role, at, won)""",
    """insert into game_actions
    (action_id, game_id, phase, round, action_type, actor_user_id, target_user_id, occurred_at) values
    (1, 1, 'night', 1, 'kill', 2, 9, '2026-01-10 20:05Z'), (2, 1, 'day', 1, 'vote', 1, 2, '2026-01-10 20:10Z'),
    (3, 2, 'night', 1, 'heal', 2, 1, '2026-01-12 20:05Z')""",
)


@pytest.fixture(scope="module")
def sources(postgres_server: DatabaseServer) -> Iterator[tuple[Database, Database]]:
    found = postgres_server.database(), postgres_server.database()
    yield found
    for database in found:
        postgres_server.drop(database)


@pytest.fixture(scope="module")
def platform(sources: tuple[Database, Database], tmp_path_factory: pytest.TempPathFactory) -> Operations:
    """After a run of the users alone, one of both, and a full one."""
    users, games = sources
    platform = Operations.mafia(tmp_path_factory.mktemp("mafia"), users, games)
    users.run(*USERS)
    alone = platform.type("--json", "run", "mafia", "--source", "user_service", GAME_SERVICE_DB_HOST="192.0.2.1")
    assert alone.code == 0, alone.err
    assert platform.rows("select count(*) from fact_transactions") == [(3,)]
    assert platform.rows("select count(*) from fact_games") == [(0,)]
    users.run(*RENAMED)
    games.run(*GAMES)
    assert platform.run().status == "SUCCESS"
    return platform


def example(number: int) -> str:
    readme = Path(starberg.__file__).parent / "warehouses" / "mafia" / "README.md"
    return re.findall(r"```sql\n(.*?)```", readme.read_text(), re.DOTALL)[number]


def test_wins_by_role_and_side_count_completed_games(platform: Operations) -> None:
    answer = platform.asked(example(0), "--warehouse", "mafia")
    assert [tuple(row.values()) for row in answer] == [
        ("Citizen", "town", 1, 1),
        ("Doctor", "town", 2, 1),
        ("Mafia", "mafia", 2, 1),
    ]


def test_user_activity_by_joins_is_multiplied_and_split_by_versions(platform: Operations) -> None:
    answer = platform.asked(example(1), "--warehouse", "mafia")
    assert [tuple(row.values()) for row in answer] == [
        ("ann", 1, "12.50"),  # one game, 10.00 and 2.50
        ("annie", 2, "2.00"),  # two games, 1.00 each time
        ("bob", 2, "12.00"),  # three games, 4.00 each time
    ]


def test_the_mart_has_every_user_and_the_sums_of_the_source(
    platform: Operations, sources: tuple[Database, Database]
) -> None:
    answer = platform.asked(example(2), "--warehouse", "mafia")
    assert [tuple(row.values()) for row in answer] == [
        ("annie", 2, "13.50"),
        ("bob", 2, "4.00"),
        ("cat", 0, "0.00"),
        (None, 1, "0.00"),  # user 9
    ]
    by_user = "select user_id, {} from {} group by 1 having sum(amount) <> 0 order by 1"
    at_source = sources[0].rows(by_user.format("sum(amount)", "currency_transactions"))
    paid = "select user_id, total_transactions from mart_user_activity where total_transactions <> 0 order by 1"
    assert platform.rows(paid) == at_source == [(1, Decimal("13.50")), (2, Decimal("4.00"))]
    assert platform.rows("select user_id, balance from mart_user_activity where user_id < 3 order by 1") == [
        (1, Decimal("8.50")),
        (2, Decimal("-4.00")),
    ]


def test_games_have_players_and_a_duration(platform: Operations) -> None:
    asked = "game_id, lobby_name, winner_side, players, duration_seconds, time_key"
    assert platform.rows(f"select {asked} from fact_games join dim_lobbies using (lobby_key) order by 1") == [
        (1, "Night owls", "town", 3, 1200, 20260110),
        (2, "Casual", "mafia", 2, 630, 20260112),
    ]


def test_sessions_and_actions_carry_the_users_of_their_time(platform: Operations) -> None:
    sessions = "select session_id, username, level from fact_player_sessions join dim_users using (user_key)"
    assert platform.rows(f"{sessions} where fact_player_sessions.user_id = 1 order by 1") == [
        (1, "ann", 1),
        (4, "annie", 2),
        (6, "annie", 2),
    ]
    assert platform.rows(
        "select action_id, phase, round, action_type, a.username, t.username, t.user_id from fact_game_actions "
        "join dim_users a on a.user_key = actor_key join dim_users t on t.user_key = target_key order by 1"
    ) == [
        (1, "night", 1, "kill", "bob", None, 9),
        (2, "day", 1, "vote", "ann", "bob", 2),
        (3, "night", 1, "heal", "bob", "annie", 1),
    ]


def test_transactions_are_signed(platform: Operations) -> None:
    asked = "transaction_id, transaction_type, amount, signed_amount, balance_effect, username"
    assert platform.rows(f"select {asked} from fact_transactions join dim_users using (user_key) order by 1") == [
        (1, "purchase", Decimal("10.00"), Decimal("10.00"), "credit", "ann"),
        (2, "spend", Decimal("2.50"), Decimal("-2.50"), "debit", "ann"),
        (3, "refund", Decimal("4.00"), Decimal("-4.00"), "debit", "bob"),
        (4, "reward", Decimal("1.00"), Decimal("1.00"), "credit", "annie"),
    ]


def test_access_events_keep_address_and_device(platform: Operations) -> None:
    assert platform.rows("select event_type, ip_address, device, occurred_at from fact_access_events order by 4") == [
        ("login", "192.0.2.7", "phone", datetime(2026, 1, 10, 19)),
        ("logout", "2001:db8::1", None, datetime(2026, 1, 11, 1)),
    ]


def test_the_run_log_tells_what_each_source_table_gave(platform: Operations) -> None:
    logged = platform.rows(
        "select source_system, table_name, status, records_extracted, records_loaded from etl_run_log "
        "where records_extracted > 0 order by run_start_time, table_name"
    )
    assert sorted(logged[:3]) == [
        ("user_service", "access_events", "SUCCESS", 2, 2),
        ("user_service", "currency_transactions", "SUCCESS", 3, 3),
        ("user_service", "users", "SUCCESS", 3, 3),
    ]
    assert sorted(logged[3:]) == [
        ("game_service", "game_actions", "SUCCESS", 3, 3),
        ("game_service", "games", "SUCCESS", 4, 4),
        ("game_service", "lobbies", "SUCCESS", 2, 2),
        ("game_service", "player_sessions", "SUCCESS", 7, 7),
        ("game_service", "roles", "SUCCESS", 4, 4),
        ("user_service", "currency_transactions", "SUCCESS", 1, 1),
        ("user_service", "users", "SUCCESS", 1, 1),
    ]
    assert platform.rows("select count(*) from etl_run_log where run_end_time < run_start_time") == [(0,)]


def test_games_alone_infer_their_users_and_a_full_run_corrects_them_in_place(
    platform: Operations, sources: tuple[Database, Database], tmp_path: Path
) -> None:
    other = Operations("mafia", tmp_path, platform.variables)
    other.run(source="game_service")
    inferred = "select user_id, user_key from dim_users where is_inferred order by 1"
    [one, two, nine] = other.rows(inferred)
    assert [key for key, _ in (one, two, nine)] == [1, 2, 9]
    full = other.type("--json", "run", "mafia", "--full")
    assert full.code == 0, full.err
    assert other.rows(inferred) == [nine]
    first = "select user_id, user_key, username from dim_users where user_key <> 0 and not is_inferred"
    assert other.rows(f"{first} order by 1, effective_from limit 1") == [(*one, "annie")]
    assert other.rows("select total_transactions from mart_user_activity where user_id = 1") == [(Decimal("13.50"),)]
    assert '"status": "SKIPPED"' in other.type("--json", "run", "mafia", "--full").out
    assert other.lake().verify("mafia").equal
