"""What happens on the game platform all day: users come and go, rise and pay, games start, are played, and end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from starberg.samples.operational import mafia
from starberg.samples.operational.life import Kind
from starberg.samples.operational.mafia import ROLE_IDS
from starberg.samples.operational.mafia_rules import FEWEST_PLAYERS, SIDES, Action, Match, deal, replay
from starberg.samples.operational.system import System
from starberg.samples.operational.work import KEEP, REMOVE, Row, Work

_USERS, _GAMES = "user_service", "game_service"
_ROLES = {number: name for name, number in ROLE_IDS.items()}
_NEVER_PAID = "NOT EXISTS (SELECT FROM currency_transactions c WHERE c.user_id = t.user_id)"
_NEVER_USED = "NOT EXISTS (SELECT FROM games g WHERE g.lobby_id = t.lobby_id)"
_RUNNING = "status = 'running'"
_ADDS = ("purchase", "reward")


def _sign_up(work: Work) -> bool:
    user = work.next_key("users")
    _insert_user(work, user, mafia.profile(user, work.rng))
    work.insert("access_events", user_id=user, event_type="login", **_from(work, user))
    return True


def _insert_user(work: Work, user: int, chosen: Row) -> None:
    at = work.now()
    first = {"user_id": user, "status": "active", "level": 1, "created_at": at, "updated_at": at}
    work.insert("users", **{**chosen, **first})


def _from(work: Work, user: int) -> dict[str, Any]:
    return {**mafia.device(user, work.rng), "occurred_at": work.now()}


def _visit(work: Work) -> bool:
    """Log a user in, or out again if they last logged in."""
    user = work.pick("users", KEEP, where="status = 'active'")
    if user is None:
        return False
    key = user["user_id"]
    last = work.rows("SELECT event_type FROM access_events WHERE user_id = %s ORDER BY event_id DESC LIMIT 1", [key])
    event = "logout" if last and last[0]["event_type"] == "login" else "login"
    work.insert("access_events", user_id=key, event_type=event, **_from(work, key))
    return True


def _rise(work: Work) -> bool:
    user = work.pick("users", where="status = 'active'")
    if user is None:
        return False
    work.change("users", user, level=user["level"] + 1)
    return True


def _rise_twice(work: Work) -> bool:
    """Change one user several times in one transaction, level by level."""
    user = work.pick("users", where="status = 'active'")
    if user is None:
        return False
    for step in range(1, work.rng.randint(2, 4)):
        work.change("users", user, level=user["level"] + step)
    return True


def _judge(work: Work) -> bool:
    """Change a user's status."""
    user = work.pick("users")
    if user is None:
        return False
    weights = {status: share for status, share in mafia.STATUSES.items() if status != user["status"]}
    work.change("users", user, status=work.rng.choices(list(weights), list(weights.values()))[0])
    return True


def _rename(work: Work) -> bool:
    user = work.pick("users", REMOVE)  # a user name is unique: to change it takes the lock that to delete it takes
    if user is None:
        return False
    chosen = mafia.profile(user["user_id"], work.rng)
    work.change("users", user, **{name: chosen[name] for name in work.rng.choice((["username"], ["email", "country"]))})
    return True


def _pay(work: Work) -> bool:
    """Purchase, reward, spend or refund: what takes from a balance takes no more than there is."""
    user = work.pick("users", where="status = 'active'")  # held for change: its balance is ours until we commit
    if user is None:
        return False
    kind = work.rng.choice(("purchase", "purchase", "reward", "reward", "spend", "spend", "refund"))
    amount = work.rng.choice({"spend": mafia.GOODS, "reward": mafia.REWARDS}.get(kind, mafia.PACKS))
    if kind not in _ADDS and _balance(work, user["user_id"]) < amount:
        return False
    work.insert(
        "currency_transactions",
        user_id=user["user_id"],
        transaction_type=kind,
        amount=amount,
        created_at=work.now(),
    )
    return True


def _balance(work: Work, user: int) -> Decimal:
    [found] = work.rows(
        "SELECT coalesce(sum(CASE WHEN transaction_type IN ('purchase', 'reward') THEN amount ELSE -amount END), 0) "
        "AS balance FROM currency_transactions WHERE user_id = %s",
        [user],
    )
    return Decimal(found["balance"])


