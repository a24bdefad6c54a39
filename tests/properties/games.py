"""The shipped games warehouse: a small catalogue that changes at random, and what its tables must hold, in Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import cache, partial
from random import Random
from statistics import fmean
from typing import Any

from plain_reading import (
    Member,
    PlainStream,
    Reader,
    Row,
    boolean,
    day,
    dimension,
    integer,
    listed,
    moment,
    real,
    struct,
    words,
)
from worlds import Play, Record, World, maybe, name

URL = "https://api.rawg.io/api"
NAME = "games"

MEMBERS = {"platform": {"name", "slug"}, "store": {"name", "slug", "domain"}, "genre": {"name", "slug"}}
MEMBERS |= {"tag": {"name", "slug", "language"}}

KEYS = {f"bridge_game_{kind}": {f"{kind}_key": f"dim_{kind}"} for kind in MEMBERS} | {
    "fact_games": {"release_date_key": "dim_date", "esrb_rating_key": "dim_esrb_rating"}
}
DIMENSIONS = {f"dim_{kind}": f"{kind}_id" for kind in MEMBERS} | {
    "dim_date": "date",
    "dim_esrb_rating": "esrb_rating_id",
}
GRAINS = {f"bridge_game_{kind}": ["game_id", f"{kind}_id"] for kind in MEMBERS} | {"fact_games": ["game_id"]}
WEIGHTED: dict[str, str] = {}

_COUNTS = ("ratings_count", "reviews_count", "reviews_text_count", "added", "metacritic", "playtime")
_NUMBERS = ("rating_top", *_COUNTS, "suggestions_count")


def world(random: Random) -> World:
    """Return 60 games and their members; games refer to members their own lists do not know."""
    broken: dict[str, list[Any]] = {
        "released": ["2020-02-31"],
        "added": ["many", 1.5],
        "esrb_rating": [{"id": "x"}],
        "updated": ["?"],
    }
    keys = {"platform": 8, "store": 5, "genre": 9, "tag": 20}
    members = {
        f"{kind}s": Play(["id"], [(n,) for n in range(1, most)], most // 2, partial(_new_member, kind), {})
        for kind, most in keys.items()
    }
    games = Play(["id"], [(n,) for n in range(1, 90)], 60, _new_game, broken, touched=("updated",), weight=12)
    details = Play(["id"], games.keys, 40, _new_details, {"platforms": ["none"]}, weight=4, most_broken=2)
    return World(random, {**members, "games": games, "game_details": details})


def _new_member(kind: str, random: Random) -> Record:
    return {column: name(random) for column in sorted(MEMBERS[kind] - {"language"})}


def _language(tag: int) -> str:
    """Tags come in two languages; which one, their number says for good."""
    return "eng" if tag % 3 else "rus"


def _new_game(random: Random) -> Record:
    def some(kind: str, most: int) -> Any:
        found = [
            {kind: {"id": random.randrange(1, most), "name": "?", "slug": "?"}} for _ in range(random.randrange(4))
        ]
        return maybe(random, found, 0.1)

    tags = [{"id": n, "name": "t", "slug": "t", "language": _language(n)} for n in random.sample(range(1, 25), 4)]
    rating = {"id": random.randrange(1, 6), "name": random.choice(["E", "T", None]), "slug": "x"}
    return {
        "slug": name(random),
        "name": name(random),
        "released": maybe(random, random.choice(["2015-01-01", "2016-02-29", "2020-06-01", "2101-01-01"])),
        "tba": random.choice([True, False, None]),
        "updated": "",
        "rating": random.choice([0.0, 3.25, 4.41, 5]),
        "rating_top": random.randrange(6),
        **{column: maybe(random, random.choice([0, 1, 49, 50, 100]), 0.05) for column in _COUNTS},
        "suggestions_count": random.randrange(900),
        "esrb_rating": maybe(random, rating, 0.3),
        "platforms": some("platform", 10),
        "stores": some("store", 7),
        "genres": maybe(random, [{"id": random.randrange(1, 11)} for _ in range(random.randrange(4))]),
        "tags": maybe(random, tags),
    }


def _new_details(random: Random) -> Record:
    entries = [
        {
            "platform": {"id": random.randrange(1, 10)},
            "released_at": maybe(random, "2020-06-01"),
            "requirements_en": maybe(random, {"minimum": name(random)}),
        }
        for _ in range(random.randrange(5))
    ]
    return {"platforms": entries}


def plain_streams() -> dict[str, PlainStream]:
    """Return the streams, with the types warehouse.yml declares."""
    member = struct(id=integer(64), name=words, slug=words)
    columns: dict[str, Reader] = {
        "id": integer(64),
        "slug": words,
        "name": words,
        "released": day,
        "tba": boolean,
        "updated": moment,
        "rating": real,
        **dict.fromkeys(_NUMBERS, integer()),
        "esrb_rating": member,
        "platforms": listed(struct(platform=member)),
        "stores": listed(struct(store=member)),
        "genres": listed(member),
        "tags": _english(listed(struct(id=integer(64), name=words, slug=words, language=words))),
    }
    entry = struct(platform=struct(id=integer(64)), released_at=day, requirements_en=lambda value: value)
    kinds = {
        f"{kind}s": PlainStream(["id"], {"id": integer(64), **dict.fromkeys(attributes, words)})
        for kind, attributes in MEMBERS.items()
    }
    games = PlainStream(["id"], columns, cursor="updated")
    return kinds | {
        "games": games,
        "game_details": PlainStream(["id"], {"id": integer(64), "platforms": listed(entry)}),
    }


def _english(read: Reader) -> Reader:
    return lambda value: [tag for tag in read(value) if tag["language"] == "eng"]


def plain_tables(streams: Mapping[str, PlainStream]) -> dict[str, list[Row]]:
    """Return every table's rows; surrogate keys are replaced by natural keys, dates by themselves."""
    games = [_game(member) for member in streams["games"].members.values()]
    live = [game for game in games if game["_deleted_at"] is None]
    tables = {"stg_games": games, "stg_game_details": [_details(m) for m in streams["game_details"].members.values()]}
    for kind in MEMBERS:
        staged = [_member(member, kind) for member in streams[f"{kind}s"].members.values()]
        pairs = [(game["game_id"], number) for game in live for number in game[f"{kind}_ids"]]
        tables[f"stg_{kind}s"] = staged
        tables[f"dim_{kind}"] = _dimension(kind, staged, {number for _, number in pairs})
        tables[f"bridge_game_{kind}"] = [
            {"game_id": game, f"{kind}_id": number, f"{kind}_key": number} for game, number in pairs
        ]
    _add_details(tables["bridge_game_platform"], streams["game_details"])
    nothing = {"esrb_rating_id": None, "name": "Unknown", "slug": "Unknown"}
    tables["dim_esrb_rating"] = dimension("esrb_rating_id", nothing, _ratings(live), _ratings(games), [])
    tables["dim_date"] = list(_days(frozenset(game["released_on"].year for game in games if game["released_on"])))
    tables["fact_games"] = [_fact(game) for game in games]
    dated = {game["game_id"]: game for game in live if game["released_on"]}
    tables["mart_games_by_genre_year"] = _by_genre_year(dated, tables)
    tables["mart_platform_share_by_year"] = _platform_shares(dated, tables)
    tables["mart_top_rated"] = _top_rated(live, tables)
    return tables


