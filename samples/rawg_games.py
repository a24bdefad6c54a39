"""The sample's games: one compact record each, made from a seeded random generator.

About 93 % are released in 2015 or later, 4 % are undated (`released: null`, half of them `tba`), the rest are older.
Popularity (`added`) is log-normal, from 0 to tens of thousands; about 8 % have a metacritic score; many share an
`updated` stamp. All of it is generated: no row comes from the RAWG service.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from starberg.samples.rawg_vocabulary import (
    ADJECTIVES,
    CREATORS,
    DEVELOPERS,
    ENGLISH_TAGS,
    ESRB,
    GENRES,
    NOUNS,
    PLATFORMS,
    PUBLISHERS,
    STORES,
    slugify,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

Votes = tuple[int, int, int, int]  # exceptional, recommended, meh, skip


@dataclass(slots=True)
class Game:
    """What is stored of a game; everything else in an answer is derived from it (rawg_shapes)."""

    id: int
    slug: str
    name: str
    released: str | None
    tba: bool
    updated: str
    added: int
    votes: Votes
    metacritic: int | None
    playtime: int
    esrb: int | None
    platforms: tuple[int, ...]
    stores: tuple[int, ...]
    genres: tuple[int, ...]
    tags: tuple[int, ...]

    @property
    def votes_count(self) -> int:
        """Number of votes."""
        return sum(self.votes)

    @property
    def rating(self) -> float:
        """Mean vote from 1 to 5, two decimals; 0.0 without votes."""
        exceptional, recommended, meh, skip = self.votes
        total = exceptional + recommended + meh + skip
        return round((5 * exceptional + 4 * recommended + 3 * meh + skip) / total, 2) if total else 0.0

    # Companies, creators and relations follow from the id, so that they cost neither memory nor start-up.
    @property
    def developers(self) -> tuple[int, ...]:
        """Ids of developers."""
        return (_DEVELOPERS[self.id % len(_DEVELOPERS)],)

    @property
    def publishers(self) -> tuple[int, ...]:
        """Ids of publishers; a fifth of the games have none."""
        return (_PUBLISHERS[self.id % len(_PUBLISHERS)],) if self.id % 5 else ()

    @property
    def creators(self) -> tuple[int, ...]:
        """Ids of creators; two thirds of the games have none."""
        return (_CREATORS[self.id % len(_CREATORS)],) if self.id % 3 == 0 else ()

    @property
    def is_addition(self) -> bool:
        """It extends another game (`parents_count` > 0)."""
        return self.id % 17 == 0

    @property
    def has_additions(self) -> bool:
        """Other games extend it (`additions_count` > 0)."""
        return self.id % 11 == 0

    @property
    def in_series(self) -> bool:
        """It belongs to a series (`game_series_count` > 0)."""
        return self.id % 7 == 0


_DEVELOPERS, _PUBLISHERS, _CREATORS = tuple(DEVELOPERS), tuple(PUBLISHERS), tuple(CREATORS)
_STORES, _GENRES = tuple(STORES), tuple(GENRES)
_STORE_WEIGHTS = tuple(accumulate(60 // (row + 1) for row in range(len(_STORES))))
_GENRE_WEIGHTS = tuple(accumulate(40 // (row + 1) + 2 for row in range(len(_GENRES))))
_TAG_WEIGHTS = tuple(accumulate(600 // (row + 1) + 2 for row in range(len(ENGLISH_TAGS))))
_EDITIONS = ("", "", "", "", " II", " III", " VR", " Online", ": Origins", ": Last Stand", " (Demo)", " ♥")

UNDATED_SHARE = 0.04
OLD_SHARE = 0.03
_RECENT_YEARS = tuple(range(2015, 2028))
_RECENT_WEIGHTS = tuple(accumulate((6, 7, 8, 9, 9, 10, 10, 11, 11, 12, 12, 12, 4)))


def make_games(rng: random.Random, count: int, *, ids: Iterator[int], today: date) -> list[Game]:
    """Make `count` games that exist on `today`; slugs may still collide, `updated` is a stamp before `today`."""
    stamps = _stamps(rng, count, today)
    games = []
    for game_id, updated, year in zip(ids, rng.choices(stamps, k=count), _years(rng, count), strict=False):
        name = title(rng)
        released, platform_year = _released(rng, year, today)
        added = _added(rng)
        games.append(
            Game(
                id=game_id,
                slug=slugify_title(name),
                name=name,
                released=released,
                tba=released is None and rng.random() < 0.5,
                updated=updated,
                added=added,
                votes=_votes(rng, added),
                metacritic=rng.randrange(38, 98) if rng.random() < (0.35 if added > 150 else 0.02) else None,
                playtime=int(rng.random() ** 4 * 60),
                esrb=1 + int(rng.random() * len(ESRB)) if rng.random() < 0.6 else None,
                platforms=_pick_platforms(rng, platform_year),
                stores=_pick(rng, _STORES, _STORE_WEIGHTS, 3, empty=0.12),
                genres=_pick(rng, _GENRES, _GENRE_WEIGHTS, 3, empty=0.03),
                tags=_pick(rng, ENGLISH_TAGS, _TAG_WEIGHTS, 6, empty=0.05),
            )
        )
    return games


def title(rng: random.Random) -> str:
    """Compose a title; titles repeat, as in life."""
    first, second = rng.choice(ADJECTIVES), rng.choice(NOUNS)
    if rng.random() < 0.2:
        return f"{second} of the {first} {rng.choice(NOUNS)}"
    return f"{first} {second}{rng.choice(_EDITIONS)}"


@lru_cache(maxsize=100_000)
def slugify_title(name: str) -> str:
    """Return the slug of a title (cached: titles repeat)."""
    return slugify(name)


@lru_cache(maxsize=128)
def platforms_on_sale(year: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (ids, cumulative weights) of the platforms on sale in `year`."""
    on_sale = [platform for platform in PLATFORMS.values() if platform.start <= year <= platform.end]
    return tuple(p.id for p in on_sale), tuple(accumulate(p.weight for p in on_sale))


