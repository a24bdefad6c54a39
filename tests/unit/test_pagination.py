"""The walkers: every row once, whatever the server does to pages, and an end to every loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from starberg.ingestion.pagination import Ask, PageFacts, Walk, walk
from starberg.ingestion.streams import Pagination
from starberg.utils.errors import SourceDataError


def paging(kind: str, **more: Any) -> Pagination:
    needs = {"page": {"param": "page"}, "offset": {"param": "offset"}, "cursor": {"param": "after", "next": "next"},
             "keyset": {"param": "since", "key": "id"}, "url": {"next": "next"}}.get(kind, {})  # fmt: skip
    return Pagination(kind=kind, **{**needs, "size_param": "limit", "size": 100, **more})  # type: ignore[arg-type]


def facts(keys: list[int], **more: Any) -> PageFacts:
    return PageFacts(rows=len(keys), keys=keys, fingerprint=hash(tuple(keys)), **more)


Server = Callable[[Ask], PageFacts]


def run(walker: Walk, server: Server, most: int = 200) -> list[Ask]:
    """Fetch everything a walk asks for, as many at once as it hands out; return the asks."""
    asked: list[Ask] = []
    while not walker.finished:
        batch: list[Ask] = []
        while ask := walker.next_ask():
            batch.append(ask)
        asked += batch
        assert len(asked) <= most
        for ask in batch:
            walker.accept(ask, server(ask))
    return asked


def rows_server(rows: int, cut_to: int, *, total: bool = True, past_end: str = "empty") -> Server:
    """Serves `rows` keys by page or offset, never more than `cut_to` a page."""

    def serve(ask: Ask) -> PageFacts:
        size = min(ask.params["limit"], cut_to)
        start = ask.params["offset"] if "offset" in ask.params else (ask.params["page"] - 1) * size
        keys = list(range(rows))[start : start + size]
        if not keys and past_end == "404":
            return PageFacts(0, missing=True)
        return facts(keys, total=rows if total else None)

    return serve


@pytest.mark.parametrize("past_end", ["empty", "404"])
@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("kind", ["page", "offset"])
@pytest.mark.parametrize(("rows", "cut_to"), [(0, 100), (1, 100), (100, 100), (250, 100), (250, 40), (200, 40)])
def test_numbered_pages_give_every_row_even_if_the_size_is_cut(
    kind: str, rows: int, cut_to: int, total: bool, past_end: str
) -> None:
    walker = walk(paging(kind), {"q": "x"}, "items")
    asked = run(walker, rows_server(rows, cut_to, total=total, past_end=past_end))
    assert (walker.distinct, walker.rows, walker.mismatch) == (rows, rows, "")
    assert all(ask.params["q"] == "x" for ask in asked)
    if total and rows:
        assert len(asked) == -(-rows // cut_to)


def test_all_other_pages_are_handed_out_at_once_when_the_total_is_known() -> None:
    walker = walk(paging("page"), {}, "items")
    first = walker.next_ask()
    assert first
    assert walker.next_ask() is None
    walker.accept(first, facts(list(range(40)), total=400))
    batch = [walker.next_ask() for _ in range(9)]
    assert [ask.label for ask in batch if ask] == [f"page={number}" for number in range(2, 11)]
    assert walker.next_ask() is None


def test_pages_start_where_declared() -> None:
    walker = walk(paging("page", start=0), {}, "items")
    asked = run(walker, lambda ask: facts([ask.params["page"]], total=3))
    assert [ask.params["page"] for ask in asked] == [0, 1, 2]


def test_a_total_that_grows_adds_pages() -> None:
    walker = walk(paging("page"), {}, "items")
    sizes = {1: (range(10), 20), 2: (range(10, 20), 25), 3: (range(20, 25), 25)}
    run(walker, lambda ask: facts(list(sizes[ask.params["page"]][0]), total=sizes[ask.params["page"]][1]))
    assert walker.distinct == 25
    assert walker.mismatch == "the stated total moved from 20 to 25"


def test_a_short_page_in_the_middle_of_offsets_leaves_no_gap() -> None:
    def serve(ask: Ask) -> PageFacts:
        start = ask.params["offset"]
        size = 6 if start == 10 else 10
        return facts(list(range(35))[start : start + size], total=35)

    walker = walk(paging("offset"), {}, "items")
    run(walker, serve)
    assert (walker.distinct, walker.mismatch) == (35, "")


def test_a_total_stated_on_the_first_page_only_is_enough() -> None:
    walker = walk(paging("page"), {}, "items")
    asked = run(walker, lambda ask: facts([ask.position], total=3 if ask.position == 1 else None))
    assert (len(asked), walker.distinct, walker.mismatch) == (3, 3, "")


def test_more_pages_promised_than_exist_is_an_end_and_a_mismatch() -> None:
    walker = walk(paging("page"), {}, "items")
    run(walker, lambda ask: facts([ask.position], total=9) if ask.position < 4 else PageFacts(0, missing=True))
    assert walker.mismatch == "3 different records came, the stated total is 9"


def test_a_first_page_that_is_not_there_is_no_end() -> None:
    walker = walk(paging("page"), {}, "items")
    ask = walker.next_ask()
    assert ask
    assert not walker.tolerates_missing(ask)


@pytest.mark.parametrize("kind", ["page", "offset"])
@pytest.mark.parametrize("total", [50, None])
def test_a_server_that_ignores_the_page_is_a_loop(kind: str, total: int | None) -> None:
    walker = walk(paging(kind), {}, "items")
    with pytest.raises(SourceDataError, match=r"items: the server's paging loops at page 2 \((page=2|offset=10)\)"):
        run(walker, lambda ask: facts(list(range(10)), total=total))


def test_a_page_sent_again_is_a_loop() -> None:
    pages = {1: [1, 2], 2: [3, 4], 3: [3, 4]}
    with pytest.raises(SourceDataError, match="loops at page 3"):
        run(walk(paging("page"), {}, "items"), lambda ask: facts(pages[ask.position], total=6))


def test_rows_that_move_while_paging_are_noticed() -> None:
    pages = {1: [1, 2], 2: [2, 3], 3: [4, 5]}  # 2 moved down, 6 was pushed past the end
    walker = walk(paging("page"), {}, "items")
    run(walker, lambda ask: facts(pages[ask.position], total=6))
    assert walker.mismatch == "5 different records came, the stated total is 6"
    without_total = walk(paging("page"), {}, "items")
    run(without_total, lambda ask: facts(pages.get(ask.position, [])))
    assert without_total.mismatch == "1 records came twice"


def test_records_without_keys_are_counted_by_row() -> None:
    walker = walk(paging("none"), {}, "items")
    run(walker, lambda ask: PageFacts(rows=3, fingerprint=1, total=3))
    assert not walker.mismatch


def test_enough_ends_the_walk() -> None:
    walker = walk(paging("page"), {}, "items")
    asked = run(walker, lambda ask: facts([ask.position], total=100, enough=ask.position == 1))
    assert len(asked) == 1
    assert not walker.mismatch


@pytest.mark.parametrize("kind", ["page", "cursor"])
def test_too_many_pages_stop_the_walk(kind: str) -> None:
    walker = walk(paging(kind, max_pages=5), {}, "items")
    numbers = iter(range(1000))
    with pytest.raises(SourceDataError, match="more than 5 pages"):
        run(walker, lambda ask: facts([number := next(numbers)], next=f"c{number}" if kind == "cursor" else ""))


# Pages that name the next one


def chain(*pages: tuple[list[int], str]) -> Server:
    left = iter(pages)
    return lambda ask: (lambda page: facts(page[0], next=page[1]))(next(left))


@pytest.mark.parametrize(("kind", "param"), [("cursor", "after"), ("keyset", "since")])
def test_cursors_are_sent_back_with_the_other_parameters(kind: str, param: str) -> None:
    walker = walk(paging(kind), {"q": "x"}, "items")
    asked = run(walker, chain(([1, 2], "c2"), ([3], "c3"), ([], "")))
    assert [ask.params.get(param) for ask in asked] == [None, "c2", "c3"]
    assert asked[2].params == {"q": "x", "limit": 100, param: "c3"}


@pytest.mark.parametrize("kind", ["url", "link"])
def test_urls_are_followed_as_they_are(kind: str) -> None:
    asked = run(walk(paging(kind), {"q": "x"}, "items"), chain(([1], "https://x/2"), ([2], "")))
    assert [(ask.url, dict(ask.params)) for ask in asked] == [("", {"q": "x", "limit": 100}), ("https://x/2", {})]


@pytest.mark.parametrize("kind", ["cursor", "keyset", "url", "link"])
def test_a_repeated_successor_is_a_loop(kind: str) -> None:
    walker = walk(paging(kind), {}, "items")
    with pytest.raises(SourceDataError, match="loops at page"):
        run(walker, chain(([1], "a"), ([2], "b"), ([3], "a"), ([4], "b")))


def test_an_empty_page_may_have_a_successor_but_not_a_known_one() -> None:
    walker = walk(paging("cursor"), {}, "items")
    asked = run(walker, chain(([1], "a"), ([], "b"), ([2], "c"), ([], "c")))
    assert (len(asked), walker.distinct) == (4, 2)


@pytest.mark.parametrize("kind", ["page", "offset", "cursor", "keyset", "url"])
def test_a_kind_without_what_it_needs_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"pagination kind {kind} needs"):
        Pagination(kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["page", "offset"])
def test_a_list_can_be_read_from_a_position_on(kind: str) -> None:
    walker = walk(paging(kind), {}, "items", position=3 if kind == "page" else 200)
    assert len(run(walker, rows_server(450, 100))) == 3
    assert (walker.rows, walker.mismatch) == (250, "")
