"""The README's first command: what it answers is what a plain reader of the sample's pages finds."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_server import RawgServer

CONTROL = ("etl_runs", "etl_table_runs", "high_water_mark", "etl_tables", "data_quality_results")


def starberg(home: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "starberg", "--home", str(home), "--quiet", "--json", *arguments]
    answer = subprocess.run(command, cwd=home.parent, env=os.environ, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def pages(url: str) -> Iterator[dict[str, Any]]:
    page = 1
    while page:
        with urlopen(f"{url}/games?key=sample-key&page_size=40&page={page}") as response:  # loopback
            body = json.load(response)
        yield from body["results"]
        page = page + 1 if body["next"] else 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "lake-home"


@pytest.fixture(scope="module")
def first(home: Path) -> Any:
    return starberg(home, "demo", "games")


@pytest.fixture(scope="module")
def games() -> list[dict[str, Any]]:
    """The games in scope, each once: released from 2015 or undated, on at least 10 users' lists."""
    with RawgServer(Catalogue(seed=7, games=5000)) as server:
        listed = {game["id"]: game for game in pages(server.url)}
    assert len(listed) == 5000
    return [
        game
        for game in listed.values()
        if game["added"] >= 10 and (game["released"] is None or game["released"] >= "2015-01-01")
    ]


def mart(home: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = starberg(home, "query", "--warehouse", "games", f"select * from {name}")
    return rows


def test_every_game_in_scope_is_a_fact(first: Any, games: list[dict[str, Any]]) -> None:
    counts = {row["table"]: row["rows"] for row in first["tables"]}
    assert counts["games.fact_games"] == len(games)
    pairs = sum(len({entry["platform"]["id"] for entry in game["platforms"]}) for game in games)
    assert counts["games.bridge_game_platform"] == pairs
    tags = sum(len({tag["id"] for tag in game["tags"] if tag["language"] == "eng"}) for game in games)
    assert counts["games.bridge_game_tag"] == tags


def test_games_by_genre_and_year(first: Any, home: Path, games: list[dict[str, Any]]) -> None:
    expected: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for game in games:
        for genre in {genre["id"]: genre["name"] for genre in game["genres"]}.values():
            if game["released"]:
                expected[genre, int(game["released"][:4])].append(game)
    rows = {(row["genre"], row["release_year"]): row for row in mart(home, "mart_games_by_genre_year")}
    assert rows.keys() == expected.keys()
    for key, members in expected.items():
        assert rows[key]["games"] == len(members)
        assert rows[key]["added"] == sum(game["added"] for game in members)
        rated = [Fraction(str(game["rating"])) for game in members if game["ratings_count"] > 0]
        average = rows[key]["average_rating"]
        assert average == (pytest.approx(float(sum(rated) / len(rated))) if rated else None)


def test_platform_share_by_year(first: Any, home: Path, games: list[dict[str, Any]]) -> None:
    in_year = Counter(int(game["released"][:4]) for game in games if game["released"])
    on_platform = Counter(
        (name, int(game["released"][:4]))
        for game in games
        if game["released"]
        for name in {entry["platform"]["id"]: entry["platform"]["name"] for entry in game["platforms"]}.values()
    )
    rows = {(row["platform"], row["release_year"]): row for row in mart(home, "mart_platform_share_by_year")}
    named = {key: count for key, count in on_platform.items() if key in rows}
    # A platform that has no endpoint entry is an inferred member: it has a key and no name.
    nameless = [row for row in rows.values() if row["platform"] is None]
    assert sum(row["games"] for row in nameless) == sum(on_platform.values()) - sum(named.values())
    assert {key: row["games"] for key, row in rows.items() if row["platform"] is not None} == named
    for (_, year), row in rows.items():
        assert row["share"] == pytest.approx(row["games"] / in_year[year])


def test_top_rated(first: Any, home: Path, games: list[dict[str, Any]]) -> None:
    expected = sorted(
        (game for game in games if game["ratings_count"] >= 50),
        key=lambda game: (-game["rating"], -game["ratings_count"], game["id"]),
    )
    rows = sorted(mart(home, "mart_top_rated"), key=lambda row: row["place"])
    assert [(row["game_id"], row["rating"]) for row in rows] == [(game["id"], game["rating"]) for game in expected]
    shown = first["answers"]["Which games do players rate highest?"]
    assert [row["name"] for row in shown] == [game["name"] for game in expected[:5]]


def test_a_second_run_writes_nothing_but_its_row(first: Any, home: Path) -> None:
    def files() -> set[str]:
        return {str(path.relative_to(home)) for path in (home / "lake").rglob("*") if path.is_file()}

    before = files()
    assert starberg(home, "demo", "games")["run"]["status"] == "SKIPPED"
    written = {path for path in files() - before if not path.startswith("lake/requests/")}
    assert written
    assert all(path.split("/")[3] in CONTROL for path in written), written


def test_answers_come_from_any_directory(first: Any, home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "starberg", "--home", str(home), "query", "--format", "csv"]
    sql = "select count(*) as games from games.fact_games"
    answer = subprocess.run([*command, sql], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    counts = {row["table"]: row["rows"] for row in first["tables"]}
    assert answer.stdout.split() == ["games", str(counts["games.fact_games"])]
