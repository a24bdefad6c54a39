"""The sample server keeps the RAWG API's contract: each test is one of its sentences."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from starberg.samples import rawg_server
from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_contract import Contract
from starberg.samples.rawg_misbehaviour import KINDS, SPOILT
from starberg.samples.rawg_pages import Request
from starberg.samples.rawg_remote import RemoteServer, spawn
from starberg.samples.rawg_server import RawgServer
from starberg.utils.errors import Unreachable, UsageError

ENDPOINTS = ["games", "genres", "platforms", "stores", "tags", "developers", "publishers", "creators"]
LIST_KEYS = {
    *("id", "slug", "name", "released", "tba", "rating", "rating_top", "ratings_count", "reviews_count"),
    *("reviews_text_count", "added", "playtime", "suggestions_count", "updated", "metacritic", "esrb_rating"),
    *("added_by_status", "ratings", "platforms", "parent_platforms", "stores", "genres", "tags"),
    *("short_screenshots", "background_image", "saturated_color", "dominant_color", "user_game", "clip"),
}
DETAIL_KEYS = (LIST_KEYS - {"short_screenshots"}) | {
    *("name_original", "description", "description_raw", "metacritic_platforms", "metacritic_url"),
    *("background_image_additional", "website", "reactions", "screenshots_count", "movies_count", "creators_count"),
    *("achievements_count", "parent_achievements_count", "reddit_url", "reddit_name", "reddit_description"),
    *("reddit_logo", "reddit_count", "twitch_count", "youtube_count", "alternative_names", "parents_count"),
    *("additions_count", "game_series_count", "developers", "publishers"),
}
ENVELOPE = {"count", "next", "previous", "results"}
UNFILTERED_ONLY = {
    *("seo_title", "seo_description", "seo_keywords", "seo_h1", "noindex", "nofollow", "description"),
    *("filters", "nofollow_collections"),
}
ALL_TIME = "1900-01-01,2099-12-31"


class Client:
    """Asks one server over one kept-alive connection."""

    def __init__(self, server):
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False

    def ask(self, path, key="sample-key", *, method="GET", timeout=10, redirects=True, **parameters):
        asked = parameters if key is None else {"key": key, **parameters}
        return self.session.request(
            method, self.server.url + path, params=asked, timeout=timeout, allow_redirects=redirects
        )

    def json(self, path, **parameters):
        answer = self.ask(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def follow(self, path, **parameters):
        """All rows, by following `next`."""
        page = self.json(path, **parameters)
        rows = page["results"]
        while page["next"]:
            page = self.session.get(page["next"], timeout=10).json()
            rows += page["results"]
        return rows

    def ids(self, **parameters):
        return {row["id"] for row in self.follow("/games", page_size=40, **parameters)}


@pytest.fixture(scope="module")
def client():
    """A client of a server nobody changes."""
    with RawgServer(Catalogue(games=600)) as server:
        yield Client(server)


@pytest.fixture(scope="module")
def games(client):
    return client.server.catalogue.games()


@pytest.fixture
def own():
    """A client of a small server the test may change."""
    with RawgServer(Catalogue(games=130)) as server:
        yield Client(server)


# Keys, plans, errors


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_needs_a_known_key(client, endpoint):
    missing, unknown = client.ask(f"/{endpoint}", key=None), client.ask(f"/{endpoint}", key="wrong")
    assert (missing.status_code, missing.json()) == (401, {"error": "The key parameter is not provided"})
    assert (unknown.status_code, unknown.json()) == (401, {"error": "The API key is not found"})
    assert missing.headers["Content-Type"] == "application/json"


def test_a_key_in_a_header_is_no_key(client):
    answer = client.session.get(f"{client.server.url}/games", headers={"Authorization": "sample-key"}, timeout=10)
    assert answer.json() == {"error": "The key parameter is not provided"}


def test_a_spent_monthly_quota_is_a_401_until_the_next_month():
    with RawgServer(Catalogue(games=50), monthly_limit=3) as server:
        client = Client(server)
        assert [client.ask("/genres").status_code for _ in range(4)] == [200, 200, 200, 401]
        assert client.ask("/games").json() == {"error": "The monthly API limit reached"}
        assert server.spent == 3
        server.new_month()
        assert client.ask("/games").status_code == 200


def test_refused_keys_spend_no_quota():
    with RawgServer(Catalogue(games=50), monthly_limit=3) as server:
        client = Client(server)
        client.ask("/games", key="wrong")
        assert (server.spent, server.requests) == (0, 1)


@pytest.mark.parametrize("part", ["suggested", "twitch", "youtube"])
def test_paid_parts_of_a_game_are_a_401_with_an_empty_body(client, games, part):
    answer = client.ask(f"/games/{games[0]['id']}/{part}")
    assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize("page", ["0", "-1", "two", "1.5", "", "31", "9" * 5000])
def test_pages_that_are_not_there_are_a_404(client, page):
    answer = client.ask("/games", page=page)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid page."})


@pytest.mark.parametrize("path", ["/games/1", "/games/no-such-game", "/nothing", "/games/1000/nothing"])
def test_what_is_not_known_is_a_404(client, path):
    answer = client.ask(path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_api_only_reads(client, method):
    answer = client.ask("/games", method=method)
    assert (answer.status_code, answer.json()) == (405, {"detail": f'Method "{method}" not allowed.'})


def test_a_merged_games_slug_answers_with_a_redirect_and_no_other_key(own):
    gone, kept = own.server.catalogue.games()[:2]
    own.server.catalogue.merge(gone["id"], into=kept["id"])
    assert own.json(f"/games/{gone['slug']}") == {"redirect": True, "slug": kept["slug"]}
    assert own.ask(f"/games/{gone['id']}").status_code == 404
    assert gone["id"] not in own.ids()


def test_a_removed_game_is_gone_from_lists_and_by_id(own):
    removed = own.server.catalogue.remove(3)
    assert not set(removed) & own.ids()
    assert own.ask(f"/games/{removed[0]}").status_code == 404


# Pages


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        *(("/games", 20), ("/genres", 19), ("/platforms", 50), ("/stores", 10), ("/tags", 10)),
        *(("/developers", 10), ("/publishers", 10)),
    ],
)
def test_default_page_sizes(client, path, rows):
    assert len(client.json(path)["results"]) == rows


@pytest.mark.parametrize("asked", [40, 41, 100, 10_000])
def test_page_size_is_cut_to_40_silently(client, asked):
    assert len(client.json("/games", page_size=asked)["results"]) == 40
    assert len(client.json("/games", page_size=asked, dates=ALL_TIME)["results"]) == 40


def test_asking_50_platforms_gives_40_and_asking_nothing_gives_50(client):
    assert len(client.json("/platforms", page_size=50)["results"]) == 40
    assert len(client.json("/platforms")["results"]) == 50


@pytest.mark.parametrize("asked", ["0", "-5", "many", ""])
def test_an_unreadable_page_size_counts_as_the_default(client, asked):
    assert len(client.json("/games", page_size=asked)["results"]) == 20


def test_page_last_is_the_last_page(client):
    last = client.json("/games", page="last")
    assert last["next"] is None
    assert last["results"] == client.json("/games", page=30)["results"]


def test_links_carry_the_key_in_clear_and_sorted_parameters(client):
    page = client.json("/games", page_size=5, page=2, ordering="-rating", dates="2000-01-01,2025-12-31")
    query = "dates=2000-01-01%2C2025-12-31&key=sample-key&ordering=-rating&{}page_size=5"
    assert page["next"] == f"{client.server.url}/games?{query.format('page=3&')}"
    assert page["previous"] == f"{client.server.url}/games?{query.format('')}"


def test_the_first_page_has_no_previous_and_the_last_no_next(client):
    assert client.json("/games")["previous"] is None
    assert client.json("/games", page=30)["next"] is None


def test_following_next_gives_every_game_once(client, games):
    for parameters in ({}, {"dates": ALL_TIME}, {"ordering": "rating"}):
        counts = Counter(row["id"] for row in client.follow("/games", page_size=40, **parameters))
        assert set(counts.values()) == {1}
        assert len(counts) == sum(bool(g["released"]) or "dates" not in parameters for g in games)


def test_envelope_without_and_with_filter(client):
    assert set(client.json("/games")) == ENVELOPE | UNFILTERED_ONLY
    assert set(client.json("/games", ordering="released", page=2)) == ENVELOPE | UNFILTERED_ONLY
    assert set(client.json("/games", dates=ALL_TIME)) == ENVELOPE | {"user_platforms"}
    assert set(client.json("/tags")) == ENVELOPE


def test_nothing_found_is_an_empty_page(client):
    page = client.json("/games", dates="1901-01-01,1901-01-31")
    assert (page["count"], page["next"], page["results"]) == (0, None, [])


def test_a_filtered_list_ends_at_its_window_while_count_and_next_go_on():
    with RawgServer(Catalogue(games=300), window=80) as server:
        client = Client(server)
        second = client.json("/games", dates=ALL_TIME, page_size=40, page=2)
        third = client.ask("/games", dates=ALL_TIME, page_size=40, page=3)
        assert second["count"] > 80
        assert second["next"] is not None
        assert (third.status_code, third.json()) == (404, {"detail": "Invalid page."})
        assert client.ask("/games", dates=ALL_TIME, page="last").status_code == 404
        assert len(client.ids()) == 300  # a list without filter has no such end


def test_the_window_is_10_000_results():
    contract = Contract(Catalogue(games=10_900))

    def status(page):
        asked = {"dates": ALL_TIME, "page_size": "40", "page": str(page)}
        return contract.answer(Request("games", asked, "http://x/api/games")).status

    assert [status(page) for page in (1, 250, 251)] == [200, 200, 404]


# Filters and orders


@pytest.mark.parametrize("key", ["released", "updated"])
def test_day_filters_include_both_ends(client, games, key):
    days = sorted(game[key][:10] for game in games if game[key])
    first, last = days[len(days) // 3], days[len(days) // 2]
    name = {"released": "dates", "updated": "updated"}[key]
    expected = {game["id"] for game in games if game[key] and first <= game[key][:10] <= last}
    assert client.ids(**{name: f"{first},{last}"}) == expected
    assert {game["id"] for game in games if game[key] and game[key][:10] in (first, last)} <= expected


def test_a_time_of_day_is_cut_off(client, games):
    stamp = max(game["updated"] for game in games)
    expected = {game["id"] for game in games if game["updated"][:10] == stamp[:10]}
    assert client.ids(updated=f"{stamp},{stamp}") == expected


def test_several_ranges_are_joined_by_a_dot(client, games):
    expected = {game["id"] for game in games if (game["released"] or "")[:4] in ("2016", "2019")}
    assert client.ids(dates="2016-01-01,2016-12-31.2019-01-01,2019-12-31") == expected


def test_undated_games_are_in_no_dates_window(client, games):
    assert client.json("/games", dates=ALL_TIME)["count"] == sum(bool(game["released"]) for game in games) < 600


@pytest.mark.parametrize(
    "malformed",
    [
        *({"dates": "2020-01-01"}, {"dates": "2020-01-01,2020-02-01,2020-03-01"}, {"dates": ""}),
        *({"dates": "soon,later"}, {"updated": "2026-10-01"}, {"updated": "2026-10-01;2026-10-02"}),
        *({"metacritic": "80"}, {"platforms_count": "two"}, {"genres": ""}, {"no_such_filter": "1"}),
    ],
)
def test_a_malformed_filter_is_ignored_and_the_whole_list_comes_back(client, malformed):
    assert client.json("/games", **malformed)["results"] == client.json("/games")["results"]
    assert client.json("/games", **malformed)["count"] == 600


@pytest.mark.parametrize("ordering", ["nonsense", "id", "-", "--added", "released,added"])
def test_an_unknown_ordering_is_ignored(client, ordering):
    assert client.json("/games", ordering=ordering)["results"] == client.json("/games", ordering="-added")["results"]


@pytest.mark.parametrize("key", ["name", "released", "added", "updated", "rating", "metacritic"])
def test_orderings(client, key):
    for sign in ("", "-"):
        rows = client.follow("/games", page_size=40, ordering=sign + key)
        known = [row[key] for row in rows if row[key] is not None]
        assert known == sorted(known, reverse=bool(sign))


def test_ordering_by_release_starts_with_undated_games(client, games):
    undated = sum(game["released"] is None for game in games)
    rows = client.follow("/games", page_size=40, ordering="released")
    assert [row["released"] is None for row in rows] == [True] * undated + [False] * (600 - undated)
    assert {row["tba"] for row in rows[:undated]} == {True, False}


@pytest.mark.parametrize("kind", ["platforms", "stores"])
def test_members_are_asked_by_id_or_by_slug_as_the_first_item_is(client, games, kind):
    entry = kind.removesuffix("s")

    def having(member_id):
        return {game["id"] for game in games if member_id in [link[entry]["id"] for link in game[kind]]}

    one, other = list({link[entry]["id"]: link[entry] for game in games for link in game[kind]}.values())[:2]
    assert client.ids(**{kind: one["id"]}) == client.ids(**{kind: one["slug"]}) == having(one["id"])
    assert client.ids(**{kind: f"{one['id']},{other['id']}"}) == having(one["id"]) | having(other["id"])
    assert client.ids(**{kind: f"{one['slug']},{other['id']}"}) == having(one["id"])  # an id is no slug


def test_genres_and_tags_are_asked_the_same_way(client, games):
    for kind in ("genres", "tags"):
        member = next(member for game in games for member in game[kind])
        expected = {game["id"] for game in games if member["id"] in [row["id"] for row in game[kind]]}
        assert client.ids(**{kind: member["id"]}) == client.ids(**{kind: member["slug"]}) == expected


def test_a_tag_s_russian_row_finds_the_same_games(client):
    row = next(row for row in client.json("/games", dates=ALL_TIME)["results"] if row["tags"])
    english, russian = row["tags"][:2]
    assert client.ids(tags=russian["id"]) == client.ids(tags=english["slug"])


def test_companies_and_creators_are_asked_the_same_way(client, games):
    details = [client.json(f"/games/{game['id']}") for game in games[:10]]
    for kind in ("developers", "publishers"):
        game = next(game for game in details if game[kind])
        assert game["id"] in client.ids(**{kind: game[kind][0]["slug"]})
    creator = client.json("/creators")["results"][0]
    assert len(client.ids(creators=creator["id"])) == creator["games_count"]


def test_parent_platforms_find_the_games_of_their_platforms(client, games):
    parent = next(game for game in games if game["parent_platforms"])["parent_platforms"][0]["platform"]
    expected = {g["id"] for g in games if parent["id"] in [e["platform"]["id"] for e in g["parent_platforms"]]}
    assert client.ids(parent_platforms=parent["id"]) == expected


def test_numbers_of_platforms_and_metacritic_ranges(client, games):
    assert client.ids(platforms_count=2) == {game["id"] for game in games if len(game["platforms"]) == 2}
    scored = {game["id"] for game in games if game["metacritic"] and 60 <= game["metacritic"] <= 80}
    assert client.ids(metacritic="60,80") == scored
    assert scored


def test_ids_and_exclude_pick_and_leave_out_games(client, games):
    first, second = games[:2]
    assert client.ids(ids=f"{first['id']},{second['id']},1") == {first["id"], second["id"]}
    everything = {game["id"] for game in games}
    assert client.ids(exclude=f"{first['id']},{second['slug']}") == everything - {first["id"], second["id"]}


def test_exclusions(client, games):
    store = next(game for game in games if game["stores"])["stores"][0]["store"]["id"]
    sold = {game["id"] for game in games if store in [link["store"]["id"] for link in game["stores"]]}
    everything = {game["id"] for game in games}
    assert client.ids(exclude_stores=store) == everything - sold
    assert client.ids(exclude_collection=5) == everything
    for name, count in (
        ("exclude_additions", "parents_count"),
        ("exclude_parents", "additions_count"),
        ("exclude_game_series", "game_series_count"),
    ):
        left = client.ids(**{name: "true"})
        assert 0 < len(left) < 600
        assert client.json(f"/games/{min(left)}")[count] == 0
        assert client.json(f"/games/{min(everything - left)}")[count] == 1
        assert client.ids(**{name: "false"}) == everything


def test_search_by_word_phrase_and_whole_name(client, games):
    name = next(game["name"] for game in games if len(game["name"].split()) == 2)
    words = [word.lower() for word in name.split()]
    assert client.ids(search=name) == {g["id"] for g in games if any(word in g["name"].lower() for word in words)}
    phrase = {game["id"] for game in games if name.lower() in game["name"].lower()}
    assert client.ids(search=name, search_precise="true") == phrase
    assert client.ids(search=name, search_exact="true") == {game["id"] for game in games if game["name"] == name}
    scores = [row["score"] for row in client.json("/games", search=name)["results"]]
    assert all(re.fullmatch(r"\d+\.\d{6}", score) for score in scores)


def test_filters_together_must_all_hold(client, games):
    genre = next(game for game in games if game["genres"])["genres"][0]["id"]
    expected = {
        game["id"]
        for game in games
        if genre in [row["id"] for row in game["genres"]]
        and (game["released"] or "").startswith("2022")
        and game["updated"] >= "2026-03"
    }
    asked = {"genres": genre, "dates": "2022-01-01,2022-12-31", "updated": "2026-03-01,2026-12-31"}
    assert client.ids(**asked) == expected


# Shapes


def test_a_game_in_a_list_without_filter(client, games):
    rows = client.follow("/games", page_size=40)
    assert all(set(row) == LIST_KEYS for row in rows)
    assert sorted(rows, key=lambda row: row["id"]) == games
    for row in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", row["updated"])
        assert row["released"] is None or re.fullmatch(r"\d{4}-\d\d-\d\d", row["released"])
        assert isinstance(row["rating"], float)
        assert all(type(row[key]) is int for key in ("id", "added", "playtime", "reviews_text_count", "rating_top"))
        assert type(row["tba"]) is bool
        assert (row["user_game"], row["clip"]) == (None, None)
        assert {tag["language"] for tag in row["tags"]} <= {"eng"}
        assert sum(vote["count"] for vote in row["ratings"]) == row["ratings_count"]


def test_nullable_and_empty_values_occur(games):
    for key in ("released", "metacritic", "esrb_rating", "added_by_status", "background_image"):
        assert {game[key] is None for game in games} == {True, False}, key
    for key in ("ratings", "platforms", "stores", "genres", "tags", "short_screenshots"):
        assert {game[key] == [] for game in games} == {True, False}, key
    assert any(game["rating"] == 0.0 for game in games)
    statuses = {"yet", "owned", "beaten", "toplay", "dropped", "playing"}
    assert all(set(game["added_by_status"] or {}) <= statuses for game in games)
    assert len({frozenset(game["added_by_status"] or {}) for game in games}) > 2


def test_members_in_a_list_without_filter_are_full(games):
    game = next(game for game in games if game["platforms"] and game["stores"] and game["genres"] and game["tags"])
    base = {"id", "name", "slug", "games_count", "image_background"}
    platform = game["platforms"][0]
    assert set(platform) == {"platform", "released_at", "requirements_en", "requirements_ru"}
    assert set(platform["platform"]) == base | {"image", "year_start", "year_end"}
    assert platform["released_at"] == game["released"]
    assert set(game["stores"][0]) == {"id", "store"}
    assert set(game["stores"][0]["store"]) == base | {"domain"}
    assert set(game["genres"][0]) == base
    assert set(game["tags"][0]) == base | {"language"}
    assert set(game["parent_platforms"][0]["platform"]) == {"id", "name", "slug"}
    assert any(entry["requirements_en"] for game in games for entry in game["platforms"])


def test_a_store_link_s_id_is_not_the_store_s(games):
    links = [link for game in games for link in game["stores"]]
    assert all(link["id"] != link["store"]["id"] for link in links)
    assert len({link["id"] for link in links}) == len(links)


def test_a_game_in_a_filtered_list_has_another_shape(client):
    rows = client.follow("/games", page_size=40, updated=ALL_TIME)
    assert all(set(row) - {"community_rating"} == LIST_KEYS | {"score"} for row in rows)
    assert {"community_rating" in row for row in rows} == {True, False}
    assert {row["score"] for row in rows} == {None}
    slim = {"id", "name", "slug"}
    assert all(set(entry) == {"platform"} for row in rows for entry in row["platforms"])
    assert all(set(entry["platform"]) == slim for row in rows for entry in row["platforms"])
    assert all(set(link) == {"store"} and set(link["store"]) == slim for row in rows for link in row["stores"] or [])
    assert all(set(genre) == slim for row in rows for genre in row["genres"])
    assert {row["stores"] is None for row in rows} == {True, False}
    assert [] not in [row["stores"] for row in rows]


def test_filtered_lists_mix_two_languages_of_the_same_tag(client, games):
    english = {game["id"]: [tag["id"] for tag in game["tags"]] for game in games}
    for row in client.follow("/games", page_size=40, updated=ALL_TIME):
        by_language = {
            language: [tag["id"] for tag in row["tags"] if tag["language"] == language] for language in ("eng", "rus")
        }
        assert by_language["eng"] == english[row["id"]]
        assert len(by_language["rus"]) == len(by_language["eng"])
        assert not set(by_language["rus"]) & set(by_language["eng"])


def test_esrb_ratings_have_more_names_in_filtered_lists(client):
    def keys(**parameters):
        rows = client.follow("/games", page_size=40, **parameters)
        return {frozenset(row["esrb_rating"]) for row in rows if row["esrb_rating"]}

    assert keys() == {frozenset({"id", "name", "slug"})}
    assert keys(updated=ALL_TIME) == {frozenset({"id", "name", "slug", "name_en", "name_ru"})}


def test_both_lists_agree_on_what_they_share(client, games):
    filtered = {row["id"]: row for row in client.follow("/games", page_size=40, updated=ALL_TIME)}
    same = LIST_KEYS - {"platforms", "stores", "genres", "tags", "esrb_rating"}
    assert all(filtered[game["id"]][key] == game[key] for game in games for key in same)
    assert all(
        [entry["platform"]["id"] for entry in filtered[game["id"]]["platforms"]]
        == [entry["platform"]["id"] for entry in game["platforms"]]
        for game in games
    )


def test_one_game_by_id_or_slug_has_54_keys(client, games):
    for game in games[:20]:
        detail = client.json(f"/games/{game['id']}")
        assert detail == client.json(f"/games/{game['slug']}")
        assert set(detail) == DETAIL_KEYS
        assert len(DETAIL_KEYS) == 54
        assert all(set(entry) == {"platform", "released_at", "requirements"} for entry in detail["platforms"])
        assert (detail["added"], detail["updated"]) == (game["added"], game["updated"])


def test_a_whole_rating_is_an_int_in_details_only(client, games):
    whole = next(game for game in games if game["rating"].is_integer())
    broken = next(game for game in games if not game["rating"].is_integer())
    assert type(client.json(f"/games/{whole['id']}")["rating"]) is int
    assert type(client.json(f"/games/{broken['id']}")["rating"]) is float


# Dimensions


@pytest.mark.parametrize(
    ("path", "extra", "count"),
    [
        ("/genres", set(), 19),
        ("/platforms", {"image", "year_start", "year_end"}, 51),
        ("/stores", {"domain"}, 10),
        ("/tags", {"language"}, 634),
        ("/developers", set(), 48),
        ("/publishers", set(), 24),
    ],
)
def test_dimension_rows(client, path, extra, count):
    rows = client.follow(path, page_size=40)
    assert len(rows) == len({row["id"] for row in rows}) == count
    assert all(set(row) == {"id", "name", "slug", "games_count", "image_background", "games"} | extra for row in rows)
    assert all(set(game) == {"id", "slug", "name", "added"} for row in rows for game in row["games"])
    assert rows[0]["games_count"] >= len(rows[0]["games"]) > 0


def test_tags_come_in_two_languages(client):
    assert Counter(row["language"] for row in client.follow("/tags", page_size=40)) == {"eng": 317, "rus": 317}


def test_some_members_appear_in_games_but_not_in_their_own_endpoint(client, games):
    platforms = {entry["platform"]["id"] for game in games for entry in game["platforms"]}
    tags = {tag["id"] for game in games for tag in game["tags"]}
    assert platforms - {row["id"] for row in client.follow("/platforms")}
    assert tags - {row["id"] for row in client.follow("/tags", page_size=40)}


def test_dimensions_can_be_ordered_and_an_unknown_ordering_is_ignored(client):
    for path in ("/genres", "/platforms", "/stores", "/platforms/lists/parents"):
        names = [row["name"] for row in client.follow(path, ordering="-name")]
        assert names == sorted(names, reverse=True)
        assert client.json(path, ordering="nonsense")["results"] == client.json(path)["results"]
    assert client.json("/tags", ordering="name")["results"] == client.json("/tags")["results"]


def test_parent_platforms_hold_their_platforms(client):
    rows = client.json("/platforms/lists/parents")["results"]
    held = [platform["id"] for row in rows for platform in row["platforms"]]
    assert sorted(held) == sorted(row["id"] for row in client.follow("/platforms"))


def test_games_count_moves_when_games_do(own):
    def counts():
        return [row["games_count"] for row in own.json("/genres", ordering="id")["results"]]

    before = counts()
    own.server.catalogue.remove(60)
    assert counts() != before


# Counting and pace


def test_requests_are_counted_and_logged_without_the_key(own):
    own.ask("/games", page=2, dates="2020-01-01,2020-12-31")
    own.ask("/genres", key="another-secret")
    assert own.server.requests == 2
    assert own.server.log == [
        ("GET", "/games", {"page": "2", "dates": "2020-01-01,2020-12-31"}),
        ("GET", "/genres", {}),
    ]


def test_the_server_listens_on_loopback_only(own):
    assert urlsplit(own.server.url).hostname == "127.0.0.1"


def test_a_rate_delays_requests_and_refuses_none(monkeypatch):
    monkeypatch.setattr(rawg_server, "time", SimpleNamespace(monotonic=lambda: 100.0))
    server, waited = RawgServer(Catalogue(games=10), rate_per_s=4, latency_s=0.5), []
    monkeypatch.setattr(server, "wait", waited.append)
    asked = Request("genres", {"key": "sample-key"}, "http://x/api/genres")
    assert [server.answer("GET", asked)[0].status for _ in range(3)] == [200, 200, 200]
    assert waited == pytest.approx([0.5, 0.75, 1.0])


def test_a_stopped_server_answers_no_more_also_on_kept_alive_connections():
    server = RawgServer(Catalogue(games=10)).start()
    client = Client(server)
    url = server.url
    assert client.ask("/games").status_code == 200
    server.stop()
    with pytest.raises(requests.ConnectionError):
        client.session.get(f"{url}/games", timeout=10)
    with pytest.raises(UsageError, match="not started"):
        _ = server.url


def test_pages_asked_in_parallel_make_the_same_whole(client):
    with ThreadPoolExecutor(8) as pool:
        pages = pool.map(lambda page: Client(client.server).json("/games", page_size=40, page=page), range(1, 16))
        together = [row for page in pages for row in page["results"]]
    assert together == client.follow("/games", page_size=40)


def test_a_taken_port_is_said(own):
    port = urlsplit(own.server.url).port
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
        RawgServer(Catalogue(games=10), port=port).start()


# Failures on request


def test_misbehaving_is_over_after_the_asked_times(own):
    own.server.misbehave("status", times=2, code=503)
    assert [own.ask("/games").status_code for _ in range(3)] == [503, 503, 200]


def test_misbehaving_can_be_for_good_until_the_server_behaves(own):
    own.server.misbehave("status", times=None)
    assert {own.ask("/games").status_code for _ in range(4)} == {500}
    own.server.behave()
    assert own.ask("/games").status_code == 200


def test_misbehaving_is_limited_to_a_path_and_can_start_later(own):
    own.server.misbehave("status", path_prefix="/tags", after=1, code=502)
    asked = ["/games", "/tags", "/games", "/tags", "/tags"]
    assert [own.ask(path).status_code for path in asked] == [200, 200, 200, 502, 200]


def test_an_unknown_failure_or_option_is_refused(own):
    with pytest.raises(UsageError, match="cannot misbehave as nonsense"):
        own.server.misbehave("nonsense")
    with pytest.raises(UsageError, match="cannot misbehave as hang"):
        own.server.misbehave("hang", minutes=1)
    with pytest.raises(UsageError, match="cannot spoil rows"):
        own.server.misbehave("bad_rows", how="nonsense")


def test_quota_failure_has_the_real_body(own):
    own.server.misbehave("quota")
    answer = own.ask("/games")
    assert (answer.status_code, answer.json()) == (401, {"error": "The monthly API limit reached"})


@pytest.mark.parametrize("retry_after", [3, "Sun, 01 Nov 2026 00:00:03 GMT"])
def test_too_many_requests_says_when_to_retry(own, retry_after):
    own.server.misbehave("status", code=429, retry_after=retry_after)
    answer = own.ask("/games")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, str(retry_after))


@pytest.mark.parametrize("code", [500, 502, 503])
def test_failures_of_a_gateway_are_html(own, code):
    own.server.misbehave("status", code=code)
    answer = own.ask("/games")
    assert (answer.status_code, answer.headers["Content-Type"]) == (code, "text/html; charset=utf-8")


def test_html_comes_with_200(own):
    own.server.misbehave("html")
    answer = own.ask("/games")
    assert answer.status_code == 200
    assert answer.text.startswith("<!DOCTYPE html>")


def test_a_hanging_answer_outlasts_its_client_but_not_its_server(own):
    own.server.misbehave("hang", seconds=600)
    with pytest.raises(requests.ReadTimeout):
        own.ask("/games", timeout=0.2)


def test_a_slow_answer_is_whole_in_the_end(own):
    expected = own.json("/games")
    own.server.misbehave("slow", seconds=0.1)
    assert own.json("/games") == expected


def test_malformed_json_is_cut_in_half(own):
    own.server.misbehave("malformed")
    answer = own.ask("/games")
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_garbage_says_it_is_gzip(own):
    own.server.misbehave("garbage_gzip")
    with pytest.raises(requests.exceptions.ContentDecodingError):
        own.ask("/games")


def test_a_dropped_connection_ends_in_the_middle_and_the_next_one_works(own):
    own.server.misbehave("drop")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        own.ask("/games")
    assert own.ask("/games").status_code == 200


def test_redirect_goes_where_it_is_told(own):
    own.server.misbehave("redirect", url="http://127.0.0.1:9/elsewhere")
    answer = own.ask("/games", redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/elsewhere")


def test_a_duplicate_page_is_the_one_before_with_the_right_links(own):
    first, second = own.json("/games"), own.json("/games", page=2)
    own.server.misbehave("duplicate_page")
    assert own.json("/games") == first  # there is no page before the first
    again = own.json("/games", page=2)
    assert again["results"] == first["results"]
    assert again["next"] == second["next"]


@pytest.mark.parametrize(
    "parameters",
    [
        *({}, {"ordering": "released"}, {"ordering": "-updated"}, {"dates": ALL_TIME}),
        *({"updated": "2000-01-01,2026-10-31"}, {"ordering": "updated"}),
    ],
)
def test_rows_move_on_by_one_when_a_game_is_inserted_between_pages(own, parameters):
    first, count = own.json("/games", **parameters), len(own.ids())
    own.server.misbehave("shift")
    second = own.json("/games", page=2, **parameters)
    assert second["results"][0]["id"] == first["results"][-1]["id"]
    assert second["count"] == first["count"] + 1
    assert len(own.ids()) == count + 1


def test_next_can_point_at_its_own_page_or_anywhere(own):
    own.server.misbehave("loop_next")
    assert dict(parse_qsl(urlsplit(own.json("/games", page=3)["next"]).query))["page"] == "3"
    own.server.misbehave("loop_next", url="http://169.254.169.254/latest")
    assert own.json("/games")["next"] == "http://169.254.169.254/latest"


def test_count_can_be_wrong(own):
    own.server.misbehave("count_mismatch", by=-5)
    assert own.json("/games")["count"] == 125


def test_a_list_can_come_back_empty(own):
    own.server.misbehave("empty", path_prefix="/genres")
    page = own.json("/genres")
    assert (page["count"], page["next"], page["results"]) == (0, None, [])


def test_bad_rows_replace_good_ones_from_the_front(own):
    good = own.json("/games")["results"]
    own.server.misbehave("bad_rows")
    raw = own.ask("/games")
    rows = dict(zip(SPOILT, raw.json()["results"], strict=False))
    assert "id" not in rows["missing_id"]
    assert rows["null_id"]["id"] is None
    assert rows["string_id"]["id"] == "forty-two"
    assert '"rating": NaN' in raw.text
    assert r"\ud800" in raw.text
    assert "\x00" in rows["nul"]["name"]
    assert len(rows["huge"]["name"]) == 1_000_000
    assert rows["types"]["released"] == 20240101
    assert raw.json()["results"][len(SPOILT) :] == good[len(SPOILT) :]
    own.server.misbehave("bad_rows", how=["null_id"], path_prefix="/genres")
    assert [row["id"] for row in own.json("/genres")["results"]].count(None) == 1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_server_recovers_from_every_failure(own, kind):
    own.server.misbehave(kind, **({"seconds": 0.01} if kind in ("hang", "slow") else {}))
    with suppress(requests.RequestException):
        own.ask("/games", page=2, redirects=False)
    assert own.ask("/games", page=2).status_code == 200


# A server in a process of its own


@pytest.fixture(scope="module")
def remote():
    with spawn(games=90, seed=5) as server:
        yield server


def test_a_spawned_server_serves_the_same_catalogue_through_the_same_mutations(remote):
    catalogue = Catalogue(seed=5, games=90)
    assert remote.games() == catalogue.games()
    for name in ("change", "add", "remove", "touch", "set_back"):
        assert getattr(remote, name)(7) == getattr(catalogue, name)(7)
    gone, kept = catalogue.games()[:2]
    assert remote.merge(gone["id"], into=kept["id"]) == catalogue.merge(gone["id"], into=kept["id"])
    assert remote.change(4, platforms=False) == catalogue.change(4, platforms=False)
    assert remote.games() == catalogue.games()
    assert remote.clock == catalogue.clock


def test_a_spawned_server_misbehaves_and_counts(remote):
    client = Client(remote)
    before = remote.requests
    remote.misbehave("status", code=503, path_prefix="/games", after=1)
    assert [client.ask("/games").status_code for _ in range(3)] == [200, 503, 200]
    assert remote.requests == before + 3
    assert remote.spent >= 2
    assert remote.log[-1] == ("GET", "/games", {})
    remote.misbehave("html", times=None)
    remote.behave()
    remote.new_month()
    assert remote.spent == 0
    assert client.ask("/games").status_code == 200


def test_a_spawned_server_refuses_what_it_does_not_know(remote):
    with pytest.raises(UsageError, match="cannot misbehave as nonsense"):
        remote.misbehave("nonsense")
    with pytest.raises(UsageError, match="games, 1000 were asked"):
        remote.remove(1000)
    with pytest.raises(UsageError, match="cannot merge"):
        remote.merge(1, into=2)


def test_a_spawned_server_ends_with_its_block():
    with spawn(games=10) as server:
        url = server.url
    assert server.process.returncode == 0
    with pytest.raises(Unreachable, match="does not answer"):
        _ = RemoteServer(url).requests


def test_a_server_that_cannot_start_is_said(own):
    with pytest.raises(Unreachable, match="ended at its start with exit code"):
        spawn(games=10, port=urlsplit(own.server.url).port)


def test_the_command_prints_its_url_first_and_stops_when_interrupted():
    command = [sys.executable, "-m", "starberg.samples.rawg_server", "--games", "30", "--key", "mine"]
    # A shell starts background jobs deaf to Ctrl-C, and what they start inherits that.
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **listening) as process:
        url = process.stdout.readline().strip()
        assert requests.get(f"{url}/games", params={"key": "mine"}, timeout=10).json()["count"] == 30
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