def _game(member: Member) -> Row:
    row, rating = member.row, member.row["esrb_rating"] or dict.fromkeys(("id", "name", "slug"))
    ids = {kind: [e[kind]["id"] for e in row[f"{kind}s"] or []] for kind in ("platform", "store")}
    ids |= {kind: [e["id"] for e in row[f"{kind}s"] or []] for kind in ("genre", "tag")}
    return {
        "game_id": row["id"],
        "slug": row["slug"],
        "name": row["name"] and row["name"].strip(" "),
        "released_on": row["released"],
        "tba": row["tba"] or False,
        "updated_at": row["updated"],
        "rating": row["rating"],
        **{column: row[column] for column in _NUMBERS},
        **{f"esrb_rating_{column}": rating[column] for column in ("id", "name", "slug")},
        **{f"{kind}_ids": sorted(set(numbers)) for kind, numbers in ids.items()},
        "_deleted_at": member.deleted_at,
    }


def _details(member: Member) -> Row:
    """Lists of structs are compared as JSON; requirements are JSON text in them."""
    entries = [
        e | {"requirements_en": _compact(e["requirements_en"]) if e["requirements_en"] is not None else None}
        for e in member.row["platforms"] or []
    ]
    listed_entries = None if member.row["platforms"] is None else entries
    return {"game_id": member.row["id"], "platforms": listed_entries, "_deleted_at": member.deleted_at}


def _member(member: Member, kind: str) -> Row:
    row = {column: member.row[column] for column in MEMBERS[kind]} | {f"{kind}_id": member.row["id"]}
    if kind == "store" and row["domain"]:
        row["domain"] = row["domain"].lower()
    return row | {"name": row["name"] and row["name"].strip(" "), "_deleted_at": member.deleted_at}


def _dimension(kind: str, staged: list[Row], referenced: set[int]) -> list[Row]:
    bare = [{column: value for column, value in row.items() if column != "_deleted_at"} for row in staged]
    live = [row for row, whole in zip(bare, staged, strict=True) if whole["_deleted_at"] is None]
    unknown = {f"{kind}_id": None, **dict.fromkeys(MEMBERS[kind], "Unknown")}
    return dimension(f"{kind}_id", unknown, live, bare, referenced)


