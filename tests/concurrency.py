"""Runs at the same time, in processes of their own: the same questions to every store and catalog."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from multiprocessing.connection import Connection

import pytest
from crash import Known, check_runs, check_whole
from faults import PATIENCE_S, At, Failed, Step, Task, run_task
from places import Place, Standing, holder, loads

from starberg.samples.rawg_remote import RemoteServer

LONG_AFTER = timedelta(minutes=5)
"""A clock so far ahead finds every lease run out that was not renewed by it."""

Fresh = Callable[[], Place]
"""Makes a lake with one published load whose source has changed since (see `crash.Known`)."""


def run(_talk: Connection, place: Place, wait_s: float = 0.0, ahead: timedelta = timedelta()) -> tuple[str, str]:
    """Run the warehouse; return status and run id."""
    result = place.open(ahead=ahead).run(place.warehouse, wait_s=wait_s)
    return result.status.value, result.run_id


def run_to(talk: Connection, place: Place, stop: At, ahead: timedelta = timedelta(), etl: bool = True) -> str:
    """Run the warehouse, telling the test who holds it when it reaches `stop`; return the status."""
    reached = False

    def hook(step: Step) -> None:
        nonlocal reached
        if not reached and stop.fits(step):
            reached = True
            talk.send(holder(lake, place.warehouse))
            talk.recv()

    lake = place.open(hook, ahead=ahead)
    status = lake.run(place.warehouse, etl=etl, wait_s=0).status.value
    assert reached, f"there was no step {stop}"
    return status


def run_waiting(talk: Connection, place: Place) -> str:
    """Run the warehouse, telling the test when it begins to wait; return the status."""

    class Telling(Standing):
        told = False

        def sleep(self, seconds: float) -> None:
            if not self.told:
                talk.send("waits")
            self.told = True
            super().sleep(seconds)

    return place.open(clock=Telling(place.now)).run(place.warehouse, wait_s=PATIENCE_S).status.value


def whole(_talk: Connection, place: Place, known: Known) -> dict[str, str]:
    """Check that the lake is as after one undisturbed run; return the status of every run."""
    lake = place.open()
    check_whole(lake, place.warehouse, known)
    return {str(found["run_id"]): str(found["status"]) for found in lake.status(place.warehouse)}


def change_and_run(_talk: Connection, place: Place, url: str, times: int) -> list[str]:
    """Change the source and run, some times; return the statuses."""
    source, lake = RemoteServer(url), place.open()
    statuses = []
    for _ in range(times):
        source.change(3)
        source.add(2)
        statuses.append(lake.run(place.warehouse, wait_s=0).status.value)
    return statuses


def verified(_talk: Connection, place: Place) -> int:
    """Check that the tables are those a rebuild from raw makes; return the number of runs that published data."""
    lake = place.open()
    assert lake.verify(place.warehouse).equal
    check_runs(lake, place.warehouse)
    assert loads(lake, place.warehouse)
    [(published,)] = lake.query(
        "SELECT count(*) FROM etl_runs WHERE status = 'SUCCESS'", warehouse=place.warehouse
    ).rows
    return int(published)


class ConcurrencyQuestions:
    """Asked of every store and catalog; the fixtures `fresh`, `known` and `two` say which."""

    def test_a_second_run_waits_for_the_first(self, fresh: Fresh, known: Known) -> None:
        place = fresh()
        with Task(run_to, place, At("before", "publish")) as first:
            first.hear()
            with Task(run_waiting, place) as second:
                assert second.hear() == "waits"
                first.say()
                assert first.end() == "SUCCESS"
                assert second.end() == "SKIPPED"
        run_task(whole, place, known)

    def test_a_second_run_that_may_not_wait_says_who_holds_the_warehouse(self, fresh: Fresh, known: Known) -> None:
        place = fresh()
        with Task(run_to, place, At("before", "create_branch")) as first:
            run_id = first.hear()
            with Task(run, place) as second:
                refused = second.end()
            assert isinstance(refused, Failed)
            assert (refused.kind, refused.exit_code) == ("Busy", 5)
            assert run_id in refused.message
            first.say()
            assert first.end() == "SUCCESS"
        run_task(whole, place, known)

    @pytest.mark.parametrize(
        "stop",
        [
            At("before", "put", "manifest.json"),
            At("before", "create_branch"),
            At("before", "move", "fact_games"),
            At("before", "publish"),
        ],
        ids=str,
    )
    def test_a_run_frozen_past_its_lease_cannot_publish(self, fresh: Fresh, known: Known, stop: At) -> None:
        place = fresh()
        with Task(run_to, place, stop) as frozen:
            run_id = frozen.hear()
            frozen.signal(signal.SIGSTOP)
            status, _ = run_task(run, place, 0.0, LONG_AFTER)
            assert status == "SUCCESS"
            frozen.signal(signal.SIGCONT)
            frozen.say()
            end = frozen.end()
        assert isinstance(end, Failed)
        assert (end.kind, end.exit_code) == ("Conflict", 5)
        assert run_task(whole, place, known)[run_id] == "FAILED"

    def test_a_run_that_wakes_up_does_not_stop_the_one_that_took_over(self, fresh: Fresh, known: Known) -> None:
        place = fresh()
        with Task(run_to, place, At("before", "publish", "run/")) as frozen:
            run_id = frozen.hear()
            frozen.signal(signal.SIGSTOP)
            with Task(run_to, place, At("before", "move", "fact_games"), LONG_AFTER) as second:
                assert second.hear() != run_id
                frozen.signal(signal.SIGCONT)
                frozen.say()
                assert frozen.end().kind == "Conflict"
                second.say()
                assert second.end() == "SUCCESS"
        assert run_task(whole, place, known)[run_id] == "FAILED"

    def test_two_warehouses_do_not_disturb_each_other(self, two: Sequence[tuple[Place, str]]) -> None:
        """`two` are warehouses of one lake, each published once, with the addresses of their sources."""
        with ExitStack() as stack:
            both = [stack.enter_context(Task(change_and_run, place, url, 5)) for place, url in two]
            assert [task.end() for task in both] == [["SUCCESS"] * 5] * 2
        assert [run_task(verified, place) for place, _ in two] == [6, 6]

    def test_of_two_ingests_of_a_stream_one_loses_and_says_so(self, fresh: Fresh, known: Known) -> None:
        place, landing, only = fresh(), At("before", "put", "manifest.json"), (timedelta(), False)
        with Task(run_to, place, landing, *only) as one, Task(run_to, place, landing, *only) as other:
            one.hear()
            other.hear()
            one.say()
            assert one.end() == "SUCCESS"
            other.say()
            lost = other.end()
        assert isinstance(lost, Failed)
        assert (lost.kind, lost.exit_code) == ("Conflict", 5)
        assert "another extractor landed load 2" in lost.message
        assert run_task(run, place)[0] == "SUCCESS"
        run_task(whole, place, known)
