"""The films warehouse: a world that changes at random, and what its tables must hold, in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from plain_reading import (
    PlainStream,
    Row,
    day,
    decimal,
    dimension,
    integer,
    listed,
    moment,
    struct,
    words,
)
from worlds import Play, Record, World, maybe, name

URL = "memory:films"
NAME = "films"

KEYS = {
    "fact_films": {"released_key": "dim_date", "rating_key": "dim_rating"},
    "fact_reviews": {"written_key": "dim_date", "genre_key": "dim_genre", "other_genre_key": "dim_genre"},
    "bridge_film_genre": {"genre_key": "dim_genre"},
}
"""Columns that hold surrogate keys, by table, with the dimension they look up."""

DIMENSIONS = {"dim_date": "date", "dim_genre": "genre_id", "dim_rating": "rating_id"}
"""Natural key of each dimension."""

GRAINS = {
    "fact_films": ["film_id"],
    "fact_reviews": ["film_id", "reader"],
    "bridge_film_genre": ["film_id", "genre_id"],
}
WEIGHTED = {"bridge_film_genre": "film_id"}
"""Bridges with weights, and what they sum to 1 over."""


def world(random: Random) -> World:
    """Return a small world; films and reviews refer to genres that their own list does not know."""
    plays = {
        "films": Play(
            ["id"], [(n,) for n in range(1, 50)], 30, _new_film, _BROKEN_FILM, _respelled_film, _TOUCHED, 6, 12
        ),
        "genres": Play(["id"], [(n,) for n in range(1, 20)], 5, _new_member, {}, weight=3),
        "reviews": Play(["film", "reader"], _REVIEW_KEYS, 20, _new_review, _BROKEN_REVIEW, weight=4, quiet=11),
    }
    return World(random, plays)


_REVIEW_KEYS = [(film, reader) for film in range(1, 12) for reader in ("ann", " ann", "Ann", "zoë", "o'neil")]
_TOUCHED = ("updated", "views")
_BROKEN_FILM: Mapping[str, Any] = {
    "released": ["soon", "2020-02-31"],
    "votes": ["many", 1.5, 99_999_999_999],
    "score": ["9.999", "x", 123456],
    "rating": [{"id": "x"}, "adult"],
    "genres": [[{"id": "x"}], "none"],
    "platforms": [["x"], [1.5]],
    "updated": ["yesterday"],
}
_BROKEN_REVIEW: Mapping[str, Any] = {"paid": ["a lot"], "written": ["last week"], "stars": ["five"]}


def _new_member(random: Random) -> Record:
    return {"name": name(random), "slug": name(random)}


def _new_film(random: Random) -> Record:
    return {
        "slug": name(random),
        "name": name(random),
        "released": maybe(
            random, random.choice(["2019-12-31", "2020-02-29", "2020-06-01", "2021-01-01", "1899-05-05"])
        ),
        "updated": "",
        "score": maybe(random, random.choice(["0.00", "12.50", 7, 7.25, "-1.10"])),
        "votes": maybe(random, random.choice([0, 1, 50, 2_000_000])),
        "views": random.randrange(1000),
        "rating": maybe(random, {"id": random.randrange(1, 5), "name": random.choice(["E", "T", "M", None])}),
        "genres": maybe(random, [{"id": maybe(random, _some_genre(random))} for _ in range(random.randrange(5))]),
        "platforms": maybe(random, [maybe(random, random.randrange(1, 9)) for _ in range(random.randrange(4))]),
    }


def _some_genre(random: Random) -> int:
    """Most refer to few genres; some to one that nobody else knows, so that it comes and goes with its reference."""
    return random.randrange(1, 12) if random.random() < 0.96 else random.randrange(50, 80)


def _new_review(random: Random) -> Record:
    written = ["2020-01-31T23:30:00-02:00", "2020-02-01T01:30:00Z", "2021-12-31T23:59:59.999999", "2020-06-15"]
    return {
        "stars": maybe(random, random.randrange(1, 4)),
        "paid": maybe(random, random.choice(["1.50", 2, "0.01", "99999.99"])),
        "genre": maybe(random, _some_genre(random)),
        "other_genre": maybe(random, random.randrange(1, 20)),
        "written": maybe(random, random.choice(written)),
    }


def _respelled_film(random: Random, film: Record) -> Record:
    """The same film: numbers as texts, columns nobody declared, another order of columns, nulls left out."""
    spelled = {column: value for column, value in film.items() if value is not None} | {"undeclared": random.random()}
    for column in ("votes", "views"):
        if isinstance(spelled.get(column), int):
            spelled[column] = str(spelled[column])
    return dict(sorted(spelled.items()))


def plain_streams() -> dict[str, PlainStream]:
    """Return the three streams, with the types warehouse.yml declares."""
    member = {"id": integer(64), "name": words, "slug": words}
    film = {
        "id": integer(64),
        "slug": words,
        "name": words,
        "released": day,
        "updated": moment,
        "score": decimal(6, 2),
        "votes": integer(),
        "views": integer(),
        "rating": struct(id=integer(64), name=words),
        "genres": listed(struct(id=integer(64))),
        "platforms": listed(integer(64)),
    }
    review = {
        "film": integer(64),
        "reader": words,
        "stars": integer(),
        "paid": decimal(8, 2),
        "genre": integer(64),
        "other_genre": integer(64),
        "written": moment,
    }
    return {
        "films": PlainStream(["id"], film, cursor="updated", volatile=["views"]),
        "genres": PlainStream(["id"], member),
        "reviews": PlainStream(["film", "reader"], review),
    }


def plain_tables(streams: Mapping[str, PlainStream]) -> dict[str, list[Row]]:
    """Return every table's rows; surrogate keys are replaced by natural keys, dates by themselves."""
    staged = {name: _staged(name, stream) for name, stream in streams.items()}
    films, live_films = _split(staged["films"])
    _, reviews = _split(staged["reviews"])
    genre_pairs = [(f["film_id"], g) for f in live_films for g in f["genre_ids"] or []]
    tables = {
        "stg_films": staged["films"],
        "stg_genres": staged["genres"],
        "stg_reviews": staged["reviews"],
        "dim_date": _dates(films, reviews),
        "dim_genre": _genres(staged["genres"], {g for _, g in genre_pairs} | {r["genre_id"] for r in reviews}),
        "dim_rating": dimension("rating_id", _RATING, _ratings(live_films), _ratings(films), []),
        "bridge_film_genre": _pairs(genre_pairs),
        "fact_films": [_film_fact(film) for film in films],
    }
    genres = {row["genre_id"] for row in tables["dim_genre"]}
    tables["fact_reviews"] = [_review_fact(review, genres) for review in reviews]
    tables["mart_genre_years"] = _genre_years(tables)
    tables["mart_genre_takings"] = _genre_takings(tables)
    return tables


