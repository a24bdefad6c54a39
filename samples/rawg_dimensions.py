"""The rows of the dimension endpoints: genres, platforms, stores, tags, companies, creators.

`games_count` moves with every change of the catalogue; members that appear in games only are left out, as in life.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from starberg.samples.rawg_shapes import member_row
from starberg.samples.rawg_vocabulary import MEMBERS, PARENTS, PLATFORMS, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starberg.samples.rawg_catalogue import Catalogue
    from starberg.samples.rawg_games import Game

Row = dict[str, Any]

PARENTS_PATH = "platforms/lists/parents"
_CAN_BE_ORDERED = ("genres", "platforms", PARENTS_PATH, "stores")
_ORDERINGS = ("id", "name", "slug", "games_count")
_GAMES_IN_MEMBER = 6


def dimension_rows(catalogue: Catalogue, path: str, ordering: str) -> list[Row]:
    """Return all rows of a dimension endpoint, by default most games first; an unknown ordering is ignored."""
    rows = _parents(catalogue) if path == PARENTS_PATH else _members(catalogue, path)
    key = ordering.removeprefix("-")
    if path in _CAN_BE_ORDERED and key in _ORDERINGS and key in rows[0]:
        rows.sort(key=lambda row: row[key], reverse=ordering.startswith("-"))
    return rows


def _members(catalogue: Catalogue, kind: str) -> list[Row]:
    games_count = catalogue.games_count
    top_games = _top_games(catalogue.ordered("-added"), kind)
    rows = [
        {**member_row(kind, member, games_count), "games": top_games[counted(kind, member.id)]}
        for member in MEMBERS[kind].values()
        if member.listed
    ]
    return sorted(rows, key=lambda row: (-row["games_count"], row["id"]))


def _parents(catalogue: Catalogue) -> list[Row]:
    rows = {row["id"]: row for row in _members(catalogue, "platforms")}
    return [
        {
            "id": parent.id,
            "name": name,
            "slug": parent.slug,
            "platforms": [rows[p.id] for p in PLATFORMS.values() if p.parent == name and p.listed],
        }
        for name, parent in PARENTS.items()
    ]


def _top_games(games: Sequence[Game], kind: str) -> defaultdict[int, list[Row]]:
    """Return member id -> its most added games in brief, from games sorted so."""
    top: defaultdict[int, list[Row]] = defaultdict(list)
    for game in games:
        for member in getattr(game, kind):
            if len(top[member]) < _GAMES_IN_MEMBER:
                top[member].append({"id": game.id, "slug": game.slug, "name": game.name, "added": game.added})
    return top
