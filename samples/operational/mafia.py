"""The game platform's past: users who come, play, rise and pay; games played to their end by the rules."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

from starberg.samples.operational import people
from starberg.samples.operational.mafia_rules import FEWEST_PLAYERS, SIDES, Action, Match, deal
from starberg.samples.operational.system import Size
from starberg.samples.operational.tables import Table
from starberg.samples.operational.vocabulary import ADJECTIVES, ANIMALS, DEVICES, PLACES, ROLES

USER = ["user_id", "username", "email", "country", "status", "level", "created_at", "updated_at"]
TRANSACTION = ["transaction_id", "user_id", "transaction_type", "amount", "created_at"]
ACCESS = ["event_id", "user_id", "event_type", "ip_address", "device", "occurred_at"]
LOBBY = ["lobby_id", "lobby_name", "max_players", "is_private", "created_at", "updated_at"]
ROLE = ["role_id", "role_name", "side", "description"]
GAME = ["game_id", "lobby_id", "status", "winner_side", "started_at", "ended_at", "updated_at"]
SESSION = [
    *("session_id", "game_id", "user_id", "role_id", "joined_at", "left_at", "survived", "won", "updated_at"),
]
ACTION = ["action_id", "game_id", "phase", "round", "action_type", "actor_user_id", "target_user_id", "occurred_at"]

ROLE_IDS = {name: number for number, (name, _, _) in enumerate(ROLES, 1)}
STATUSES = {"active": 88, "inactive": 7, "suspended": 3, "banned": 2}
PACKS = tuple(Decimal(price) for price in ("4.99", "9.99", "19.99", "49.99"))
GOODS = tuple(Decimal(price) for price in ("2.50", "5.00", "7.50", "12.00", "30.00"))
REWARDS = tuple(Decimal(won) for won in ("1.00", "2.00", "3.00", "5.00"))

_GAMES_PER_USER_AND_DAY = 0.05
_ABANDONED = 0.04
_HOURS = (6, 4, 2, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 5, 6, 7, 9, 11, 13, 15, 14, 11, 8)
_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Player:
    """A user and how often they play."""

    id: int
    joined_at: datetime
    weight: float
    busy_until: datetime
    games: list[datetime] = field(default_factory=list)
    """When each of their games ended."""


@dataclass
class _Past:
    """What happened, in rows without their keys."""

    games: list[list[Any]] = field(default_factory=list)
    sessions: list[list[Any]] = field(default_factory=list)
    actions: list[list[Any]] = field(default_factory=list)
    access: list[list[Any]] = field(default_factory=list)
    wishes: list[tuple[datetime, int, str]] = field(default_factory=list)
    """Who would like to make which transaction when; what they can afford is decided in order."""


def tables(size: Size) -> Mapping[str, Sequence[Table]]:
    """Return the tables of both services; all keys are in the order of time."""
    rng = people.stream(size.seed, "users")
    first_day = size.until - timedelta(days=size.days)
    players = _players(size, first_day, rng)
    lobbies = _lobbies(size, first_day)
    past = _play(size, first_day, players, lobbies)
    _idle(size, first_day, players, past)
    return {
        "user_service": [
            Table("users", USER, [_user_row(player, size) for player in players]),
            Table("currency_transactions", TRANSACTION, _numbered(_affordable(past.wishes, size))),
            Table("access_events", ACCESS, _numbered(sorted(past.access, key=lambda row: row[-1]))),
        ],
        "game_service": [
            Table("lobbies", LOBBY, lobbies),
            Table("roles", ROLE, [[ROLE_IDS[name], name, side, text] for name, side, text in ROLES]),
            Table("games", GAME, past.games),
            Table("player_sessions", SESSION, _numbered(past.sessions)),
            Table("game_actions", ACTION, _numbered(sorted(past.actions, key=lambda row: row[-1]))),
        ],
    }


def profile(number: int, rng: random.Random) -> dict[str, Any]:
    """Return what a user chooses on signing up, by column; `number` makes the name unique."""
    username = f"{rng.choice(ADJECTIVES)}{rng.choice(ANIMALS)}{number}"
    first, last = people.name(rng)
    return {
        "username": username,
        "email": people.email(first, last, number, rng),
        "country": people.country(rng).name,
    }


def lobby_name(rng: random.Random) -> str:
    """Return the name of a lobby."""
    return f"{rng.choice(ADJECTIVES)} {rng.choice(ANIMALS)} {rng.choice(PLACES)}"


def device(user: int, rng: random.Random) -> dict[str, str]:
    """Return from where a user comes: mostly the same address and device."""
    usual = random.Random(user)
    source = usual if rng.random() < 0.85 else rng
    # 198.18.0.0/15 is for tests alone (RFC 2544).
    address = f"198.{source.randrange(18, 20)}.{source.randrange(256)}.{source.randrange(1, 255)}"
    return {"ip_address": address, "device": source.choice(DEVICES)}


def level(games: int) -> int:
    """Return the level that a number of games gives."""
    return 1 + math.isqrt(games)


def _players(size: Size, first_day: datetime, rng: random.Random) -> list[Player]:
    def joined() -> datetime:
        if rng.random() < min(0.6, size.days / 250):
            return first_day + (size.until - first_day) * rng.random()
        return first_day - timedelta(days=700) * math.pow(rng.random(), 1.5)

    times = sorted(joined().replace(microsecond=0) for _ in range(size.people))
    weights = [0.0 if rng.random() < 0.05 else rng.paretovariate(1.8) for _ in times]
    return [Player(number, at, weight, at) for number, (at, weight) in enumerate(zip(times, weights, strict=True), 1)]


def _lobbies(size: Size, first_day: datetime) -> list[list[Any]]:
    rng = people.stream(size.seed, "lobbies")
    lobbies = []
    births = sorted(first_day - timedelta(seconds=rng.randrange(500 * 86400)) for _ in range(max(8, size.people // 40)))
    for number, born in enumerate(births, 1):
        changed = born + (first_day - born) * rng.random() if rng.random() < 0.2 else born
        seats = rng.choice((6, 8, 10, 12, 12, 15))
        lobbies.append([number, lobby_name(rng), seats, rng.random() < 0.2, born, changed])
    return lobbies


def _play(size: Size, first_day: datetime, players: Sequence[Player], lobbies: Sequence[Sequence[Any]]) -> _Past:
    rng = people.stream(size.seed, "games")
    joined, heights = [player.joined_at for player in players], list(accumulate(player.weight for player in players))
    past, starts = _Past(), []
    for number in range(size.days):
        day = first_day + timedelta(days=number)
        mean = size.people * _GAMES_PER_USER_AND_DAY * (1.5 if day.weekday() >= 5 else 0.85)
        starts += sorted(_time(day, rng) for _ in range(max(1, round(rng.gauss(mean, mean**0.5)))))
    for at in starts:
        lobby = rng.choice(lobbies)
        known = bisect_left(joined, at)
        seats = rng.randint(FEWEST_PLAYERS + 1, lobby[2])
        if not known or not heights[known - 1]:
            continue
        drawn = rng.choices(players[:known], cum_weights=heights[:known], k=seats)
        chosen = {player.id for player in drawn if player.busy_until < at}
        if len(chosen) >= FEWEST_PLAYERS:
            _game(past, at, lobby[0], [players[user - 1] for user in sorted(chosen)], size.until, rng)
    return past


def _game(
    past: _Past, at: datetime, lobby: int, players: Sequence[Player], until: datetime, rng: random.Random
) -> None:
    """Play one game to its end, or to where it stands at `until`."""
    game, match = len(past.games) + 1, Match({}, [])
    match = Match(roles := deal([player.id for player in players], rng), list(roles))
    phases = rng.randint(1, 3) if rng.random() < _ABANDONED else 1000
    now, deaths = at, dict[int, datetime]()
    while not match.winner and phases and now < until:
        phases -= 1
        actions, now = _timed(game, match.play(rng), now, rng)
        past.actions += [row for row in actions if row[-1] < until]
        deaths |= {player.id: now for player in players if player.id not in match.alive and player.id not in deaths}
    running, winner = now >= until, match.winner
    status = "running" if running else "completed" if winner else "abandoned"
    end = None if running else now
    past.games.append([game, lobby, status, winner if end else None, at, end, end or at])
    for player in players:
        came = max(at - _SECOND * rng.randint(1, 90), player.joined_at)
        role = roles[player.id]
        survived = player.id not in deaths if status == "completed" else None
        won = SIDES[role] == winner if status == "completed" else None
        left = end if end is None or rng.random() < 0.6 else deaths.get(player.id, end)
        past.sessions.append([game, player.id, ROLE_IDS[role], came, left, survived, won, end or came])
        player.busy_until = end or until
        if end:
            player.games.append(end)
        if won and rng.random() < 0.8:
            past.wishes.append((end or at, player.id, "reward"))
        if rng.random() < 0.6:
            _visit(past, player.id, came - _SECOND * rng.randint(20, 600), left, player.joined_at, rng)


def _timed(game: int, actions: Sequence[Action], now: datetime, rng: random.Random) -> tuple[list[list[Any]], datetime]:
    """Return a phase's actions with their times, and when the phase ended."""
    length = rng.uniform(40, 200)
    times = sorted(now + _SECOND * round(rng.uniform(1, length), 3) for _ in actions)
    rows = [
        [game, done.phase, done.round, done.kind, done.actor, done.target, at]
        for done, at in zip(actions, times, strict=True)
    ]
    return rows, now + _SECOND * round(length + 1, 3)


