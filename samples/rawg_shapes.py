"""How one game looks in an answer: three shapes of the same record (rawg_games.Game), as the API gives them.

`listed`    29 keys, in lists without filter: full members, link ids, `released_at`, English tags only.
`filtered`  in lists with any filter: members slimmed to id, name, slug, `stores` null instead of [], every tag in two
            languages, `score` and `community_rating` added, names of `esrb_rating` in two languages.
`detailed`  54 keys, one game asked by id or slug: `requirements`, companies, counts; a whole `rating` is an int.

A shape is JSON text, put together from texts of its members that are written once: a page of 40 games costs about a
millisecond, also the first time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starberg.samples.rawg_vocabulary import (
    ESRB,
    MEDIA,
    MEMBERS,
    PARENTS,
    PC,
    PLATFORMS,
    VOTES,
    Member,
    counted,
    slugify,
    twin,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starberg.samples.rawg_games import Game

Row = dict[str, Any]
GamesCount = Mapping[str, Mapping[int, int]]  # kind -> id -> games
Cards = dict[str, dict[int, str]]  # kind -> id -> the member as JSON text

to_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # compact UTF-8, as the API writes it


def member_row(kind: str, member: Member, games_count: GamesCount) -> Row:
    """Return a member as it stands inside games; `games_count` is volatile, a tag's two rows share it."""
    return {
        "id": member.id,
        "name": member.name,
        "slug": member.slug,
        **member.extra,
        "games_count": games_count[kind].get(counted(kind, member.id), 0),
        "image_background": f"{MEDIA}/{kind}/{member.slug}.jpg",
    }


def make_cards(games_count: GamesCount) -> Cards:
    """Return the text of every member, with its `games_count`."""
    return {
        kind: {member.id: to_text(member_row(kind, member, games_count)) for member in members.values()}
        for kind, members in MEMBERS.items()
    }


def listed(game: Game, cards: Cards) -> str:
    """Return the game as lists without filter show it."""
    platforms = _platforms(game, cards, '"requirements_en":{},"requirements_ru":null', "null")
    return (
        f'{{{_common(game)},"rating":{game.rating},"esrb_rating":{_ESRB[game.esrb]},"platforms":{platforms},'
        f'"stores":{_stores(game, cards)},"genres":{_members(game, "genres", cards)},'
        f'"tags":{_members(game, "tags", cards)},"short_screenshots":{_screenshots(game)}}}'
    )


def filtered(game: Game, cards: Cards, score: str | None = None) -> str:
    """Return the game as lists with a filter show it; `score` is the search score."""
    tags = cards["tags"]
    community_rating = ',"community_rating":0' if game.id % 2 else ""
    return (
        f'{{{_common(game)},"rating":{game.rating},"esrb_rating":{_ESRB_NAMED[game.esrb]},'
        f'"platforms":{_list(map(_SLIM_PLATFORM.__getitem__, game.platforms))},'
        f'"stores":{_list(map(_SLIM_STORE.__getitem__, game.stores)) if game.stores else "null"},'
        f'"genres":{_list(map(_SLIM_GENRE.__getitem__, game.genres))},'
        f'"tags":{_list(tags[language] for tag in game.tags for language in (tag, twin(tag)))},'
        f'"short_screenshots":{_screenshots(game)},"score":{_quoted(score)}{community_rating}}}'
    )


def detailed(game: Game, cards: Cards) -> str:
    """Return the game as /games/{id or slug} shows it."""
    rating = int(game.rating) if game.rating.is_integer() else game.rating
    platforms = _platforms(game, cards, '"requirements":{}', "{}")
    return (
        f'{{{_common(game)},"rating":{rating},"esrb_rating":{_ESRB[game.esrb]},"platforms":{platforms},'
        f'"stores":{_stores(game, cards)},"genres":{_members(game, "genres", cards)},'
        f'"tags":{_members(game, "tags", cards)},"developers":{_members(game, "developers", cards)},'
        f'"publishers":{_members(game, "publishers", cards)},{to_text(_details(game))[1:]}'
    )


def _details(game: Game) -> Row:
    description = f"{game.name} is a generated entry of the sample catalogue."
    return {
        "name_original": game.name,
        "description": f"<p>{description}</p>",
        "description_raw": description,
        "metacritic_platforms": [],
        "metacritic_url": "",
        "background_image_additional": None,
        "website": f"https://{game.slug}.example",
        "reactions": {"1": game.added % 7} if game.added else {},
        "screenshots_count": screenshots_count(game),
        **dict.fromkeys(_UNUSED_COUNTS, 0),
        "creators_count": len(game.creators),
        "reddit_url": "",
        "reddit_name": "",
        "reddit_description": "",
        "reddit_logo": "",
        "alternative_names": [],
        "parents_count": int(game.is_addition),
        "additions_count": int(game.has_additions),
        "game_series_count": int(game.in_series),
    }


_UNUSED_COUNTS = (
    *("movies_count", "achievements_count", "parent_achievements_count"),
    *("reddit_count", "twitch_count", "youtube_count"),
)


