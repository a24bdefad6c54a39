"""RAWG's source against the sample server, which keeps the API's contract, traps included."""

from __future__ import annotations

import itertools
import json
import random
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers import FakeClock

from starberg.ingestion.budget import BudgetLedger, Unlimited
from starberg.ingestion.rawg_fetcher import RawgSource, open_source
from starberg.ingestion.rawg_scope import IdSet
from starberg.ingestion.source import Cursor, Extract, Planned
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_games import Game
from starberg.samples.rawg_server import SAMPLE_KEY, RawgServer
from starberg.utils.errors import (
    CredentialsError,
    DeclarationError,
    QuotaSpent,
    SourceDataError,
    StarbergError,
    Unreachable,
)

TODAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


def stream(name: str = "games", **declared: Any) -> Stream:
    base = {"name": name, "path": f"/{name}", "records": "results", "key": ["id"]}
    return Stream.model_validate({**base, **declared})


FIRST = "2025-01-01"


def games(**options: Any) -> Stream:
    return stream(options={"released_from": FIRST, "checkpoint_requests": 15, **options})


GAMES = games()


def open_at(
    server: RawgServer, ledger: BudgetLedger | None = None, *, now: datetime = TODAY, key: str = SAMPLE_KEY, **spec: Any
) -> RawgSource:
    auth = {"kind": "query", "name": "key", "format": "{secret}", "secret": "RAWG_API_KEY"}
    source = SourceSpec(name="rawg", kind="rawg", url=server.url, auth=auth, streams={}, **{"retries": 1, **spec})
    return open_source(source, {"RAWG_API_KEY": key}.get, ledger or Unlimited(), FakeClock(now))


class Lake:
    """What landing would know: the last cursor, the records by key, and what was deleted."""

    def __init__(self, scratch: Path, what: Stream = GAMES) -> None:
        self.scratch = scratch
        self.what = what
        self.cursor: Cursor | None = None
        self.records: dict[Any, dict[str, Any]] = {}
        self.deleted: set[Any] = set()
        self.extracts: list[Extract] = []

    def take(self, source: RawgSource, *, full: bool = False) -> list[Extract]:
        """Land one extraction; extracts before an error stay landed."""
        before = len(self.extracts)
        for extract in source.extract(self.what, self.cursor, self.scratch, full=full):
            self.cursor = json.loads(json.dumps(extract.cursor))
            self.extracts.append(extract)
            self._land(extract)
        return self.extracts[before:]

    def _land(self, extract: Extract) -> None:
        found = records(extract)
        if not extract.keys_only:
            for record in found:
                known = self.records.get(record["id"])
                if not known or known["updated"] <= record["updated"]:
                    self.records[record["id"]] = record
                self.deleted.discard(record["id"])
        if extract.whole:
            self.deleted |= self.records.keys() - {record["id"] for record in found}

    @property
    def live(self) -> set[Any]:
        return self.records.keys() - self.deleted

    @property
    def pass_under_way(self) -> bool:
        return "pass" in (self.cursor or {})


def records(extract: Extract) -> list[dict[str, Any]]:
    lines = [line for spool in extract.spools for line in spool.read_text().splitlines()]
    return [record for line in lines for record in json.loads(line)["records"]]


def in_scope(catalogue: Catalogue, first: str = FIRST, least: int = 10, last: str = "9") -> dict[int, Game]:
    found = [game for game in catalogue.ordered("created") if game.added >= least]
    return {game.id: game for game in found if game.released is None or first <= game.released <= last}


@pytest.fixture(scope="module")
def shared() -> Any:
    """A server nobody changes."""
    with RawgServer(Catalogue(games=1500)) as server:
        yield server


@pytest.fixture
def server() -> Any:
    with RawgServer(Catalogue(games=400)) as server:
        yield server


def asked(server: RawgServer, **params: str) -> list[dict[str, str]]:
    return [query for _, _, query in server.log if params.items() <= query.items()]


# The first reading


