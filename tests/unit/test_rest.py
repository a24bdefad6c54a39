"""The REST source against small servers: every row once, honest about what it does not know, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from servers import Asked, FakeClock, Say, Server

from starberg.ingestion.budget import BudgetLedger, Unlimited
from starberg.ingestion.rest import RestSource, open_source
from starberg.ingestion.source import Extract, Planned
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.utils.errors import QuotaSpent, SourceDataError, Unreachable

DATE = {"Date": "Sat, 21 Nov 2026 12:00:00 GMT"}
PAGE = {"kind": "page", "param": "page", "size_param": "size", "size": 10, "total": "total", "parallel": 4}


def open_at(server: Server, ledger: BudgetLedger | None = None, **spec: Any) -> RestSource:
    source = SourceSpec(name="shop", kind="rest", url=server.url, streams={}, **{"retries": 1, **spec})
    return open_source(source, {}.get, ledger or Unlimited(), FakeClock())


def stream(**declared: Any) -> Stream:
    return Stream.model_validate({"name": "items", "key": ["id"], "path": "items", "records": "items", **declared})


def rows(extracts: list[Extract]) -> list[dict[str, Any]]:
    """Read spools the way landing does."""
    found = []
    for extract in extracts:
        for spool in extract.spools:
            lines = duckdb.sql(
                f"SELECT records FROM read_json('{spool}', format = 'newline_delimited', "
                f"columns = {{page: 'VARCHAR', records: 'JSON'}}, maximum_object_size = {2 * extract.largest_envelope})"
            ).fetchall()
            for (records,) in lines:
                found += json.loads(records)
    return found


def ids(extracts: list[Extract]) -> list[int]:
    return [row["id"] for row in rows(extracts)]


def read(
    source: RestSource, what: Stream, tmp_path: Path, cursor: dict[str, Any] | None = None, *, full: bool = False
) -> list[Extract]:
    return list(source.extract(what, cursor, tmp_path, full=full))


class Shop:
    """Serves `items` by page, with the filters the tests use; counts on `self.items` being changed between requests."""

    def __init__(self, items: list[dict[str, Any]], *, ignores: tuple[str, ...] = (), ceiling: int = 10**9) -> None:
        self.items = items
        self.ignores = ignores
        self.ceiling = ceiling
        self.before: Callable[[Asked], Say | None] = lambda asked: None

    def __call__(self, asked: Asked) -> Say:
        if instead := self.before(asked):
            return instead
        query = {name: value for name, value in asked.query.items() if name not in self.ignores}
        found = [item for item in self.items if self._matches(item, query)]
        size, page = int(query.get("size", 10)), int(query.get("page", 1))
        shown = found[: self.ceiling][(page - 1) * size : page * size]
        return Say({"total": len(found), "items": shown}, headers=DATE)

    def _matches(self, item: dict[str, Any], query: dict[str, str]) -> bool:
        first, last = query.get("days", "0,9").split(",")
        return first <= item.get("day", "1") <= last and query.get("since", "") <= item.get("changed", "~")


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"id": number} for number in range(count)]


# Full readings


def test_a_full_reading_is_whole(tmp_path: Path) -> None:
    with Server(Shop(numbered(95))) as server:
        [extract] = read(open_at(server), stream(pagination=PAGE), tmp_path)
    assert ids([extract]) == list(range(95))
    assert (extract.whole, extract.cursor, extract.requests, extract.notes) == (True, {}, 10, ())
    assert extract.bytes_read > 0


def test_pages_land_in_order_however_they_come(tmp_path: Path) -> None:
    with Server(Shop(numbered(200))) as server:
        [extract] = read(open_at(server), stream(pagination={**PAGE, "parallel": 8}), tmp_path)
    assert ids([extract]) == list(range(200))


def test_an_empty_list_is_whole_and_has_no_spool(tmp_path: Path) -> None:
    with Server(lambda asked: Say({"items": None, "total": 0})) as server:
        [extract] = read(open_at(server), stream(pagination=PAGE), tmp_path)
    assert (extract.whole, extract.spools) == (True, ())


def test_a_list_at_the_top_of_the_body_is_read(tmp_path: Path) -> None:
    with Server(lambda asked: Say([{"id": 1}, {"id": 2}])) as server:
        assert ids(read(open_at(server), stream(records=""), tmp_path)) == [1, 2]


@pytest.mark.parametrize("body", [{"other": []}, {"items": {"id": 1}}, "text", None])
def test_a_body_without_the_list_is_named(body: Any, tmp_path: Path) -> None:
    with (
        Server(lambda asked: Say(body)) as server,
        pytest.raises(SourceDataError, match="items page=1: no list of rec"),
    ):
        read(open_at(server), stream(pagination=PAGE), tmp_path)


def test_the_servers_own_text_reaches_the_spool(tmp_path: Path) -> None:
    pretty = b'{\n  "items": [\r\n    {"id": 1, "price": 1.10, "name": "a\\nb"}\n  ],\n  "total": 1\n}\n'
    with Server(lambda asked: Say(pretty)) as server:
        [extract] = read(open_at(server), stream(pagination=PAGE), tmp_path)
    [spool] = extract.spools
    assert b'"price": 1.10, "name": "a\\nb"' in spool.read_bytes()
    assert spool.read_bytes().count(b"\n") == 1
    assert rows([extract]) == [{"id": 1, "price": 1.1, "name": "a\nb"}]


def test_rows_that_move_while_paging_are_read_again(tmp_path: Path) -> None:
    shop = Shop(numbered(30))
    moved = []

    def insert_once(asked: Asked) -> None:
        if asked.query["page"] == "2" and not moved:
            moved.append(shop.items.insert(0, {"id": 99}))

    shop.before = insert_once
    with Server(shop) as server:
        [extract] = read(open_at(server), stream(pagination={**PAGE, "parallel": 1}), tmp_path)
    assert sorted(ids([extract])) == [*range(30), 99]
    assert extract.whole


def test_a_list_that_never_holds_still_derives_no_deletes(tmp_path: Path) -> None:
    with Server(
        lambda asked: Say({"items": [{"id": asked.query["page"]}], "total": 4 if asked.query["page"] < "3" else 3})
    ) as server:
        [extract] = read(open_at(server), stream(pagination={**PAGE, "size": 1}), tmp_path)
    assert not extract.whole
    assert extract.notes == ("items: the stated total moved from 3 to 4", "items: read twice, no deletes are derived")


def test_pages_promised_beyond_the_last_one_end_the_list(tmp_path: Path) -> None:
    def serve(asked: Asked) -> Say:
        page = int(asked.query["page"])
        return Say({"items": [{"id": page}], "total": 9}) if page < 4 else Say({"detail": "Invalid page."}, 404)

    with Server(serve) as server:
        [extract] = read(open_at(server), stream(pagination=PAGE), tmp_path)
    assert ids([extract]) == [1, 2, 3]
    assert not extract.whole


def test_a_wrong_path_is_no_empty_list(tmp_path: Path) -> None:
    with Server(lambda asked: Say({}, 404)) as server, pytest.raises(SourceDataError, match=r"items page=1.*404"):
        read(open_at(server), stream(pagination=PAGE), tmp_path)


def test_a_failure_reading_one_list_hands_over_nothing(tmp_path: Path) -> None:
    def serve(asked: Asked) -> Say:
        return Say({"items": [{"id": 1}], "total": 99}) if asked.query["page"] == "1" else Say({}, 500)

    with Server(serve) as server, pytest.raises(Unreachable, match="items page="):
        read(open_at(server), stream(pagination=PAGE), tmp_path)


# Kinds of paging, end to end


def cursor_server(asked: Asked) -> Say:
    start = int(asked.query.get("after", 0))
    return Say({"items": numbered(25)[start : start + 10], "meta": {"next": start + 10 if start < 20 else None}})


def keyset_server(asked: Asked) -> Say:
    start = int(asked.query.get("since_id", -1)) + 1
    return Say({"items": numbered(25)[start : start + 10]})


def link_server(asked: Asked) -> Say:
    start = int(asked.query.get("start", 0))
    links = f'<{asked.url}/items>; rel="first", </items?start={start + 10}&key=old>; rel="next"'
    return Say({"items": numbered(25)[start : start + 10]}, headers={"Link": links} if start < 20 else {})


def url_server(asked: Asked) -> Say:
    start = int(asked.query.get("start", 0))
    return Say(
        {
            "items": numbered(25)[start : start + 10],
            "next": f"{asked.url}/items?start={start + 10}" if start < 20 else None,
        }
    )


def header_total_server(asked: Asked) -> Say:
    start = int(asked.query["skip"])
    return Say({"items": numbered(25)[start : start + 10]}, headers={"X-Total-Count": "25"})


@pytest.mark.parametrize(
    ("serve", "pagination", "requests"),
    [
        (cursor_server, {"kind": "cursor", "param": "after", "next": "meta.next"}, 3),
        (keyset_server, {"kind": "keyset", "param": "since_id", "key": "id"}, 4),
        (link_server, {"kind": "link"}, 3),
        (url_server, {"kind": "url", "next": "next"}, 3),
        (header_total_server, {"kind": "offset", "param": "skip", "total": "header:X-Total-Count", "parallel": 2}, 3),
        (header_total_server, {"kind": "offset", "param": "skip"}, 4),
    ],
    ids=["cursor", "keyset", "link", "url", "offset-header", "offset"],
)
def test_every_kind_of_paging_gives_every_row(
    serve: Callable[[Asked], Say], pagination: dict[str, Any], requests: int, tmp_path: Path
) -> None:
    with Server(serve) as server:
        [extract] = read(open_at(server), stream(pagination=pagination), tmp_path)
    assert ids([extract]) == list(range(25))
    assert (extract.whole, extract.requests) == (True, requests)


def test_a_next_link_to_another_host_is_refused(tmp_path: Path) -> None:
    body = {"items": [{"id": 1}], "next": "http://evil.example/items?page=2"}
    said = "items page 2: the server points to http://evil.example:80"
    with Server(lambda asked: Say(body)) as server, pytest.raises(SourceDataError, match=said):
        read(open_at(server), stream(pagination={"kind": "url", "next": "next"}), tmp_path)


# Incremental readings

CHANGED = {"capture": "incremental", "cursor": "changed", "cursor_param": "since", "pagination": PAGE}


def changed(*days: str) -> list[dict[str, Any]]:
    return [{"id": number, "changed": day} for number, day in enumerate(days)]


def test_the_next_reading_starts_at_the_greatest_cursor_again(tmp_path: Path) -> None:
    shop = Shop(changed("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z"))
    with Server(shop) as server:
        [first] = read(open_at(server), stream(**CHANGED), tmp_path)
        assert (first.cursor, first.whole) == ({"value": "2026-03-01T00:00:00Z"}, True)
        shop.items.append({"id": 9, "changed": "2026-03-01T00:00:00Z"})
        [second] = read(open_at(server), stream(**CHANGED), tmp_path, dict(first.cursor))
        assert server.asked[-1].query["since"] == "2026-03-01T00:00:00Z"
    assert ids([second]) == [1, 9]
    assert (second.cursor, second.whole) == (first.cursor, False)


def test_nothing_new_keeps_the_cursor(tmp_path: Path) -> None:
    with Server(Shop([])) as server:
        [extract] = read(open_at(server), stream(**CHANGED), tmp_path, {"value": "2026-03-01"})
    assert extract.cursor == {"value": "2026-03-01"}


def test_a_cursor_ahead_of_the_servers_clock_is_held_back(tmp_path: Path) -> None:
    with Server(Shop(changed("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"))) as server:
        [extract] = read(open_at(server), stream(**CHANGED), tmp_path)
    assert extract.cursor["value"] <= "2100"
    assert extract.cursor["value"] != "2099-01-01T00:00:00Z"


def test_an_ignored_filter_is_noticed_on_the_first_page(tmp_path: Path) -> None:
    shop = Shop(changed(*["2026-01-01"] * 50), ignores=("since",))
    with Server(shop) as server:
        with pytest.raises(
            SourceDataError, match="items page=1: the server ignores since: asked for changed from 2026-03-01"
        ):
            read(open_at(server), stream(**CHANGED), tmp_path, {"value": "2026-03-01"})
        assert len(server.asked) == 1
        read(open_at(server), stream(**CHANGED, verify_filter=False), tmp_path, {"value": "2026-03-01"})


def test_a_cursor_sent_as_a_day_may_bring_the_whole_day(tmp_path: Path) -> None:
    shop = Shop(changed("2026-03-01T05:00:00", "2026-03-01T10:00:00"))
    with Server(shop) as server:
        what = stream(**CHANGED, cursor_format="{value:.10}")
        [extract] = read(open_at(server), what, tmp_path, {"value": "2026-03-01T10:00:00"})
        assert server.asked[0].query["since"] == "2026-03-01"
    assert ids([extract]) == [0, 1]


def test_full_reads_everything_whatever_the_cursor_says(tmp_path: Path) -> None:
    with Server(Shop(changed("2026-01-01", "2026-03-01"))) as server:
        [extract] = read(open_at(server), stream(**CHANGED), tmp_path, {"value": "2026-03-01"}, full=True)
    assert (ids([extract]), extract.whole) == ([0, 1], True)


# Windows

WINDOW = {"params": {"days": "{from},{to}"}, "column": "day", "start": "2026-01-01", "end": "2026-06-30"}
WINDOWED = {"window": WINDOW, "pagination": PAGE}


def daily(first: date, last: date, per_day: int = 1) -> list[dict[str, Any]]:
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [{"id": number, "day": str(day)} for number, day in enumerate(day for day in days for _ in range(per_day))]


HALF_YEAR = daily(date(2026, 1, 1), date(2026, 6, 30))


def test_windows_are_read_in_order_and_their_keys_prove_what_is_gone(tmp_path: Path) -> None:
    with Server(Shop(HALF_YEAR)) as server:
        content, keys = read(open_at(server), stream(**WINDOWED), tmp_path)
    assert ids([content]) == list(range(181))
    assert not content.whole
    assert (keys.whole, keys.keys_only, keys.requests) == (True, True, 0)
    assert rows([keys]) == [{"id": number} for number in range(181)]
    assert (content.cursor, keys.cursor) == ({}, {})


def test_a_window_over_the_ceiling_is_halved_until_it_fits(tmp_path: Path) -> None:
    shop = Shop(daily(date(2026, 1, 1), date(2026, 1, 31), per_day=5), ceiling=40)
    window = {**WINDOW, "end": "2026-01-31", "ceiling": 40}
    with Server(shop) as server:
        content, _ = read(open_at(server), stream(window=window, pagination=PAGE), tmp_path)
    assert ids([content]) == list(range(155))


def test_a_day_over_the_ceiling_is_named(tmp_path: Path) -> None:
    shop = Shop(daily(date(2026, 1, 1), date(2026, 1, 3), per_day=50))
    window = {**WINDOW, "end": "2026-01-03", "ceiling": 40}
    with Server(shop) as server, pytest.raises(SourceDataError, match="items 2026-01-01: 50 records in one day"):
        read(open_at(server), stream(window=window, pagination=PAGE), tmp_path)


def test_an_ignored_window_is_noticed(tmp_path: Path) -> None:
    said = "items 2026-.* page=.: the server ignores days: asked for 2026-"
    with Server(Shop(HALF_YEAR, ignores=("days",))) as server, pytest.raises(SourceDataError, match=said):
        read(open_at(server), stream(**WINDOWED), tmp_path)


def test_checkpoints_say_which_windows_are_done(tmp_path: Path) -> None:
    with Server(Shop(HALF_YEAR)) as server:
        what = stream(**WINDOWED, options={"checkpoint_requests": 5})
        *content, keys = read(open_at(server), what, tmp_path)
    done = [extract.cursor.get("through") for extract in content]
    assert done == [*sorted(done[:-1]), None]
    assert len(done) > 1
    for extract, through in zip(content, done, strict=True):
        assert all(row["day"] <= (through or "9") for row in rows([extract]))
    assert ids(content) == list(range(181))
    assert keys.keys_only
    assert sum(extract.requests for extract in [*content, keys]) == len(server.asked)


class Purse:
    """A ledger with so many requests."""

    def __init__(self, requests: int) -> None:
        self.left = requests

    def reserve(self) -> None:
        if not self.left:
            raise QuotaSpent("spent")
        self.left -= 1

    def settle(self) -> None:
        pass

    def remaining(self) -> int | None:
        return self.left


def until_stopped(extracts: Iterator[Extract], error: type[Exception]) -> list[Extract]:
    got: list[Extract] = []
    with pytest.raises(error):
        got.extend(extracts)  # keeps what came before the error
    return got


def test_a_spent_budget_keeps_the_windows_that_are_done_and_the_next_run_goes_on(tmp_path: Path) -> None:
    with Server(Shop(HALF_YEAR)) as server:
        what = stream(**WINDOWED)
        source = open_at(server, Purse(14), parallel=1)
        first = until_stopped(source.extract(what, None, tmp_path, full=False), QuotaSpent)
        assert len(first) == 1
        assert first[0].cursor["through"] in ("2026-03-31", "2026-04-30")  # 4 + 3 + 4 + 3 pages, one may be of May
        rest = read(open_at(server), what, tmp_path, dict(first[0].cursor))
    assert ids([*first, *rest]) == list(range(181))
    assert not any(extract.whole for extract in rest)
    assert rest[-1].cursor == {}
    assert "no deletes are derived" in rest[-1].notes[0]


def test_a_server_that_fails_midway_keeps_what_is_done(tmp_path: Path) -> None:
    shop = Shop(HALF_YEAR)
    shop.before = lambda asked: Say({}, 500) if asked.query["days"].startswith("2026-04") else None
    with Server(shop) as server:
        got = until_stopped(open_at(server).extract(stream(**WINDOWED), None, tmp_path, full=False), Unreachable)
    assert [extract.cursor["through"] for extract in got] == ["2026-03-31"]
    assert ids(got) == [item["id"] for item in HALF_YEAR if item["day"] < "2026-04"]


def test_nothing_done_hands_over_nothing(tmp_path: Path) -> None:
    with Server(Shop(HALF_YEAR)) as server:
        assert (
            until_stopped(open_at(server, Purse(0)).extract(stream(**WINDOWED), None, tmp_path, full=False), QuotaSpent)
            == []
        )


def test_after_its_windows_an_incremental_stream_follows_its_cursor(tmp_path: Path) -> None:
    items = [{**item, "changed": f"{item['day']}T10:00:00"} for item in HALF_YEAR]
    what = stream(**CHANGED, window=WINDOW)
    with Server(Shop(items)) as server:
        [backfill] = read(open_at(server), what, tmp_path)
        assert backfill.cursor == {"value": "2026-06-30T10:00:00"}
        [later] = read(open_at(server), what, tmp_path, dict(backfill.cursor))
        assert "days" not in server.asked[-1].query
    assert ids([later]) == [180]


def test_a_resumed_backfill_keeps_the_cursor_it_began_with(tmp_path: Path) -> None:
    items = [{**item, "changed": f"{item['day']}T10:00:00"} for item in HALF_YEAR]
    what = stream(**CHANGED, window=WINDOW)
    with Server(Shop(items)) as server:
        source = open_at(server, Purse(14), parallel=1)
        [first] = until_stopped(source.extract(what, None, tmp_path, full=False), QuotaSpent)
        rest = read(open_at(server), what, tmp_path, dict(first.cursor))
    assert rest[-1].cursor == {"value": first.cursor["value"]}
    assert ids([first, *rest]) == list(range(181))


def test_without_a_cursor_parameter_the_last_day_is_read_again(tmp_path: Path) -> None:
    what = stream(capture="incremental", window=WINDOW, pagination=PAGE)
    with Server(Shop(HALF_YEAR)) as server:
        [first] = read(open_at(server), what, tmp_path)
        [second] = read(open_at(server), what, tmp_path, dict(first.cursor))
    assert first.cursor == second.cursor == {"through": "2026-06-30"}
    assert ids([second]) == [180]


# Records nobody can read


def test_a_record_that_is_no_unicode_is_replaced_by_its_escaped_text_and_key(tmp_path: Path) -> None:
    body = b'{"items": [{"id": 1, "n": "good \xc3\xa9"}, {"id": 2, "n": "bad \xff"}, {"id": 3, "n": "half \\ud800"}]'
    body += b', "x": "\\udfff"}'
    with Server(lambda asked: Say(body)) as server:
        [extract] = read(open_at(server), stream(), tmp_path)
    good, bad, half = rows([extract])
    assert good == {"id": 1, "n": "good é"}
    assert bad == {"id": 2, "_unreadable": '{"id": 2, "n": "bad \\xff"}'}
    assert half == {"id": 3, "_unreadable": '{"id": 3, "n": "half \\ud800"}'}


def test_whole_surrogate_pairs_and_nul_are_left_alone(tmp_path: Path) -> None:
    body = b'{"items": [{"id": 1, "n": "\\ud83d\\ude00 \\u0000"}]}'
    with Server(lambda asked: Say(body)) as server:
        [extract] = read(open_at(server), stream(), tmp_path)
    assert b"\\ud83d\\ude00 \\u0000" in extract.spools[0].read_bytes()
    assert rows([extract]) == [{"id": 1, "n": "😀 \x00"}]


def test_the_plan_counts_the_windows_that_are_left_and_asks_nothing(tmp_path: Path) -> None:
    with Server(Shop(HALF_YEAR)) as server:
        source = open_at(server)
        assert source.plan(stream(**WINDOWED), None) == [Planned("items: 6 windows", 6, None)]
        assert source.plan(stream(**WINDOWED), {"through": "2026-04-30"}) == [Planned("items: 2 windows", 2, None)]
        assert source.plan(stream(), None) == [Planned("items: the list", 1, 1)]
        assert server.asked == []
