"""The query parameters of /games as the API understands them.

A parameter it cannot read is ignored without a word, and so is an unknown one: the whole list comes back. `dates` and
`updated` take whole days, both ends included, several ranges joined by `.`; lists of ids or slugs are told apart by
their first item; values within one parameter are alternatives, parameters together must all hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

from starberg.samples.rawg_catalogue import ORDERINGS, Catalogue, sort_games
from starberg.samples.rawg_games import Game
from starberg.samples.rawg_vocabulary import MEMBERS, PARENTS, PLATFORMS, counted

Predicate = Callable[[Game], bool]
Filter = Callable[[str, Mapping[str, str]], Predicate | None]  # its value, all parameters -> None if unreadable

DEFAULT_ORDERING = "-added"
DAY_FILTERS = {"dates": "released", "updated": "updated"}


def effective_ordering(parameters: Mapping[str, str]) -> str:
    """Return the ordering that is applied: an unknown one counts as the default, most added first."""
    ordering = parameters.get("ordering", "")
    return ordering if ordering.removeprefix("-") in ORDERINGS else DEFAULT_ORDERING


def effective_filters(parameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the parameters that filter, sorted: none means the list without filter."""
    readable = {name: value for name, value in parameters.items() if name in DAY_FILTERS and day_ranges(value)}
    readable |= {
        name: value for name, value in parameters.items() if name in FILTERS and FILTERS[name](value, parameters)
    }
    if "search" in readable:
        readable |= {name: parameters[name] for name in ("search_precise", "search_exact") if name in parameters}
    return tuple(sorted(readable.items()))


def select(catalogue: Catalogue, filters: tuple[tuple[str, str], ...], ordering: str) -> list[Game]:
    """Return the games that pass `filters` (of `effective_filters`), in `ordering`."""
    parameters = dict(filters)
    if not parameters:
        return catalogue.ordered(ordering)
    games = _within_days(catalogue, parameters)
    for name in parameters:
        predicate = FILTERS[name](parameters[name], parameters) if name in FILTERS else None
        if predicate:
            games = [game for game in games if predicate(game)]
    return sort_games(games, ordering)


def day_ranges(value: str) -> list[tuple[str, str]]:
    """Read `FROM,TO` ranges joined by `.`; a range that is not two days around one comma is left out."""
    ranges = []
    for text in value.split("."):
        days = [_day(part) for part in text.split(",")]
        if len(days) == 2 and all(days):
            ranges.append((days[0], days[1]))
    return ranges


def search_score(game: Game, filters: Mapping[str, str]) -> str | None:
    """Return the score a search gives (a string), or None where nothing was searched."""
    asked, found = set(filters.get("search", "").lower().split()), set(game.name.lower().split())
    if not asked:
        return None
    return f"{100 * len(asked & found) / max(1, len(found)):.6f}"


def _day(text: str) -> str:
    """Return a day; a time of day is cut off, since the API rounds to days."""
    day, _, _ = text.strip().partition("T")
    try:
        return date.fromisoformat(day).isoformat() if len(day) == len("YYYY-MM-DD") else ""
    except ValueError:
        return ""


def _within_days(catalogue: Catalogue, parameters: Mapping[str, str]) -> list[Game]:
    """Return the games within `dates` and `updated`, through the catalogue's sorted indexes."""
    games: dict[int, Game] | None = None
    for name, key in DAY_FILTERS.items():
        if name in parameters:
            found = {
                game.id: game
                for first, last in day_ranges(parameters[name])
                for game in catalogue.between(key, first, last)
            }
            games = found if games is None else {game_id: found[game_id] for game_id in games if game_id in found}
    return catalogue.ordered(DEFAULT_ORDERING) if games is None else list(games.values())


def _members(kind: str) -> Filter:
    """Filter by ids or slugs of a dimension; a Russian tag finds what its English twin finds."""
    ids_by_slug = {member.slug: member.id for member in MEMBERS[kind].values()}

    def read(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
        items = _items(value)
        if not items:
            return None
        if items[0].isdecimal():
            wanted = _numbers(value)
        else:
            wanted = {ids_by_slug[item] for item in items if item in ids_by_slug}
        wanted = {counted(kind, member) for member in wanted}
        return lambda game: not wanted.isdisjoint(getattr(game, kind))

    return read


def _parent_platforms(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    parents = {parent.name for parent in PARENTS.values() if str(parent.id) in _items(value)}
    wanted = {platform.id for platform in PLATFORMS.values() if platform.parent in parents}
    return (lambda game: not wanted.isdisjoint(game.platforms)) if _numbers(value) else None


def _platforms_count(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    number = whole_number(value)
    return None if number is None else lambda game: len(game.platforms) == number


def _metacritic(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    bounds = [whole_number(bound.strip()) for bound in value.split(",")]
    match bounds:
        case [int(lowest), int(highest)]:
            return lambda game: game.metacritic is not None and lowest <= game.metacritic <= highest
    return None


def _ids(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    wanted = _numbers(value)
    return (lambda game: game.id in wanted) if wanted else None


def _exclude(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    unwanted = set(_items(value))
    return (lambda game: str(game.id) not in unwanted and game.slug not in unwanted) if unwanted else None


def _exclude_stores(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    unwanted = _numbers(value)
    return (lambda game: unwanted.isdisjoint(game.stores)) if unwanted else None


def _exclude_collection(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
    """Collections are users' own lists; the sample has none, so nothing is excluded."""
    return None if whole_number(value) is None else lambda _game: True


def _unless(trait: Predicate) -> Filter:
    def read(value: str, _parameters: Mapping[str, str]) -> Predicate | None:
        return (lambda game: not trait(game)) if value.lower() in {"true", "1"} else None

    return read


def _search(value: str, parameters: Mapping[str, str]) -> Predicate | None:
    """Any word by default, the phrase with `search_precise`, the whole name with `search_exact`."""
    text = value.strip().lower()
    if not text:
        return None
    if parameters.get("search_exact", "").lower() in {"true", "1"}:
        return lambda game: game.name.lower() == text
    if parameters.get("search_precise", "").lower() in {"true", "1"}:
        return lambda game: text in game.name.lower()
    words = text.split()
    return lambda game: any(word in game.name.lower() for word in words)


def whole_number(text: str) -> int | None:
    """Read a number of at most 18 digits, or None."""
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _numbers(value: str) -> set[int]:
    return {number for item in _items(value) if (number := whole_number(item)) is not None}


FILTERS: dict[str, Filter] = {
    **{kind: _members(kind) for kind in MEMBERS},
    "parent_platforms": _parent_platforms,
    "platforms_count": _platforms_count,
    "metacritic": _metacritic,
    "ids": _ids,
    "exclude": _exclude,
    "exclude_stores": _exclude_stores,
    "exclude_collection": _exclude_collection,
    "exclude_additions": _unless(lambda game: game.is_addition),
    "exclude_parents": _unless(lambda game: game.has_additions),
    "exclude_game_series": _unless(lambda game: game.in_series),
    "search": _search,
}
