"""The request budget: never under-counted, never overspent, and cheap to count."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from servers import FakeStore

from starberg.ingestion.budget import Block, StoreLedger
from starberg.utils.errors import QuotaSpent


def ledger(store: FakeStore, run: str = "run-1", **limits: int) -> StoreLedger:
    return StoreLedger(store, "control/requests/games/rawg", "2026-11", run, **limits)  # type: ignore[arg-type]


def counted(store: FakeStore) -> int:
    return sum(Block.parse(key).requests for key in store.objects)


def spend(book: StoreLedger, requests: int) -> int:
    for done in range(requests):
        try:
            book.reserve()
        except QuotaSpent:
            return done
    return requests


def test_a_block_is_in_the_store_before_its_first_request_is_sent() -> None:
    store = FakeStore()
    ledger(store, per_month=1000).reserve()
    assert counted(store) == 50  # a process killed here has counted 50, not 0


def test_settling_leaves_the_true_number() -> None:
    store = FakeStore()
    book = ledger(store, per_month=1000)
    spend(book, 73)
    book.settle()
    assert counted(store) == 73
    spend(book, 5)
    book.settle()
    assert counted(store) == 78


def test_a_kill_between_the_two_halves_of_settling_counts_the_block_once() -> None:
    store = FakeStore()
    store.put("control/requests/games/rawg/2026-11/run-0.000001.50", b"")
    store.put("control/requests/games/rawg/2026-11/run-0.000001.7", b"")
    assert ledger(store, per_month=100).remaining() == 93


def test_the_month_is_shared_by_all_runs() -> None:
    store = FakeStore()
    assert spend(ledger(store, "run-1", per_month=120), 70) == 70  # killed: 100 counted
    assert spend(ledger(store, "run-2", per_month=120), 70) == 20
    with pytest.raises(QuotaSpent, match="120 this month"):
        ledger(store, "run-3", per_month=120).reserve()


def test_another_month_starts_anew() -> None:
    store = FakeStore()
    spend(ledger(store, per_month=10), 10)
    december = StoreLedger(store, "control/requests/games/rawg", "2026-12", "run-2", per_month=10)  # type: ignore[arg-type]
    assert december.remaining() == 10


def test_the_run_has_its_own_limit_and_a_stage_of_it_continues_the_count() -> None:
    store = FakeStore()
    first = ledger(store, "run-1", per_run=60)
    spend(first, 30)
    first.settle()
    assert spend(ledger(store, "run-1", per_run=60), 100) == 30
    assert spend(ledger(store, "run-2", per_run=60), 100) == 60


def test_two_runs_at_the_edge_do_not_overspend() -> None:
    store = FakeStore()
    books = [ledger(store, f"run-{number}", per_month=200, block=20) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        sent = sum(pool.map(lambda book: spend(book, 100), books))
    assert sent <= 200
    assert counted(store) <= 200


def test_threads_of_one_run_share_its_block() -> None:
    store = FakeStore()
    book = ledger(store, per_run=100)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: spend(book, 20), range(8))) == 100


def test_remaining_counts_what_is_in_hand() -> None:
    book = ledger(FakeStore(), per_run=100, per_month=1000)
    spend(book, 10)
    assert book.remaining() == 90


def test_fifty_requests_cost_four_calls_to_the_store() -> None:
    store = FakeStore()
    book = ledger(store, per_month=1000)
    spend(book, 40)
    book.settle()
    assert len(store.calls) <= 5


def test_objects_that_are_no_blocks_are_nobodys_requests() -> None:
    store = FakeStore()
    store.put("control/requests/games/rawg/2026-11/README", b"")
    assert ledger(store, per_month=10).remaining() == 10