def _stamps(rng: random.Random, count: int, today: date) -> list[str]:
    """Fewer stamps than games, over the 400 days before `today`: many games share one, as bulk updates do."""
    seconds = 400 * 86_400
    midnight = datetime.combine(today, time())
    ages = (1 + int(rng.random() * seconds) for _ in range(max(1, count // 4)))
    return [stamp(midnight - timedelta(seconds=age)) for age in ages]


def stamp(moment: datetime) -> str:
    """Write a time the way the API does: seconds, no zone (it is UTC)."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _years(rng: random.Random, count: int) -> list[int | None]:
    years: list[int | None] = []
    for recent in rng.choices(_RECENT_YEARS, cum_weights=_RECENT_WEIGHTS, k=count):
        share = rng.random()
        if share < UNDATED_SHARE:
            years.append(None)
        elif share < UNDATED_SHARE + OLD_SHARE:
            years.append(1980 + int(rng.random() * 35))
        else:
            years.append(recent)
    return years


def _released(rng: random.Random, year: int | None, today: date) -> tuple[str | None, int]:
    """Return the release date and the year whose platforms it may have; some dates are year-end placeholders."""
    if year is None:
        return None, today.year
    if rng.random() < 0.02:
        return f"{year}-12-31", min(year, today.year)
    return (date(year, 1, 1) + timedelta(days=int(rng.random() * 365))).isoformat(), min(year, today.year)


def _added(rng: random.Random) -> int:
    return 0 if rng.random() < 0.03 else int(rng.lognormvariate(3.6, 1.6))


def _votes(rng: random.Random, added: int) -> Votes:
    total = added * 3 // 10
    exceptional = int(total * rng.random() * 0.7)
    recommended = int((total - exceptional) * (0.2 + rng.random() * 0.6))
    meh = int((total - exceptional - recommended) * 0.6)
    return exceptional, recommended, meh, total - exceptional - recommended - meh


def _pick(
    rng: random.Random, ids: tuple[int, ...], cum_weights: tuple[int, ...], most: int, *, empty: float
) -> tuple[int, ...]:
    """Pick 1 to `most` different ids, or none with probability `empty`."""
    random, total = rng.random, cum_weights[-1]
    share = random()
    if share < empty:
        return ()
    return tuple({ids[bisect(cum_weights, random() * total)]: None for _ in range(1 + int(share * most))})


def _pick_platforms(rng: random.Random, year: int) -> tuple[int, ...]:
    ids, cum_weights = platforms_on_sale(year)
    return _pick(rng, ids, cum_weights, 6, empty=0.02)