def _undo(work: Work) -> bool:
    """Delete a payment that was made by mistake."""
    found = work.pick("currency_transactions", REMOVE, where="transaction_type IN ('spend', 'refund')", newest=500)
    if found is None:
        return False
    work.remove("currency_transactions", found)
    return True


def _forget(work: Work) -> bool:
    """Delete a user who asks for it, and their visits; one who paid or played is in the books and stays."""
    user = work.pick("users", REMOVE, where=_NEVER_PAID)
    if user is None or _played(work, user):
        return False
    work.remove_all("access_events", "user_id", user["user_id"])
    work.remove("users", user)
    work.memory.forgotten.append(user)
    return True


def _played(work: Work, user: Row) -> bool:
    return bool(work.peek(_GAMES, "SELECT 1 FROM player_sessions WHERE user_id = %s LIMIT 1", [user["user_id"]]))


def _come_back(work: Work) -> bool:
    """Add a user again, by the number they had before they asked to be forgotten."""
    if not work.memory.forgotten:
        return False
    user = work.memory.forgotten.pop(0)
    _insert_user(work, user["user_id"], user)
    return True


def _start(work: Work) -> bool:
    """Start a game among users who are in no other."""
    lobby = work.pick("lobbies", KEEP)
    if lobby is None:
        return False
    free = _free_users(work, work.rng.randint(FEWEST_PLAYERS, lobby["max_players"]))
    if len(free) < FEWEST_PLAYERS:
        return False
    at = work.now()
    game = work.insert("games", lobby_id=lobby["lobby_id"], status="running", started_at=at, updated_at=at)
    for user, role in deal(free, work.rng).items():
        _sit_down(work, game, user, role, at)
    return True


def _sit_down(work: Work, game: int, user: int, role: str, at: datetime) -> None:
    work.insert("player_sessions", game_id=game, user_id=user, role_id=ROLE_IDS[role], joined_at=at, updated_at=at)


def _free_users(work: Work, number: int) -> list[int]:
    busy = {
        row["user_id"]
        for row in work.rows(f"SELECT user_id FROM player_sessions JOIN games USING (game_id) WHERE {_RUNNING}")
    }
    active = work.peek(_USERS, "SELECT user_id FROM users WHERE status = 'active' ORDER BY user_id", ())
    free = [row["user_id"] for row in active if row["user_id"] not in busy]
    return sorted(work.rng.sample(free, min(number, len(free))))


def _join(work: Work) -> bool:
    """Let one more user into a game that has just begun."""
    game = _running(work)
    if game is None or _actions(work, game):
        return False
    lobby = work.rows("SELECT max_players FROM lobbies WHERE lobby_id = %s", [game["lobby_id"]])[0]
    user = _free_users(work, 1)
    if not user or len(_sessions(work, game)) >= lobby["max_players"]:
        return False
    _sit_down(work, game["game_id"], user[0], "Citizen", work.now())
    return True


def _leave(work: Work) -> bool:
    game = _running(work)
    sessions = [session for session in _sessions(work, game) if session["left_at"] is None] if game else []
    if len(sessions) < FEWEST_PLAYERS:
        return False
    work.change("player_sessions", work.rng.choice(sessions), left_at=work.now())
    return True


def _phase(work: Work) -> bool:
    """Play one phase of a game; one that is decided waits for its end."""
    game = _running(work)
    match = _match(work, game) if game else None
    if game is None or match is None or match.winner:
        return False
    _write(work, game, match.play(work.rng))
    return True


def _complete(work: Work) -> bool:
    """Play a game to its end."""
    game = _running(work)
    match = _match(work, game) if game else None
    if game is None or match is None:
        return False
    while not match.winner:
        _write(work, game, match.play(work.rng))
    _end(work, game, "completed", match)
    return True


def _abandon(work: Work) -> bool:
    game = _running(work)
    if game is None:
        return False
    _end(work, game, "abandoned", None)
    return True


def _end(work: Work, game: Row, status: str, match: Match | None) -> None:
    at = work.now()
    for session in _sessions(work, game):
        survived = session["user_id"] in match.alive if match else None
        won = SIDES[_ROLES[session["role_id"]]] == match.winner if match else None
        left = session["left_at"] or at
        work.change("player_sessions", session, left_at=left, survived=survived, won=won)
    work.change("games", game, status=status, winner_side=match.winner if match else None, ended_at=at)