def requirements(game: Game) -> dict[str, str]:
    """Return what a PC needs to run the game."""
    gigabytes = 2 << game.id % 4
    return {
        "minimum": f"Minimum: OS: 64-bit; Memory: {gigabytes} GB; Storage: {gigabytes * 3} GB",
        "recommended": f"Recommended: OS: 64-bit; Memory: {gigabytes * 2} GB; Storage: {gigabytes * 3} GB",
    }


def _common(game: Game) -> str:
    """Write the fields that look alike in all shapes."""
    votes = game.votes_count
    image = f'"{MEDIA}/games/{game.id}.jpg"' if game.added else "null"
    return (
        f'"id":{game.id},"slug":"{game.slug}","name":{to_text(game.name)},"released":{_quoted(game.released)},'
        f'"tba":{"true" if game.tba else "false"},"background_image":{image},'
        f'"rating_top":{max(zip(game.votes, VOTES, strict=True))[1] if votes else 0},"ratings":{_ratings(game)},'
        f'"ratings_count":{votes},"reviews_text_count":{votes // 40},"reviews_count":{votes + votes // 40},'
        f'"added":{game.added},"added_by_status":{_added_by_status(game.added)},'
        f'"metacritic":{game.metacritic or "null"},"playtime":{game.playtime},'
        f'"suggestions_count":{game.id * 7 % 600},"updated":"{game.updated}",'
        f'"parent_platforms":{_parents(game)},{_NEVER_SET}'
    )


_NEVER_SET = '"user_game":null,"saturated_color":"0f0f0f","dominant_color":"0f0f0f","clip":null'
_STATUSES = {"yet": 5, "owned": 60, "beaten": 15, "toplay": 8, "dropped": 7, "playing": 5}  # percent of `added`


def _ratings(game: Game) -> str:
    votes = game.votes_count
    return _list(
        f'{{"id":{vote},"title":"{VOTES[vote]}","count":{count},"percent":{round(100 * count / votes, 2)}}}'
        for vote, count in zip(VOTES, game.votes, strict=True)
        if count
    )


def _added_by_status(added: int) -> str:
    """Write the statuses somebody has; nothing at all is null, not {}."""
    counts = ((status, added * percent // 100) for status, percent in _STATUSES.items())
    texts = [f'"{status}":{count}' for status, count in counts if count]
    return f"{{{','.join(texts)}}}" if texts else "null"


def _parents(game: Game) -> str:
    return _list(dict.fromkeys(_PARENT[platform] for platform in game.platforms))


def _screenshots(game: Game) -> str:
    """Write the screenshots; the first is the background image, under the id -1."""
    return _list(
        f'{{"id":{game.id * 8 + number if number else -1},"image":"{MEDIA}/screenshots/{game.id}-{number}.jpg"}}'
        for number in range(screenshots_count(game))
    )


def screenshots_count(game: Game) -> int:
    """Return how many screenshots the game has."""
    return game.id % 4


def _quoted(text: str | None) -> str:
    return f'"{text}"' if text else "null"


def _list(texts: Iterable[str]) -> str:
    return f"[{','.join(texts)}]"


def _members(game: Game, kind: str, cards: Cards) -> str:
    return _list(map(cards[kind].__getitem__, getattr(game, kind)))


def _platforms(game: Game, cards: Cards, keys: str, absent: str) -> str:
    """Write platforms in full; `keys` holds {} where a PC's requirements go, `absent` stands for the others."""
    released_at = _quoted(game.released)
    return _list(
        f'{{"platform":{cards["platforms"][platform]},"released_at":{released_at},'
        f"{keys.replace('{}', to_text(requirements(game)) if platform == PC else absent)}}}"
        for platform in game.platforms
    )


def _stores(game: Game, cards: Cards) -> str:
    """Write the stores; the id beside a store is the link's, not the store's."""
    texts = cards["stores"]
    return _list(f'{{"id":{game.id * 16 + store},"store":{texts[store]}}}' for store in game.stores)


def _slim(kind: str, form: str) -> dict[int, str]:
    return {
        member.id: form % to_text({"id": member.id, "name": member.name, "slug": member.slug})
        for member in MEMBERS[kind].values()
    }


_SLIM_PLATFORM = _slim("platforms", '{"platform":%s}')
_SLIM_STORE = _slim("stores", '{"store":%s}')
_SLIM_GENRE = _slim("genres", "%s")

_PARENT = {
    platform.id: to_text({"platform": {"id": parent.id, "name": parent.name, "slug": parent.slug}})
    for platform in PLATFORMS.values()
    for parent in (PARENTS[platform.parent],)
}


def _esrb(*, named: bool) -> dict[int | None, str]:
    """Return rating id -> text, None -> null; lists with a filter have the name in two languages as well."""
    texts: dict[int | None, str] = {None: "null"}
    for rating, (name, russian) in ESRB.items():
        names = {"name_en": name, "name_ru": russian} if named else {}
        texts[rating] = to_text({"id": rating, "name": name, "slug": slugify(name), **names})
    return texts


_ESRB, _ESRB_NAMED = _esrb(named=False), _esrb(named=True)
