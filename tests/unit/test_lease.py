"""A warehouse's lease: who gets it, who waits, and what becomes of a dead run's."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from servers import FakeClock

from starberg.storage import lease as lease_module
from starberg.storage.lease import TTL, Held, Lease, hold, leases
from starberg.storage.local_store import LocalStore
from starberg.storage.object_store import ObjectStore
from starberg.utils.clock import Clock
from starberg.utils.errors import Busy, LakeError, Unreachable

KEY = "leases/games.json"


def nobody_is_dead(lease: Lease) -> None:
    raise AssertionError(f"{lease.run_id} was taken for dead")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def live(store: ObjectStore, clock: Clock) -> list[Lease]:
    return [lease for lease in leases(store) if not lease.is_dead(clock.now())]


@contextmanager
def held(
    store: ObjectStore,
    run_id: str,
    clock: Clock,
    reclaim: Callable[[Lease], None] = nobody_is_dead,
    wait_s: float = 0,
    ttl: timedelta = TTL,
) -> Iterator[Lease]:
    with hold(store, "games", run_id, clock, wait_s=wait_s, reclaim=reclaim, ttl=ttl) as found:
        yield found.lease


def left_by_a_dead_run(store: ObjectStore, clock: Clock, **changes: object) -> Lease:
    """Leave the lease of a process of this machine that has ended."""
    with held(store, "dead", clock) as lease:
        pass
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = lease.model_copy(update={"pid": ended.pid, **changes})
    store.put(KEY, dead.model_dump_json().encode())
    return dead


def test_a_free_warehouse_is_held_and_released(store: ObjectStore, clock: FakeClock) -> None:
    with held(store, "one", clock) as lease:
        assert live(store, clock) == [lease]
        assert lease.expires_at - lease.acquired_at == TTL
    assert live(store, clock) == []
    assert list(store.list("leases/")) == []


def test_warehouses_do_not_wait_for_each_other(store: ObjectStore, clock: FakeClock) -> None:
    with held(store, "one", clock), hold(store, "retail", "two", clock, wait_s=0, reclaim=nobody_is_dead):
        assert [lease.warehouse for lease in live(store, clock)] == ["games", "retail"]


def test_a_second_run_is_told_who_holds_it_and_how_long(store: ObjectStore, clock: FakeClock) -> None:
    with held(store, "one", clock) as lease:
        clock.sleep(30)
        with pytest.raises(Busy, match=rf"run one .* 0\.5 min \(process {lease.pid} on {lease.host}\)"):
            held(store, "two", clock).__enter__()
        assert live(store, clock) == [lease]


def test_a_second_run_waits_as_long_as_it_was_told(store: ObjectStore, clock: FakeClock) -> None:
    with held(store, "one", clock), pytest.raises(Busy):
        held(store, "two", clock, wait_s=10).__enter__()
    assert 10 <= sum(clock.slept) < 11


def test_a_second_run_that_waits_gets_it_when_the_first_is_done(store: ObjectStore) -> None:
    taken, done = threading.Event(), threading.Event()

    def first() -> None:
        with held(store, "one", Clock()):
            taken.set()
            done.wait(20)

    run = threading.Thread(target=first)
    run.start()
    taken.wait(20)
    threading.Timer(0.2, done.set).start()
    with held(store, "two", Clock(), wait_s=20) as lease:
        assert lease.run_id == "two"
        assert done.is_set()
    run.join()


def test_a_dead_process_of_this_machine_is_reclaimed_before_it_is_taken_over(
    store: ObjectStore, clock: FakeClock
) -> None:
    dead, reclaimed = left_by_a_dead_run(store, clock), []

    def reclaim(lease: Lease) -> None:
        assert store.size(KEY)  # while it is reclaimed it is still there, so nobody else begins
        reclaimed.append(lease)

    with held(store, "two", clock, reclaim, wait_s=1) as lease:
        assert (reclaimed, live(store, clock)) == ([dead], [lease])


def test_a_lease_that_was_not_renewed_is_reclaimed_wherever_its_process_is(
    store: ObjectStore, clock: FakeClock
) -> None:
    left_by_a_dead_run(store, clock, host="elsewhere")
    with pytest.raises(Busy, match="elsewhere"):
        held(store, "two", clock).__enter__()
    clock.sleep(TTL.total_seconds() + 1)
    reclaimed: list[Lease] = []
    with held(store, "two", clock, reclaimed.append, wait_s=1):
        assert [lease.run_id for lease in reclaimed] == ["dead"]


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"boot": "before"}])
def test_a_process_id_says_nothing_on_another_machine_start_or_container(
    store: ObjectStore, clock: FakeClock, elsewhere: dict[str, str]
) -> None:
    dead = left_by_a_dead_run(store, clock, **elsewhere)
    assert live(store, clock) == [dead]
    with pytest.raises(Busy):
        held(store, "two", clock).__enter__()


def test_a_lease_that_cannot_be_reclaimed_stays(store: ObjectStore, clock: FakeClock) -> None:
    left_by_a_dead_run(store, clock)

    def fail(lease: Lease) -> None:
        raise Unreachable("the catalog does not answer")

    with pytest.raises(Unreachable):
        held(store, "two", clock, fail, wait_s=1).__enter__()
    assert store.size(KEY)


def test_a_task_of_the_same_run_goes_on_with_its_lease(store: ObjectStore, clock: FakeClock) -> None:
    left_by_a_dead_run(store, clock)
    with held(store, "dead", clock) as lease:
        assert live(store, clock) == [lease]


def test_a_lease_is_renewed_while_its_run_lives(store: ObjectStore) -> None:
    with held(store, "one", Clock(), ttl=timedelta(seconds=0.3)) as lease:
        waited = threading.Event()
        for _ in range(400):
            (now,) = live(store, Clock())
            if now.expires_at > lease.expires_at:
                break
            waited.wait(0.02)
        assert now.expires_at > lease.expires_at
        assert now.acquired_at == lease.acquired_at


def test_a_run_that_was_taken_over_leaves_the_other_ones_lease(store: ObjectStore, clock: FakeClock) -> None:
    with held(store, "one", clock) as lease:
        other = lease.model_copy(update={"run_id": "two"})
        store.put(KEY, other.model_dump_json().encode())
    assert live(store, clock) == [other]


def test_a_store_that_is_away_at_the_end_does_not_fail_the_run(
    store: ObjectStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> bytes:
        raise Unreachable("the store does not answer")

    with held(store, "one", clock):
        monkeypatch.setattr(store, "get", away)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "lease of games was not released" in caplog.text


def failed_unrecorded(store: ObjectStore, clock: Clock) -> None:
    """Fail, as a run does that could not write its failure down."""
    with hold(store, "games", "one", clock, wait_s=0, reclaim=nobody_is_dead) as own:
        assert isinstance(own, Held)
        own.unrecorded = "No space left"


def test_a_run_that_failed_unrecorded_leaves_its_words_for_the_next_one_to_reclaim(
    store: ObjectStore, clock: FakeClock
) -> None:
    failed_unrecorded(store, clock)
    [left] = leases(store)
    assert (left.last_words, left.is_dead(clock.now())) == ("No space left", True)
    reclaimed: list[Lease] = []
    with held(store, "two", clock, reclaimed.append):
        assert reclaimed == [left]


def test_without_room_even_for_its_words_a_lease_is_left_until_it_runs_out(
    store: ObjectStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    def full(key: str, data: bytes, *, if_absent: bool = False) -> bool:
        if not if_absent:
            raise Unreachable("No space left")
        return put(key, data, if_absent=if_absent)

    monkeypatch.setattr(store, "put", full)
    failed_unrecorded(store, clock)
    clock.sleep(TTL.total_seconds() + 1)
    reclaimed: list[Lease] = []
    with held(store, "two", clock, reclaimed.append, wait_s=1):
        assert [lease.run_id for lease in reclaimed] == ["one"]
    assert "ended without a word" in reclaimed[0].last_words


def test_an_object_that_is_no_lease_is_named(store: ObjectStore, clock: FakeClock) -> None:
    store.put(KEY, b"{")
    with pytest.raises(LakeError, match=r"leases/games\.json is no lease"):
        held(store, "one", clock).__enter__()


def test_of_many_runs_at_once_one_gets_a_free_warehouse(store: ObjectStore) -> None:
    together, done = threading.Barrier(4), threading.Barrier(4)
    got: list[str] = []

    def run(run_id: str) -> None:
        together.wait()
        try:
            with held(store, run_id, Clock()):
                got.append(run_id)
                done.wait()
        except Busy:
            done.wait()

    runs = [threading.Thread(target=run, args=(f"run{number}",)) for number in range(4)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert len(got) == 1


def test_the_machine_start_is_the_same_for_all_its_processes() -> None:
    ask = "from starberg.storage.lease import _boot; print(_boot())"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert told.strip() == lease_module._boot() != ""
