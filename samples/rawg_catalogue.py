"""The sample catalogue: games generated from a seed, a simulated clock, and the mutations tests need.

The same seed, size and mutations give the same bytes in any process: no wall clock, no hash order. Mutations move the
simulated clock (UTC) forward, so that two of them may share a day, which is the grain of the API's `updated` filter.
"""

from __future__ import annotations

import json
import random
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain, count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from starberg.samples.rawg_games import Game, make_games, platforms_on_sale, slugify_title, stamp
from starberg.samples.rawg_shapes import Cards, Row, listed, make_cards
from starberg.samples.rawg_vocabulary import MEMBERS
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STEP = timedelta(hours=7)  # between two mutations
_SAME_STAMP = 10  # games of one mutation that share a second


class Catalogue:
    """A mutable set of games with the orders the API serves; safe to use from several threads.

    `games` is the number of games at the start, `today` the day the simulated clock starts (00:00 UTC); every
    `updated` stamp at the start lies before it. `version` grows with every mutation.
    """

    def __init__(self, seed: int = 7, games: int = 5000, *, today: date = date(2026, 11, 1)) -> None:
        self.lock = threading.RLock()
        self.version = 0
        self.clock = datetime.combine(today, time(), tzinfo=UTC)
        self._today = today
        self._rng = random.Random(seed)
        self._ids = count(1000, 3)
        self._games: dict[int, Game] = {}
        self._by_slug: dict[str, int] = {}
        self._moved: dict[str, str] = {}
        self._same_slugs: Counter[str] = Counter()
        self.games_count: dict[str, Counter[int]] = {kind: Counter() for kind in MEMBERS}
        self._cards: tuple[int, Cards] | None = None
        self._orders: dict[str, list[Game]] = {}
        self._enter(make_games(self._rng, games, ids=self._ids, today=today))

    def __len__(self) -> int:
        return len(self._games)

    # Reading

    def games(self) -> list[Row]:
        """Return all games in the shape of a list without filter, by id; the rows are the caller's own."""
        with self.lock:
            cards = self.cards()
            return [json.loads(listed(game, cards)) for game in self._games.values()]

    def game(self, id_or_slug: int | str) -> Game | None:
        """Return the record of an id or slug, or None."""
        with self.lock:
            key = self._by_slug.get(id_or_slug) if isinstance(id_or_slug, str) else id_or_slug
            return None if key is None else self._games.get(key)

    def moved_to(self, slug: str) -> str | None:
        """Return the slug that a merged game's old slug leads to, or None."""
        return self._moved.get(slug)

    def cards(self) -> Cards:
        """Return the members as they stand inside games, with their current `games_count`."""
        with self.lock:
            if self._cards is None or self._cards[0] != self.version:
                self._cards = (self.version, make_cards(self.games_count))
            return self._cards[1]

    def ordered(self, ordering: str) -> list[Game]:
        """Return all games by a key of `ORDERINGS`, with `-` descending; equal keys newest id first.

        Nulls are the smallest value: first ascending, last descending.
        """
        with self.lock:
            if ordering not in self._orders:
                self._orders[ordering] = sort_games(self._games.values(), ordering)
            return self._orders[ordering]

    def between(self, key: str, first: str, last: str) -> list[Game]:
        """Return games whose `released` or `updated` lies in the days `first` to `last`, both included."""
        with self.lock:
            games, value = self.ordered(key), ORDERINGS[key]
            end_of_day = f"{last}T99"
            return games[bisect_left(games, first, key=value) : bisect_right(games, end_of_day, key=value)]

    # Mutations: each moves the clock forward and returns the ids it touched, ascending

    def change(self, n: int, *, platforms: bool = True) -> list[int]:
        """Change votes of `n` games, the name of every fifth, and the platform set of every third (`platforms`)."""

        def change_one(position: int, game: Game) -> None:
            self._vote(game)
            if position % 5 == 1:
                game.name = _renamed(game.name)
            if platforms and position % 3 == 0:
                self._change_platforms(game)

        return self._mutate(n, change_one)

    def touch(self, n: int) -> list[int]:
        """Give `n` games a new `updated` and change nothing else."""
        return self._mutate(n, lambda _position, _game: None)

    def set_back(self, n: int) -> list[int]:
        """Change votes of `n` games and set their `updated` back by 30 to 90 days, as a restore would."""

        def set_one_back(_position: int, game: Game) -> None:
            self._vote(game)
            game.updated = stamp(self.clock - timedelta(days=30 + 60 * self._rng.random()))

        return self._mutate(n, set_one_back)

    def add(self, n: int) -> list[int]:
        """Add `n` games with new ids; they are released this year or undated, with `added` >= 10."""
        with self.lock:
            self._tick()
            games = make_games(self._rng, n, ids=self._ids, today=self._today)
            for position, game in enumerate(games):
                game.updated = self._now(position)
                game.added = max(game.added, 10)
                if game.released:
                    game.released = f"{self.clock.year}{game.released[4:].replace('02-29', '02-28')}"
            self._enter(games)
            return self._done(games)

    def remove(self, n: int) -> list[int]:
        """Remove `n` games for good."""
        with self.lock:
            self._tick()
            games = self._some(n)
            for game in games:
                self._leave(game)
            return self._done(games)

    def merge(self, id: int, into: int) -> list[int]:  # noqa: A002  (the API's word)
        """Merge a game into another: it leaves, its slug answers with a redirect, the other gets a new `updated`.

        Raises UsageError when either is unknown or both are the same.
        """
        with self.lock:
            gone, kept = self._games.get(id), self._games.get(into)
            if gone is None or kept is None or gone is kept:
                raise UsageError(f"cannot merge game {id} into {into}: two different games of the catalogue are needed")
            self._tick()
            self._leave(gone)
            self._moved[gone.slug] = kept.slug
            kept.updated = self._now(0)
            return self._done([gone, kept])

    def insert_like(self, game: Game, *, keep_updated: bool) -> int:
        """Add a copy that sorts just before `game` in every order (equal keys, newer id); return its id."""
        with self.lock:
            self._tick()
            copy = Game(**{name: getattr(game, name) for name in Game.__slots__})
            copy.id = next(self._ids)
            copy.slug = slugify_title(copy.name)
            copy.updated = game.updated if keep_updated else self._now(0)
            self._enter([copy])
            return self._done([copy])[0]

    def _mutate(self, n: int, change_one: Callable[[int, Game], None]) -> list[int]:
        with self.lock:
            self._tick()
            games = self._some(n)
            for position, game in enumerate(games):
                game.updated = self._now(position)
                change_one(position, game)
            return self._done(games)

    def _some(self, n: int) -> list[Game]:
        if n > len(self._games):
            raise UsageError(f"the sample catalogue has {len(self._games)} games, {n} were asked")
        return [self._games[game_id] for game_id in sorted(self._rng.sample(list(self._games), n))]

    def _vote(self, game: Game) -> None:
        more = 1 + int(self._rng.random() * 20)
        exceptional, recommended, meh, skip = game.votes
        game.votes = (exceptional + more, recommended, meh, skip + more // 4)
        game.added += 2 * more

    def _change_platforms(self, game: Game) -> None:
        """Take one platform away or add one, so that the set always differs."""
        self._discount([game])
        if len(game.platforms) > 1 and self._rng.random() < 0.5:
            game.platforms = game.platforms[1:]
        else:
            year = min(int((game.released or stamp(self.clock))[:4]), self._today.year)
            others = [platform for platform in platforms_on_sale(year)[0] if platform not in game.platforms]
            game.platforms = (*game.platforms, self._rng.choice(others)) if others else game.platforms[1:]
        self._count([game])

    # Bookkeeping

    def _tick(self) -> None:
        self.clock += STEP

    def _now(self, position: int) -> str:
        return stamp(self.clock + timedelta(seconds=position // _SAME_STAMP))

    def _done(self, games: Sequence[Game]) -> list[int]:
        self.clock += timedelta(seconds=len(games) // _SAME_STAMP)
        self.version += 1
        self._orders.clear()
        return sorted(game.id for game in games)

    def _enter(self, games: Sequence[Game]) -> None:
        for game in games:
            self._same_slugs[game.slug] += 1
            if self._same_slugs[game.slug] > 1:
                game.slug = f"{game.slug}-{self._same_slugs[game.slug]}"
            self._games[game.id] = game
            self._by_slug[game.slug] = game.id
        self._count(games)

    def _leave(self, game: Game) -> None:
        del self._games[game.id]
        del self._by_slug[game.slug]
        self._discount([game])

    def _count(self, games: Sequence[Game]) -> None:
        for kind, counter in self.games_count.items():
            counter.update(chain.from_iterable(map(attrgetter(kind), games)))

    def _discount(self, games: Sequence[Game]) -> None:
        for kind, counter in self.games_count.items():
            counter.subtract(chain.from_iterable(map(attrgetter(kind), games)))


# Nulls are the smallest value.
ORDERINGS: dict[str, Callable[[Game], Any]] = {
    "name": attrgetter("name"),
    "released": lambda game: game.released or "",
    "added": attrgetter("added"),
    "created": attrgetter("id"),
    "updated": attrgetter("updated"),
    "rating": attrgetter("rating"),
    "metacritic": lambda game: game.metacritic or -1,
}


def sort_games(games: Iterable[Game], ordering: str) -> list[Game]:
    """Sort by a key of `ORDERINGS`, `-` descending; nulls are the smallest value, equal keys go newest id first."""
    newest_first = sorted(games, key=attrgetter("id"), reverse=True)
    return sorted(newest_first, key=ORDERINGS[ordering.removeprefix("-")], reverse=ordering.startswith("-"))


def _renamed(name: str) -> str:
    edition = ": Complete Edition"
    return name.removesuffix(edition) if name.endswith(edition) else name + edition
