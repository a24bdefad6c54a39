"""The sample catalogue: the same for the same seed, of realistic proportions, and its mutations do what they say."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from starberg.samples.rawg_catalogue import ORDERINGS, Catalogue
from starberg.samples.rawg_vocabulary import MEMBERS
from starberg.utils.errors import UsageError

DIGEST = """
import hashlib, json
from starberg.samples.rawg_catalogue import Catalogue
catalogue = Catalogue(seed=3, games=200)
catalogue.change(20), catalogue.add(5), catalogue.remove(5), catalogue.touch(3), catalogue.set_back(2)
print(hashlib.sha256(json.dumps(catalogue.games()).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def default_games():
    return Catalogue().games()


@pytest.fixture
def catalogue():
    return Catalogue(games=120)


def by_id(catalogue):
    return {game["id"]: game for game in catalogue.games()}


def content(game):
    """A game without what moves by itself: its stamp and the counts of its members."""
    return json.loads(
        json.dumps({key: value for key, value in game.items() if key != "updated"}),
        object_hook=lambda row: {key: value for key, value in row.items() if key != "games_count"},
    )


def test_same_seed_and_mutations_give_the_same_bytes_in_any_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == hashlib.sha256().digest_size * 2


def test_another_seed_gives_another_catalogue():
    assert Catalogue(seed=1, games=20).games() != Catalogue(seed=2, games=20).games()


def test_most_games_of_the_default_catalogue_are_in_the_warehouse_s_scope(default_games):
    in_scope = [
        game
        for game in default_games
        if (game["released"] and game["released"] >= "2015") or (not game["released"] and game["added"] >= 10)
    ]
    assert len(default_games) == 5000
    assert 4600 <= len(in_scope) < 5000


def test_proportions_are_realistic(default_games):
    undated = [game for game in default_games if game["released"] is None]
    dates = sorted(game["released"] for game in default_games if game["released"])
    assert {game["tba"] for game in undated} == {True, False}
    assert 0.02 < len(undated) / 5000 < 0.08
    assert "1980" <= dates[0] < "1990"
    assert "2027" < dates[-1] < "2028"
    assert 0.85 < sum(game["metacritic"] is None for game in default_games) / 5000 < 0.97
    assert sum(game["ratings_count"] >= 50 for game in default_games) > 300
    assert min(game["added"] for game in default_games) == 0
    assert max(game["added"] for game in default_games) > 5000
    assert any(game["esrb_rating"] is None for game in default_games)


def test_many_games_share_an_updated_stamp_before_the_clock(default_games):
    stamps = [game["updated"] for game in default_games]
    assert len(set(stamps)) < len(stamps) / 2
    assert max(stamps) < "2026-11-01T00:00:00"


def test_slugs_and_ids_are_unique_although_titles_repeat(default_games):
    assert len({game["slug"] for game in default_games}) == len({game["id"] for game in default_games}) == 5000
    assert len({game["name"] for game in default_games}) < 5000


def test_some_platform_and_tag_appear_only_in_games(default_games):
    platforms = {entry["platform"]["id"] for game in default_games for entry in game["platforms"]}
    tags = {tag["id"] for game in default_games for tag in game["tags"]}
    assert any(not MEMBERS["platforms"][platform].listed for platform in platforms)
    assert any(not MEMBERS["tags"][tag].listed for tag in tags)


def test_games_count_is_the_number_of_games_of_a_member(catalogue):
    catalogue.change(30)
    catalogue.remove(20)
    games = catalogue.games()
    told = {tag["id"]: tag["games_count"] for game in games for tag in game["tags"]}
    told_platforms = {e["platform"]["id"]: e["platform"]["games_count"] for g in games for e in g["platforms"]}
    assert told == {tag: sum(tag in [t["id"] for t in game["tags"]] for game in games) for tag in told}
    assert told_platforms == {
        platform: sum(platform in [e["platform"]["id"] for e in game["platforms"]] for game in games)
        for platform in told_platforms
    }


def test_change_changes_votes_of_all_and_platforms_of_a_third(catalogue):
    before = by_id(catalogue)
    changed = catalogue.change(30)
    after = by_id(catalogue)
    assert len(changed) == 30
    assert changed == sorted(changed)
    assert {game for game in after if content(after[game]) != content(before[game])} == set(changed)
    assert {game for game in after if after[game]["updated"] > before[game]["updated"]} == set(changed)
    assert all(after[game]["ratings_count"] > before[game]["ratings_count"] for game in changed)
    assert any(after[game]["name"] != before[game]["name"] for game in changed)

    def platforms(game):
        return {entry["platform"]["id"] for entry in game["platforms"]}

    assert sum(platforms(after[game]) != platforms(before[game]) for game in changed) >= 10


def test_change_leaves_platforms_alone_if_told(catalogue):
    before = by_id(catalogue)
    catalogue.change(30, platforms=False)
    after = by_id(catalogue)
    assert all(
        [entry["platform"]["id"] for entry in after[game]["platforms"]]
        == [entry["platform"]["id"] for entry in before[game]["platforms"]]
        for game in before
    )


def test_touch_changes_nothing_but_updated(catalogue):
    before = by_id(catalogue)
    touched = catalogue.touch(10)
    after = by_id(catalogue)
    assert {game for game in after if after[game]["updated"] != before[game]["updated"]} == set(touched)
    assert all(content(after[game]) == content(before[game]) for game in after)


def test_set_back_changes_content_under_an_older_stamp(catalogue):
    catalogue.touch(120)
    before = by_id(catalogue)
    restored = catalogue.set_back(5)
    after = by_id(catalogue)
    assert all(after[game]["updated"] < before[game]["updated"] for game in restored)
    assert all(content(after[game]) != content(before[game]) for game in restored)


def test_add_brings_new_ids_in_scope(catalogue):
    before = by_id(catalogue)
    added = catalogue.add(12)
    after = by_id(catalogue)
    assert set(after) - set(before) == set(added)
    assert min(added) > max(before)
    assert all(after[game]["added"] >= 10 for game in added)
    assert all(after[game]["released"] is None or after[game]["released"].startswith("2026") for game in added)


def test_remove_takes_games_away_and_never_gives_their_ids_again(catalogue):
    removed = catalogue.remove(10)
    added = catalogue.add(10)
    assert not set(removed) & set(by_id(catalogue))
    assert not set(removed) & set(added)
    assert all(catalogue.game(game) is None for game in removed)


def test_merge_moves_the_slug_and_touches_the_other(catalogue):
    gone, kept = catalogue.games()[:2]
    assert catalogue.merge(gone["id"], into=kept["id"]) == sorted([gone["id"], kept["id"]])
    assert catalogue.moved_to(gone["slug"]) == kept["slug"]
    assert catalogue.game(gone["slug"]) is None
    assert by_id(catalogue)[kept["id"]]["updated"] > kept["updated"]


def test_merge_of_unknown_or_same_games_is_refused(catalogue):
    game = catalogue.games()[0]["id"]
    for gone, kept in ((game, game), (game, 1), (1, game)):
        with pytest.raises(UsageError, match="cannot merge"):
            catalogue.merge(gone, into=kept)


def test_mutating_more_games_than_there_are_is_refused(catalogue):
    with pytest.raises(UsageError, match="has 120 games, 121 were asked"):
        catalogue.touch(121)


def test_each_mutation_moves_the_clock_and_stamps_with_it(catalogue):
    clocks = [catalogue.clock]
    for mutate in (catalogue.change, catalogue.add, catalogue.touch, catalogue.remove):
        ids = mutate(3)
        clocks.append(catalogue.clock)
        if mutate != catalogue.remove:
            stamps = {by_id(catalogue)[game]["updated"] for game in ids}
            assert stamps == {catalogue.clock.strftime("%Y-%m-%dT%H:%M:%S")}
    assert clocks == sorted(set(clocks))
    assert clocks[1] - clocks[0] < timedelta(days=1)


@pytest.mark.parametrize("ordering", [sign + key for key in ORDERINGS for sign in ("", "-")])
def test_orders_hold_every_game_once_with_nulls_as_the_smallest(catalogue, ordering):
    games = catalogue.ordered(ordering)
    key = ordering.removeprefix("-")
    values = [game.id if key == "created" else getattr(game, key) for game in games]
    known = [value for value in values if value is not None]
    nulls = values[len(known) :] if ordering.startswith("-") else values[: len(values) - len(known)]
    assert known == sorted(known, reverse=ordering.startswith("-"))
    assert set(nulls) <= {None}
    assert len({game.id for game in games}) == 120


def test_games_are_the_caller_s_own(catalogue):
    catalogue.games()[0]["platforms"].append("mine")
    assert "mine" not in catalogue.games()[0]["platforms"]
