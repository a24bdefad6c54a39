"""The source changes: the next run asks for what was updated, and writes the rows that differ and no others.

The shipped games warehouse reads the sample server as it would read RAWG; what its tables must hold is read plainly
from the server's own pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.request import urlopen

import pytest
from servers import FakeClock

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_server import LogLine, RawgServer
from starberg.utils.settings import Settings

KINDS = ("platform", "store", "genre", "tag")
GRAINS = {"stg_games": ["game_id"], "fact_games": ["game_id"]}
GRAINS |= {f"bridge_game_{kind}": ["game_id", f"{kind}_id"] for kind in KINDS}
Key = tuple[int, ...]
Game = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What one table held at one time: each row by its key, the data file it stands in, the share deleted of those."""

    rows: dict[Key, tuple[Any, ...]]
    files: dict[Key, str]
    deleted_share: float


@dataclass(frozen=True)
class Moment:
    """The lake's tables, and the games in scope as the server's pages told them, after one run; what the run asked."""

    tables: dict[str, Look]
    games: dict[int, Game]
    asked: list[LogLine]

    def pairs(self, kind: str) -> set[Key]:
        """Return the pairs of a bridge as the source has them."""
        return {(key, member) for key, game in self.games.items() for member in members(game, kind)}


@dataclass(frozen=True)
class Update:
    """A catalogue of 600 games of which 100 changed, 50 came and 5 went, before and after; and the next sweep."""

    lake: Lake
    before: Moment
    after: Moment
    swept: Moment
    removed: set[int]
    """Those that were in the lake."""
    changed: set[int]
    """Those in scope, new ones among them."""


@pytest.fixture(scope="module")
def update(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Update]:
    catalogue, home = Catalogue(seed=7, games=600), tmp_path_factory.mktemp("update")
    clock = FakeClock(catalogue.clock + timedelta(hours=1))
    (home / "starberg.toml").write_text("threads = 1\n")
    with RawgServer(catalogue) as server:
        known = {"RAWG_URL": server.url, "RAWG_API_KEY": "sample-key", "GAMES_REQUESTS_PER_SECOND": "1000"}
        lake = open_lake(Settings.load(home, {}, {}), clock=clock, environment=known)
        before = run(lake, server)
        changed = {*catalogue.change(100), *catalogue.add(50)}
        removed = set(catalogue.remove(5))
        clock.sleep(3600)
        after = run(lake, server)
        clock.sleep(timedelta(days=7).total_seconds())
        swept = run(lake, server)
        yield Update(lake, before, after, swept, removed & before.games.keys(), changed & after.games.keys())


def run(lake: Lake, server: RawgServer) -> Moment:
    already = len(server.log)
    lake.run("games")
    asked = server.log[already:]
    return Moment({table: look(lake, table) for table in GRAINS}, dict(in_scope(server.url)), asked)


def look(lake: Lake, table: str) -> Look:
    [facts] = [facts for facts in lake.tables("games") if facts["table"] == f"games.{table}"]
    engine = lake.open_engine()
    scan = engine.scan(lake.catalog.state().tables[f"games.{table}"])
    kept = "* EXCLUDE (filename, file_row_number, _run_id)"
    found = engine.rows(f"SELECT [{', '.join(GRAINS[table])}], filename, {kept} FROM {scan}")
    engine.close()
    rows = {tuple(key): tuple(map(repr, row)) for key, _, *row in found}
    assert len(rows) == len(found)
    return Look(rows, {tuple(key): file for key, file, *_ in found}, facts["delete_ratio"])


def in_scope(url: str) -> Iterator[tuple[int, Game]]:
    """Read the list plainly; yield the games released from 2015 or undated, on at least 10 users' lists."""
    page = 1
    while page:
        with urlopen(f"{url}/games?key=sample-key&page_size=40&page={page}") as response:  # loopback
            body = json.load(response)
        for game in body["results"]:
            if game["added"] >= 10 and (game["released"] or "2015") >= "2015":
                yield game["id"], game
        page = page + 1 if body["next"] else 0


def members(game: Game, kind: str) -> set[int]:
    entries = game[f"{kind}s"]
    if kind == "tag":
        return {entry["id"] for entry in entries if entry["language"] == "eng"}
    return {(entry if kind == "genre" else entry[kind])["id"] for entry in entries}


def test_the_update_is_worth_the_name(update: Update) -> None:
    platforms = update.before.pairs("platform")
    assert platforms - update.after.pairs("platform")
    assert update.after.pairs("platform") - platforms
    assert len(update.changed) > 50
    assert update.removed


def test_the_next_run_asks_for_the_updated_window_only(update: Update) -> None:
    newest = max(game["updated"] for game in update.before.games.values())[:10]
    pages = -(-155 // 40)
    assert 0 < len(update.after.asked) <= pages
    for method, path, parameters in update.after.asked:
        assert (method, path) == ("GET", "/games")
        assert parameters["updated"].split(",")[0] == newest


@pytest.mark.parametrize("table", GRAINS)
def test_rows_that_did_not_change_stay_in_their_files(update: Update, table: str) -> None:
    before, after = update.before.tables[table], update.after.tables[table]
    same = {key for key, row in after.rows.items() if before.rows.get(key) == row}
    assert len(same) > 100
    assert {key: after.files[key] for key in same} == {key: before.files[key] for key in same}
    assert after.rows.keys() - same == {key for key, file in after.files.items() if file not in before.files.values()}
    assert bool(after.deleted_share) == bool(before.rows.keys() - same)


@pytest.mark.parametrize("kind", KINDS)
def test_bridges_have_the_pairs_of_the_source(update: Update, kind: str) -> None:
    table, gone = f"bridge_game_{kind}", update.before.pairs(kind)
    unswept = {pair for pair in gone if pair[0] in update.removed}
    assert update.before.tables[table].rows.keys() == gone
    assert update.after.tables[table].rows.keys() == update.after.pairs(kind) | unswept
    assert update.swept.tables[table].rows.keys() == update.swept.pairs(kind)


def test_facts_of_what_changed_and_of_nothing_else_change(update: Update) -> None:
    before, after = update.before.tables["fact_games"].rows, update.after.tables["fact_games"].rows
    assert {key for (key,), row in after.items() if before.get((key,)) != row} == update.changed


def test_the_sweep_finds_what_was_removed(update: Update) -> None:
    sql = "select game_id from fact_games where is_deleted and deleted_at is not null"
    assert {row[0] for row in update.lake.query(sql, warehouse="games").rows} == update.removed


def test_verify_says_equal(update: Update) -> None:
    assert update.lake.verify("games").equal