def _running(work: Work) -> Row | None:
    """Pick a running game, which is ours until we commit."""
    found = work.rows(
        f"SELECT * FROM games WHERE {_RUNNING} ORDER BY game_id OFFSET %s LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED",
        [work.rng.randrange(3)],
    )
    return found[0] if found else None


def _sessions(work: Work, game: Mapping[str, Any]) -> list[Row]:
    return work.rows("SELECT * FROM player_sessions WHERE game_id = %s ORDER BY session_id", [game["game_id"]])


def _actions(work: Work, game: Mapping[str, Any]) -> list[Action]:
    rows = work.rows("SELECT * FROM game_actions WHERE game_id = %s ORDER BY action_id", [game["game_id"]])
    return [
        Action(row["phase"], row["round"], row["action_type"], row["actor_user_id"], row["target_user_id"])
        for row in rows
    ]


def _match(work: Work, game: Row) -> Match:
    sessions = _sessions(work, game)
    roles = {session["user_id"]: _ROLES[session["role_id"]] for session in sessions}
    left = [session["user_id"] for session in sessions if session["left_at"] is not None]
    return replay(roles, _actions(work, game), left)


def _write(work: Work, game: Row, actions: list[Action]) -> None:
    for action in actions:
        work.insert(
            "game_actions",
            game_id=game["game_id"],
            phase=action.phase,
            round=action.round,
            action_type=action.kind,
            actor_user_id=action.actor,
            target_user_id=action.target,
            occurred_at=work.now(),
        )


def _open_lobby(work: Work) -> bool:
    _insert_lobby(work, work.next_key("lobbies"))
    return True


def _insert_lobby(work: Work, key: int) -> None:
    at, seats = work.now(), work.rng.choice((8, 10, 12))
    name = mafia.lobby_name(work.rng)
    work.insert(
        "lobbies", lobby_id=key, lobby_name=name, max_players=seats, is_private=False, created_at=at, updated_at=at
    )


def _refit_lobby(work: Work) -> bool:
    lobby = work.pick("lobbies")
    if lobby is None:
        return False
    if work.rng.random() < 0.5:
        work.change("lobbies", lobby, lobby_name=mafia.lobby_name(work.rng))
    else:
        work.change("lobbies", lobby, is_private=not lobby["is_private"])
    return True


def _replace_lobby(work: Work) -> bool:
    """Close a lobby nobody has played in, and open another by its number, in one transaction."""
    lobby = work.pick("lobbies", REMOVE, where=_NEVER_USED)
    if lobby is None:
        return False
    work.remove("lobbies", lobby)
    _insert_lobby(work, lobby["lobby_id"])
    return True


MAFIA = System(
    databases={_USERS: "user_service.sql", _GAMES: "game_service.sql"},
    people=1000,
    days=60,
    rows=mafia.tables,
    kinds=(
        Kind("user signs up", _USERS, 6, _sign_up, may_stay_open=True),
        Kind("login or logout", _USERS, 22, _visit, may_stay_open=True),
        Kind("level up", _USERS, 8, _rise, may_stay_open=True),
        Kind("several levels up", _USERS, 3, _rise_twice),
        Kind("status changed", _USERS, 4, _judge),
        Kind("profile changed", _USERS, 4, _rename, may_stay_open=True),
        Kind("payment", _USERS, 14, _pay, may_stay_open=True),
        Kind("payment undone", _USERS, 2, _undo),
        Kind("user forgotten", _USERS, 3, _forget),
        Kind("user back", _USERS, 2, _come_back),
        Kind("game starts", _GAMES, 6, _start),
        Kind("player joins", _GAMES, 3, _join),
        Kind("player leaves", _GAMES, 3, _leave),
        Kind("phase played", _GAMES, 12, _phase, may_stay_open=True),
        Kind("game completed", _GAMES, 7, _complete, may_stay_open=True),
        Kind("game abandoned", _GAMES, 1, _abandon),
        Kind("lobby opened", _GAMES, 1, _open_lobby),
        Kind("lobby changed", _GAMES, 2, _refit_lobby, may_stay_open=True),
        Kind("lobby replaced", _GAMES, 1, _replace_lobby),
    ),
)