_RATING = {"rating_id": None, "name": "Unknown"}


def _staged(name: str, stream: PlainStream) -> list[Row]:
    shape: Callable[[Row], Row] = {
        "films": _film,
        "genres": _genre,
        "reviews": _review,
    }[name]
    return [shape(member.row) | {"_deleted_at": member.deleted_at} for member in stream.members.values()]


def _split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Return all rows, and the live ones."""
    return rows, [row for row in rows if row["_deleted_at"] is None]


def _trim(name: str | None) -> str | None:
    return None if name is None else name.strip(" ")


def _distinct(ids: list[int | None] | None) -> list[int] | None:
    return None if ids is None else sorted({n for n in ids if n is not None})


def _film(row: Row) -> Row:
    rating = row["rating"] or {"id": None, "name": None}
    genres = None if row["genres"] is None else [g and g["id"] for g in row["genres"]]
    return {
        "film_id": row["id"],
        "slug": row["slug"],
        "name": _trim(row["name"]),
        "released": row["released"],
        "updated_at": row["updated"],
        "score": row["score"],
        "votes": row["votes"],
        "views": row["views"],
        "rating_id": rating["id"],
        "rating_name": rating["name"],
        "genre_ids": _distinct(genres),
        "platform_ids": _distinct(row["platforms"]),
    }


def _genre(row: Row) -> Row:
    return {"genre_id": row["id"], "name": _trim(row["name"]), "slug": row["slug"]}


def _review(row: Row) -> Row:
    return {
        "film_id": row["film"],
        "reader": row["reader"],
        "stars": row["stars"],
        "paid": row["paid"],
        "genre_id": row["genre"],
        "other_genre_id": row["other_genre"],
        "written_at": row["written"],
    }


def _genres(staged: list[Row], referenced: set[Any]) -> list[Row]:
    bare = [{name: value for name, value in row.items() if name != "_deleted_at"} for row in staged]
    live = [row for row, whole in zip(bare, staged, strict=True) if whole["_deleted_at"] is None]
    return dimension("genre_id", {"genre_id": None, "name": "Unknown", "slug": "Unknown"}, live, bare, referenced)


def _ratings(films: list[Row]) -> list[Row]:
    named: dict[int, list[str]] = {}
    for film in films:
        if film["rating_id"] is not None:
            named.setdefault(film["rating_id"], []).extend([film["rating_name"]] if film["rating_name"] else [])
    return [{"rating_id": number, "name": max(found, default=None)} for number, found in named.items()]


def _dates(films: list[Row], reviews: list[Row]) -> list[Row]:
    used = {f["released"] for f in films} | {r["written_at"] and r["written_at"].date() for r in reviews}
    years = {2020} | {d.year for d in used - {None}}
    rows: list[Row] = []
    for year in years:
        first = date(year, 1, 1)
        days = [first + timedelta(n) for n in range((date(year, 12, 31) - first).days + 1)]
        rows += [{"date": d, "year": d.year, "month": d.month} for d in days]
    unknown: Row = {"date": None, "year": None, "month": None}
    return [row | {"is_deleted": False, "is_inferred": False} for row in [*rows, unknown]]


def _pairs(pairs: list[tuple[int, int]]) -> list[Row]:
    sizes = Counter(film for film, _ in pairs)
    return [
        {"film_id": film, "genre_id": genre, "genre_key": genre, "weight": 1 / sizes[film]} for film, genre in pairs
    ]


def _film_fact(film: Row) -> Row:
    kept = ("film_id", "slug", "name", "released", "rating_id", "score", "votes", "views", "updated_at")
    known = film["score"] is not None and film["votes"] is not None
    return {name: film[name] for name in kept} | {
        "released_key": film["released"],
        "rating_key": film["rating_id"],
        "points": film["score"] * film["votes"] if known else None,
        "genre_count": len(film["genre_ids"] or []),
        "is_deleted": film["_deleted_at"] is not None,
        "deleted_at": film["_deleted_at"],
    }


def _review_fact(review: Row, genres: set[int]) -> Row:
    written: datetime | None = review["written_at"]
    return {name: value for name, value in review.items() if name != "_deleted_at"} | {
        "written_on": written and written.date(),
        "written_key": written and written.date(),
        "genre_key": review["genre_id"],
        "other_genre_key": review["other_genre_id"] if review["other_genre_id"] in genres else None,
    }


def _genre_years(tables: Mapping[str, list[Row]]) -> list[Row]:
    films = {f["film_id"]: f for f in tables["fact_films"] if f["released"] and not f["is_deleted"]}
    called = {g["genre_id"]: g["name"] for g in tables["dim_genre"]}
    groups: dict[tuple[int, int], list[Row]] = {}
    for pair in tables["bridge_film_genre"]:
        if film := films.get(pair["film_id"]):
            groups.setdefault((pair["genre_id"], film["released"].year), []).append(film)
    rows = []
    for (genre, year), found in groups.items():
        votes = [f["votes"] for f in found if f["votes"] is not None]
        scores = [f["score"] for f in found if f["score"] is not None]
        row = {"genre_id": genre, "genre": called[genre], "release_year": year, "films": len(found)}
        rows.append(row | {"votes": sum(votes) if votes else None, "best_score": max(scores, default=None)})
    return rows


def _genre_takings(tables: Mapping[str, list[Row]]) -> list[Row]:
    called = {g["genre_id"]: g["name"] for g in tables["dim_genre"]}
    groups: dict[tuple[str | None, int | None], list[Decimal | None]] = {}
    for review in tables["fact_reviews"]:
        groups.setdefault((called[review["genre_id"]], review["stars"]), []).append(review["paid"])
    return [
        {"genre": name, "stars": stars, "reviews": len(paid), "paid": _sum(paid)}
        for (name, stars), paid in groups.items()
    ]


def _sum(amounts: list[Decimal | None]) -> Decimal | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal()) if known else None