def test_the_scope_is_read_whole_dated_and_undated(shared: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    extracts = lake.take(open_at(shared))
    expected = in_scope(shared.catalogue)
    assert lake.live == expected.keys()
    assert {game_id for game_id, game in lake.records.items() if game["released"] is None} == {
        game_id for game_id, game in expected.items() if game.released is None
    }
    landed = [record["id"] for extract in extracts if not extract.keys_only for record in records(extract)]
    assert len(landed) == len(set(landed))
    assert [extract.keys_only for extract in extracts] == [False] * (len(extracts) - 1) + [True]
    assert not lake.pass_under_way


def test_the_cursor_holds_the_day_of_the_newest_change(shared: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(shared))
    newest = max(game.updated for game in in_scope(shared.catalogue, first="0").values())
    assert lake.cursor
    assert lake.cursor == {
        "scope": "2025-01-01 to open, added >= 10",
        "updated": newest[:10],
        "passed_on": "2026-11-21",
        "pass_requests": lake.cursor["pass_requests"],
    }


def test_the_options_set_the_scope(shared: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path, games(released_from="2019-03-10", released_to="2020-06-15", min_added="50"))
    lake.take(open_at(shared))
    assert lake.live == in_scope(shared.catalogue, "2019-03-10", 50, "2020-06-15").keys()


def test_the_default_scope_is_2015_to_whenever(tmp_path: Path) -> None:
    with RawgServer(Catalogue(games=200)) as server:
        lake = Lake(tmp_path, stream())
        lake.take(open_at(server))
        assert lake.live == in_scope(server.catalogue, "2015-01-01").keys()


def test_without_a_least_number_of_followers_everything_is_read(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path, games(min_added=0))
    lake.take(open_at(server))
    assert lake.live == in_scope(server.catalogue, least=0).keys()


def test_lists_are_left_when_the_rest_is_below_the_scope(server: RawgServer, tmp_path: Path) -> None:
    narrow, wide = (Lake(tmp_path, games(min_added=least)) for least in (500, 0))
    source = open_at(server)
    cost = [sum(extract.requests for extract in lake.take(source)) for lake in (narrow, wide)]
    assert cost[0] <= cost[1]
    assert narrow.live == in_scope(server.catalogue, least=500).keys()


def test_a_month_over_the_ceiling_is_halved(tmp_path: Path) -> None:
    with RawgServer(Catalogue(games=6000), window=40) as server:
        lake = Lake(tmp_path, games(ceiling=40, released_to="2025-02-15", min_added=0))
        lake.take(open_at(server))
        assert lake.live == in_scope(server.catalogue, least=0, last="2025-02-15").keys()
        assert len(asked(server, ordering="-added")) > 2


def test_unknown_options_are_named(server: RawgServer, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"options\.min_aded"):
        Lake(tmp_path, stream(options={"min_aded": 5})).take(open_at(server))


def test_the_key_reaches_neither_spool_nor_cursor(server: RawgServer, tmp_path: Path) -> None:
    with RawgServer(Catalogue(games=200), keys=["canary-key"]) as secretive:
        lake = Lake(tmp_path)
        lake.take(open_at(secretive, key="canary-key"))
    assert lake.records
    assert b"canary" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert "canary" not in json.dumps(lake.cursor)


# Changes


def later(days: float) -> datetime:
    return TODAY + timedelta(days=days)


def test_a_rerun_asks_only_for_what_changed(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    changed = server.catalogue.change(15)
    added = server.catalogue.add(4)
    sent = server.requests
    [extract] = lake.take(open_at(server, now=later(1)))
    assert server.requests - sent <= 3
    expected = in_scope(server.catalogue)
    assert {record["id"] for record in records(extract)} >= expected.keys() & {*changed, *added}
    assert lake.live == expected.keys()
    for game_id, game in expected.items():
        assert lake.records[game_id]["ratings_count"] == game.votes_count


def test_changes_outside_the_scope_are_left_out(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    server.catalogue.touch(400)
    [extract] = lake.take(open_at(server, now=later(1)))
    assert {record["id"] for record in records(extract)} == in_scope(server.catalogue).keys()


def test_the_watermarks_day_is_asked_again(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    server.catalogue.change(5)
    lake.take(open_at(server, now=later(1)))
    assert lake.cursor
    day = lake.cursor["updated"]
    again = server.catalogue.change(5)  # the same simulated day
    lake.take(open_at(server, now=later(1)))
    assert asked(server)[-1]["updated"].startswith(f"{day},")
    expected = in_scope(server.catalogue)
    assert all(
        lake.records[game_id]["updated"] == expected[game_id].updated for game_id in expected.keys() & set(again)
    )


def test_nothing_new_leaves_the_cursor_as_it_is(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    before = lake.cursor
    lake.take(open_at(server, now=later(1)))
    assert lake.cursor == before


def test_an_ignored_filter_is_noticed(server: RawgServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    monkeypatch.setattr("starberg.samples.rawg_contract.effective_filters", lambda parameters: ())
    with pytest.raises(
        SourceDataError, match=r"games changed 2026-10-.* page=1: the server ignores updated: asked for"
    ):
        lake.take(open_at(server, now=later(1)))
    with pytest.raises(SourceDataError, match="the server ignores dates"):
        Lake(tmp_path).take(open_at(server))


def test_an_ignored_order_is_noticed(server: RawgServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starberg.samples.rawg_contract.effective_ordering", lambda parameters: "-added")
    with pytest.raises(SourceDataError, match="undated page=1: the server ignores ordering=released"):
        Lake(tmp_path).take(open_at(server))


def test_more_changes_than_a_list_shows_are_asked_by_day(tmp_path: Path) -> None:
    with RawgServer(Catalogue(games=600), window=200) as server:
        lake = Lake(tmp_path, games(ceiling=200, min_added=0))
        lake.take(open_at(server))
        for _ in range(12):
            server.catalogue.change(60)  # three mutations a day
        lake.take(open_at(server, now=later(1)))
        expected = in_scope(server.catalogue, least=0)
        assert not lake.pass_under_way
        assert all(lake.records[game_id]["updated"] == game.updated for game_id, game in expected.items())


def test_more_changes_in_a_day_than_a_list_shows_mean_a_new_pass(tmp_path: Path) -> None:
    with RawgServer(Catalogue(games=600), window=200) as server:
        lake = Lake(tmp_path, games(ceiling=200, min_added=0))
        lake.take(open_at(server))
        server.catalogue.change(590)
        extracts = lake.take(open_at(server, now=later(1)))
        assert any("the scope is read anew" in note for extract in extracts for note in extract.notes)
        expected = in_scope(server.catalogue, least=0)
        assert all(lake.records[game_id]["updated"] == game.updated for game_id, game in expected.items())


# The weekly sweep


def test_a_sweep_finds_what_is_gone_and_what_no_stamp_told(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    known = set(lake.live)
    gone = known & set(server.catalogue.remove(40))
    set_back = known & set(server.catalogue.set_back(20)) - gone
    lake.take(open_at(server, now=later(1)))
    assert lake.live == known
    extracts = lake.take(open_at(server, now=later(7)))
    assert lake.live == in_scope(server.catalogue).keys()
    assert gone
    assert gone <= lake.deleted
    expected = in_scope(server.catalogue)
    swept = {record["id"]: record for extract in extracts for record in records(extract) if "added" in record}
    assert all(swept[game_id]["ratings_count"] == expected[game_id].votes_count for game_id in set_back)


def test_a_game_that_lost_a_follower_is_not_gone(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    some = next(game_id for game_id, game in in_scope(server.catalogue).items() if game.released)
    game = server.catalogue.game(some)
    assert game
    game.added = 9
    server.catalogue.touch(1)
    lake.take(open_at(server, now=later(7)))
    assert some not in lake.deleted


def test_a_sweep_over_moving_rows_draws_no_conclusion(tmp_path: Path) -> None:
    lake = Lake(tmp_path, games(min_added=0, released_to="2025-01-31", sweep_days=1))
    with RawgServer(Catalogue(games=2500)) as big:
        lake.take(open_at(big))
        big.catalogue.remove(10)
        big.misbehave("shift", times=None, path_prefix="/games")
        extracts = lake.take(open_at(big, now=later(1)))
        assert not lake.deleted
        assert any("no deletes" in note for extract in extracts for note in extract.notes)


def test_records_without_a_readable_id_draw_no_conclusion(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    server.misbehave("bad_rows", path_prefix="/games", how=["null_id"])
    *_, last = lake.take(open_at(server))
    assert not last.keys_only
    assert "no deletes" in last.notes[-1]


# Running out


class Purse:
    def __init__(self, requests: int) -> None:
        self.left = requests

    def reserve(self) -> None:
        if self.left <= 0:
            raise QuotaSpent("spent")
        self.left -= 1

    def settle(self) -> None:
        pass

    def remaining(self) -> int | None:
        return self.left


def test_a_backfill_continues_run_by_run(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    runs = 0
    while lake.cursor is None or lake.pass_under_way:
        runs += 1
        with suppress(QuotaSpent):
            lake.take(open_at(server, Purse(15), now=later(runs / 24), parallel=2))
    assert runs > 2
    assert lake.live == in_scope(server.catalogue).keys()
    assert lake.extracts[-1].keys_only


def test_what_goes_during_a_long_pass_is_found_by_the_next(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(QuotaSpent):
        lake.take(open_at(server, Purse(20), parallel=2))
    gone, kept, *_ = sorted(lake.live)
    server.catalogue.merge(gone, into=kept)
    lake.take(open_at(server))
    assert lake.live - {gone} == in_scope(server.catalogue).keys()
    lake.take(open_at(server, now=later(7)))
    assert lake.live == in_scope(server.catalogue).keys()


def test_a_spent_quota_keeps_what_was_fetched(tmp_path: Path) -> None:
    with RawgServer(Catalogue(games=400), monthly_limit=20) as server:
        lake = Lake(tmp_path)
        with pytest.raises(QuotaSpent, match=r"monthly request quota is spent.*What was fetched is kept") as error:
            lake.take(open_at(server))
        assert error.value.exit_code == 7
        assert lake.records
        assert lake.pass_under_way
        while lake.pass_under_way:
            server.new_month()
            with suppress(QuotaSpent):
                lake.take(open_at(server))
        assert lake.live == in_scope(server.catalogue).keys()


def test_ids_that_changes_bring_during_a_long_sweep_count_as_seen(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    with pytest.raises(QuotaSpent):
        lake.take(open_at(server, Purse(20), now=later(8), parallel=1))
    assert lake.cursor
    done = lake.cursor["pass"]["through"]
    game = next(game for game in in_scope(server.catalogue).values() if game.released and game.released > done)
    game.released, game.updated = done[:8] + "01", "2026-11-19T00:00:00"  # into a window that was read already
    server.catalogue.touch(1)
    lake.take(open_at(server, now=later(8.5)))
    assert not lake.pass_under_way
    assert game.id in lake.live


def test_another_scope_means_a_new_pass(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path, games(released_from="2026-01-01"))
    lake.take(open_at(server))
    lake.what = games()
    lake.take(open_at(server, now=later(1)))
    assert lake.live == in_scope(server.catalogue).keys()


@pytest.mark.parametrize("key", ["wrong", ""])
def test_a_bad_key_says_where_to_get_one(server: RawgServer, tmp_path: Path, key: str) -> None:
    with pytest.raises(CredentialsError, match=r"RAWG_API_KEY.*rawg.io/apidocs") as error:
        Lake(tmp_path).take(open_at(server, key=key))
    assert not isinstance(error.value, QuotaSpent)


# Failures in the middle


@pytest.mark.parametrize("kind", ["status", "html", "malformed", "drop", "garbage_gzip"])
def test_passing_failures_are_not_noticed(server: RawgServer, tmp_path: Path, kind: str) -> None:
    server.misbehave(kind, times=2, after=3)
    lake = Lake(tmp_path)
    lake.take(open_at(server, retries=3))
    assert lake.live == in_scope(server.catalogue).keys()


@pytest.mark.parametrize(
    ("kind", "error"),
    [("status", Unreachable), ("html", SourceDataError), ("drop", Unreachable), ("quota", QuotaSpent)],
)
def test_lasting_failures_keep_the_months_before(
    server: RawgServer, tmp_path: Path, kind: str, error: type[StarbergError]
) -> None:
    server.misbehave(kind, times=None, after=12)
    lake = Lake(tmp_path)
    with pytest.raises(error):
        lake.take(open_at(server))
    assert lake.cursor
    through = lake.cursor["pass"]["through"]
    dated = {
        game_id for game_id, game in in_scope(server.catalogue).items() if game.released and game.released <= through
    }
    assert lake.live == dated
    server.behave()
    lake.take(open_at(server))
    assert lake.live == in_scope(server.catalogue).keys()


def test_a_redirect_to_another_host_ends_the_run(server: RawgServer, tmp_path: Path) -> None:
    server.misbehave("redirect", times=None)
    with pytest.raises(SourceDataError, match="points to"):
        Lake(tmp_path).take(open_at(server))


# The full shape


def test_the_full_shape_has_what_filtered_lists_lack(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path, stream("game_details", path="/games", options={"shape": "full", "released_from": FIRST}))
    lake.take(open_at(server))
    expected = in_scope(server.catalogue)
    assert lake.live == expected.keys()
    assert all("released_at" in entry for game in lake.records.values() for entry in game["platforms"])
    shown = {
        game_id: [entry["platform"]["id"] for entry in game["platforms"]] for game_id, game in lake.records.items()
    }
    assert shown == {game_id: list(game.platforms) for game_id, game in expected.items()}
    assert lake.cursor == {"done": "2026-11-21"}


def test_the_full_shape_keeps_to_its_budget_and_goes_on(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(
        tmp_path,
        stream("game_details", path="/games", options={"shape": "full", "detail_budget": 3, "released_from": FIRST}),
    )
    runs = 0
    while "done" not in (lake.cursor or {}):
        sent = server.requests
        lake.take(open_at(server))
        runs += 1
        assert server.requests - sent <= 3
    assert runs > 2
    assert lake.live == in_scope(server.catalogue).keys()


def test_pages_of_the_full_shape_before_one_that_fails_are_kept(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path, games(shape="full", checkpoint_requests=500))
    server.misbehave("html", times=None, after=4)
    with pytest.raises(SourceDataError):
        lake.take(open_at(server, parallel=2))
    kept = len(lake.records)
    assert kept
    assert lake.cursor
    assert lake.cursor["page"] > 1
    server.behave()
    lake.take(open_at(server))
    assert len(lake.records) > kept
    assert lake.live == in_scope(server.catalogue).keys()


def test_the_full_shape_goes_on_without_reading_anything_twice_or_past_the_end(
    server: RawgServer, tmp_path: Path
) -> None:
    lake = Lake(tmp_path, games(shape="full", min_added=0, released_from="1900-01-01", checkpoint_requests=3))
    extracts = lake.take(open_at(server))
    assert not any(extract.notes for extract in extracts)
    pages = [int(query["page"]) for query in asked(server, ordering="-added")]
    assert sorted({*pages}) == list(range(1, 11))
    assert len(pages) == 10 + 4  # each part begins with the last page of the one before


def test_the_full_shape_rests_for_a_month(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path, stream("game_details", path="/games", options={"shape": "full", "released_from": FIRST}))
    lake.take(open_at(server))
    assert lake.take(open_at(server, now=later(29))) == []
    assert lake.take(open_at(server, now=later(30))) != []


@pytest.mark.parametrize("what", [games(shape="full"), GAMES], ids=["full", "undated"])
def test_a_list_that_shrank_below_the_page_to_go_on_with_is_at_its_end(
    server: RawgServer, tmp_path: Path, what: Stream
) -> None:
    lake = Lake(tmp_path, what)
    lake.take(open_at(server))
    assert lake.cursor
    seen = IdSet(lake.records).to_text()
    under_way = {
        "started": "2026-11-21",
        "through": "2199-12-31",
        "undated_page": 99,
        "fits": True,
        "requests": 1,
        "seen": seen,
    }
    lake.cursor = {"page": 99} if what is not GAMES else {**lake.cursor, "pass": under_way}
    lake.take(open_at(server))
    assert lake.live == in_scope(server.catalogue).keys()
    assert not lake.pass_under_way


# Dimensions


@pytest.mark.parametrize("name", ["genres", "platforms", "stores", "tags"])
def test_members_are_full_lists(shared: RawgServer, tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path, stream(name))
    [extract] = list(open_at(shared).extract(lake.what, None, tmp_path, full=False))
    found = records(extract)
    assert extract.whole
    assert len({record["id"] for record in found}) == len(found) > 5


# The plan


def test_the_plan_asks_nothing_and_bounds_what_comes(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    months, undated = open_at(server).plan(GAMES, None)
    assert server.requests == 0
    assert undated == Planned("games: the undated", 1, None)
    assert (months.part, months.at_least) == ("games: 36 months of release", 36)
    lake.take(open_at(server))
    dated = [query for query in asked(server) if "dates" in query]
    assert months.at_least <= len(dated) <= (months.at_most or 0)


def test_the_plan_of_a_sweep_is_what_the_last_one_cost(server: RawgServer, tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.take(open_at(server))
    cost = server.requests
    assert lake.cursor
    assert open_at(server, now=later(1)).plan(GAMES, lake.cursor) == [
        Planned(f"games: changes since {lake.cursor['updated']}", 1, None)
    ]
    _, sweep = open_at(server, now=later(7)).plan(GAMES, lake.cursor)
    assert sweep.at_most == cost


# Small parts


def test_ids_survive_packing() -> None:
    ids = {0, 1, 7, 8, 9, 1000, 999_983}
    assert IdSet.from_text(IdSet(ids).to_text()).ids == ids
    assert IdSet.from_text(IdSet().to_text()).ids == set()


def test_eighty_thousand_ids_take_less_than_a_hundred_kilobytes() -> None:
    assert len(IdSet(range(0, 1_000_000, 12)).to_text()) < 100_000
    assert len(IdSet(random.Random(1).sample(range(1_000_000), 80_000)).to_text()) < 100_000


def test_windows_reach_every_day_from_the_first(server: RawgServer) -> None:
    from starberg.ingestion.rawg_scope import FAR, RawgOptions, Scope

    windows = Scope(RawgOptions()).windows(date(2026, 11, 21))
    assert (windows[0].first, windows[-1].last) == (date(2015, 1, 1), FAR)
    assert all(two.first - one.last == timedelta(days=1) for one, two in itertools.pairwise(windows))
    assert Scope(RawgOptions(released_to="today")).windows(date(2026, 11, 21))[-1].last == date(2026, 11, 21)