def _add_details(pairs: list[Row], details: PlainStream) -> None:
    found: dict[tuple[int, int], list[Row]] = {}
    for row in details.live():
        for entry in row["platforms"] or []:
            found.setdefault((row["id"], entry["platform"]["id"]), []).append(entry)
    for pair in pairs:
        entries = found.get((pair["game_id"], pair["platform_id"]), [])
        pair["released_at"] = max((e["released_at"] for e in entries if e["released_at"]), default=None)
        pair["requirements"] = max((_compact(e["requirements_en"] or {}) for e in entries), default=None)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _ratings(games: Iterable[Row]) -> list[Row]:
    found: dict[int, dict[str, list[str]]] = {}
    for game in games:
        if game["esrb_rating_id"] is not None:
            said = found.setdefault(game["esrb_rating_id"], {"name": [], "slug": []})
            for column in ("name", "slug"):
                said[column] += [game[f"esrb_rating_{column}"]] if game[f"esrb_rating_{column}"] else []
    return [
        {"esrb_rating_id": number, **{column: max(values, default=None) for column, values in said.items()}}
        for number, said in found.items()
    ]


@cache
def _days(used: frozenset[int]) -> tuple[Row, ...]:
    rows = []
    for year in used | set(range(1900, 2100)):
        first = date(year, 1, 1)
        for n in range((date(year, 12, 31) - first).days + 1):
            d = first + timedelta(n)
            rows.append(
                {
                    "date": d,
                    "year": d.year,
                    "quarter": (d.month + 2) // 3,
                    "month": d.month,
                    "month_name": d.strftime("%B"),
                    "iso_week": d.isocalendar().week,
                    "day": d.day,
                    "day_of_week": d.isoweekday(),
                    "is_weekend": d.isoweekday() >= 6,
                }
            )
    unknown = dict.fromkeys(rows[0]) | {"month_name": "Unknown"}
    return tuple(row | {"is_deleted": False, "is_inferred": False} for row in [*rows, unknown])


def _fact(game: Row) -> Row:
    kept = ("game_id", "slug", "name", "released_on", "tba", "esrb_rating_id", "rating", *_NUMBERS, "updated_at")
    return {column: game[column] for column in kept} | {
        **{f"{kind}_count": len(game[f"{kind}_ids"]) for kind in MEMBERS},
        "release_date_key": game["released_on"],
        "esrb_rating_key": game["esrb_rating_id"],
        "is_deleted": game["_deleted_at"] is not None,
        "deleted_at": game["_deleted_at"],
    }


def _by_genre_year(dated: Mapping[int, Row], tables: Mapping[str, list[Row]]) -> list[Row]:
    called = {genre["genre_id"]: genre["name"] for genre in tables["dim_genre"]}
    groups: dict[tuple[int, int], list[Row]] = {}
    for pair in tables["bridge_game_genre"]:
        if game := dated.get(pair["game_id"]):
            groups.setdefault((pair["genre_id"], game["released_on"].year), []).append(game)
    return [
        {
            "genre_id": genre,
            "genre": called[genre],
            "release_year": year,
            "games": len(found),
            "added": _total(game["added"] for game in found),
            "average_rating": _average(round(g["rating"], 2) for g in found if g["ratings_count"]),
            "average_metacritic": _average(g["metacritic"] for g in found if g["metacritic"] is not None),
        }
        for (genre, year), found in groups.items()
    ]


def _total(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _average(numbers: Iterable[float]) -> float | None:
    known = list(numbers)
    return fmean(known) if known else None


def _platform_shares(dated: Mapping[int, Row], tables: Mapping[str, list[Row]]) -> list[Row]:
    called = {platform["platform_id"]: platform["name"] for platform in tables["dim_platform"]}
    years = Counter(game["released_on"].year for game in dated.values())
    shared = Counter(
        (pair["platform_id"], dated[pair["game_id"]]["released_on"].year)
        for pair in tables["bridge_game_platform"]
        if pair["game_id"] in dated
    )
    return [
        {"platform_id": platform, "platform": called[platform], "release_year": year}
        | {"games_in_year": years[year], "games": number, "share": number / years[year]}
        for (platform, year), number in shared.items()
    ]


def _top_rated(live: list[Row], tables: Mapping[str, list[Row]]) -> list[Row]:
    called = {rating["esrb_rating_id"]: rating["name"] for rating in tables["dim_esrb_rating"]}
    rated = [game for game in live if (game["ratings_count"] or 0) >= 50]
    rated.sort(key=lambda game: (-game["rating"], -game["ratings_count"], game["game_id"]))
    kept = ("game_id", "name", "released_on", "rating", "ratings_count", "metacritic")
    return [
        {"place": place, "esrb_rating": called[game["esrb_rating_id"]], **{column: game[column] for column in kept}}
        for place, game in enumerate(rated, 1)
    ]