def _visit(past: _Past, user: int, came: datetime, left: datetime | None, joined: datetime, rng: random.Random) -> None:
    where = list(device(user, rng).values())
    past.access.append([user, "login", *where, max(came, joined)])
    if left and rng.random() < 0.9:
        past.access.append([user, "logout", *where, left + _SECOND * rng.randint(0, 300)])


def _idle(size: Size, first_day: datetime, players: Sequence[Player], past: _Past) -> None:
    """Add visits without a game, and what users buy."""
    rng = people.stream(size.seed, "visits")
    joined = [player.joined_at for player in players]
    for number in range(size.days):
        day = first_day + timedelta(days=number)
        known = bisect_left(joined, day)
        for share in (0.12, 0.03, 0.07):
            for _ in range(round(known * share)):
                user, at = players[rng.randrange(known)], _time(day, rng)
                if share == 0.12:
                    left = min(at + timedelta(minutes=rng.randint(1, 90)), size.until - 301 * _SECOND)
                    _visit(past, user.id, at, max(at, left), user.joined_at, rng)
                else:
                    past.wishes.append((at, user.id, "purchase" if share == 0.03 else "spend"))
    past.access[:] = [row for row in past.access if row[-1] < size.until]


def _affordable(wishes: Sequence[tuple[datetime, int, str]], size: Size) -> Iterator[list[Any]]:
    """Yield the transactions that leave no balance below zero; of some purchases the money is asked back at once."""
    rng = people.stream(size.seed, "transactions")
    balance: dict[int, Decimal] = defaultdict(Decimal)
    amounts = {"purchase": PACKS, "spend": GOODS, "reward": REWARDS}
    for at, user, kind in sorted(wishes):
        amount = rng.choice(amounts[kind])
        refund = kind == "purchase" and rng.random() < 0.04
        if kind == "spend":
            if balance[user] < amount:
                continue
            amount = -amount
        balance[user] += amount
        yield [user, kind, abs(amount), at]
        if refund:
            balance[user] -= amount
            yield [user, "refund", amount, at + _SECOND]


def _user_row(player: Player, size: Size) -> list[Any]:
    rng = people.stream(size.seed, f"user {player.id}")
    status = rng.choices(list(STATUSES), list(STATUSES.values()))[0]
    risen = [end for number, end in enumerate(player.games, 1) if level(number) > level(number - 1)]
    changed = risen[-1] if risen else player.joined_at
    if status != "active":
        changed += (size.until - changed) * rng.random()
    chosen = profile(player.id, rng)
    return [player.id, *chosen.values(), status, level(len(player.games)), player.joined_at, changed]


def _numbered(rows: Iterator[list[Any]] | Sequence[list[Any]]) -> Iterator[list[Any]]:
    return ([number, *row] for number, row in enumerate(rows, 1))


def _time(day: datetime, rng: random.Random) -> datetime:
    hour = rng.choices(range(24), _HOURS)[0]
    return day + timedelta(hours=hour, milliseconds=rng.randrange(3_600_000))
