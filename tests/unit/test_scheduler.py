"""The scheduler against a clock of its own: a week of ticks, with what happens to clocks, services and processes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake import examples
from servers import FakeClock, FakeStore

from starberg.entrypoints.ledger import Ledger
from starberg.entrypoints.scheduler import Ran, Scheduler
from starberg.etl.due import LONGEST_BACKOFF, Item, Part, TickRecord, TickState, decide
from starberg.etl.results import Status
from starberg.etl.schedule import Job, Schedule, Timed, ticks
from starberg.storage.object_store import ObjectMissing
from starberg.utils.errors import DeclarationError, StarbergError, Unreachable

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 10, 22, 9, 58, 30, tzinfo=UTC)  # on the 25th clocks change in Europe


class Store(FakeStore):
    """A store that can be away."""

    away = False

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key]

    def uri(self, key: str) -> str:
        return key

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        if self.away:
            raise Unreachable("the store does not answer")
        return super().put(key, data, if_absent=if_absent)


class SteppingClock(FakeClock):
    """A clock that somebody sets."""

    def step(self, by: timedelta) -> None:
        self._now += by


def item(name: str, **declared: Any) -> Item:
    kind: type[Timed] = Job if name.startswith(("sync", "build")) else Schedule
    timed = kind.model_validate(declared)
    assert isinstance(timed, Schedule | Job)
    return Item(name, timed)


@dataclass
class World:
    """Some warehouses, what is scheduled of them, and what was run."""

    table: dict[str, Sequence[Item] | StarbergError]
    clock: SteppingClock = field(default_factory=lambda: SteppingClock(START))
    store: Store = field(default_factory=Store)
    lasts: dict[str, timedelta] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    ran: list[tuple[str, Part, datetime, bool]] = field(default_factory=list)
    beats: list[Mapping[str, Any]] = field(default_factory=list)
    start: Callable[[str, Callable[[], None]], None] = lambda _, work: work()

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        def ledger(warehouse: str) -> Ledger:
            return Ledger(self.store, warehouse)  # type: ignore[arg-type]

        table = lambda: dict(self.table)  # noqa: E731
        self.scheduler = Scheduler(
            table, ledger, self.run, self.clock, self.beats.append, start=lambda name, work: self.start(name, work)
        )

    def run(self, warehouse: str, part: Part) -> Ran:
        began, down = self.clock.now(), warehouse in self.down
        self.clock.sleep(5 if down else self.lasts.get(warehouse, 20 * MINUTE / 60).total_seconds())
        self.ran.append((warehouse, part, began, not down))
        return Ran(Status.FAILED, "", "no answer", down=True) if down else Ran(Status.SUCCESS, f"run{len(self.ran)}")

    def go_on(self, length: timedelta, longest_s: float = 90.0) -> None:
        """Look again and again, as `Scheduler.run` does."""
        end = self.clock.monotonic() + length.total_seconds()
        while self.clock.monotonic() < end:
            self.clock.sleep(min(max(self.scheduler.look(), 0.5), longest_s))

    def records(self, warehouse: str, name: str) -> list[TickRecord]:
        return Ledger(self.store, warehouse).records(name)  # type: ignore[arg-type]

    def succeeded(self, warehouse: str) -> int:
        return sum(good for which, _, _, good in self.ran if which == warehouse)


def unaccounted(records: Sequence[TickRecord], expected: Sequence[datetime]) -> list[datetime]:
    """Return the ticks that neither ran nor are said to be passed over."""
    known = {r.tick for r in records if r.state in (TickState.DONE, TickState.PASSED)}
    spans = [(r.passed_from, r.tick) for r in records if r.passed_from]
    return [tick for tick in expected if tick not in known and not any(a <= tick < b for a, b in spans)]


@pytest.fixture
def in_paris(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own time zone, which means nothing here."""
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_paris")
def test_a_week_with_everything_in_it() -> None:
    often, nightly = item("often", every="5m"), item("nightly", cron="0 2 * * *", full=True)
    dated, strict = item("build_a", cron="0 2 * * *", missed="each"), item("strict", cron="30 * * * *", missed="skip")
    world = World({"mafia": [often, nightly], "learning": [dated], "other": [strict]})
    world.go_on(2 * DAY)
    world.restart()
    world.go_on(DAY)  # Europe's clocks change
    world.down |= {"mafia", "learning"}
    world.go_on(16 * HOUR)  # over 02:00
    world.down.clear()
    world.go_on(6 * HOUR)
    world.store.away = True
    world.go_on(20 * MINUTE)
    world.store.away = False
    world.clock.sleep((30 * HOUR).total_seconds())  # nobody there
    world.restart()
    world.go_on(HOUR)
    world.clock.step(3 * HOUR)
    world.go_on(HOUR)
    world.clock.step(-2 * HOUR)
    world.go_on(6 * HOUR)
    edited = world.clock.now()
    world.table["other"] = [item("strict", cron="45 * * * *", missed="skip")]
    world.start = lambda name, work: None  # killed while it ran
    world.go_on(10 * MINUTE)
    world.start = lambda name, work: work()
    world.restart()
    world.go_on(START + 7 * DAY - world.clock.now())
    assert START + 7 * DAY <= world.clock.now() < START + 7 * DAY + HOUR

    end = world.clock.now() - 10 * MINUTE
    for warehouse, found in (("mafia", often), ("mafia", nightly), ("learning", dated)):
        records = world.records(warehouse, found.name)
        assert unaccounted(records, ticks(found.rule, START, end, 9999)) == [], found.name
    records = world.records("other", "strict")
    assert unaccounted(records, ticks("30 * * * *", START, edited, 9999)) == []
    assert unaccounted(records, ticks("45 * * * *", edited, end, 9999)) == []

    done: Counter[tuple[str, str, datetime]] = Counter()
    for warehouse, part, _, good in world.ran:
        done.update((warehouse, name, tick) for name, tick in part.jobs if good)
    assert set(done.values()) == {1}
    dates = [part.date for warehouse, part, _, good in world.ran if warehouse == "learning" and good]
    assert dates == [(START + n * DAY).date() for n in range(7)]  # each, in order: yesterday of each tick
    finished = sum(r.state is TickState.DONE for name in ("often", "nightly") for r in world.records("mafia", name))
    both = sum(len(part.items) == 2 for warehouse, part, _, good in world.ran if warehouse == "mafia" and good)
    assert world.succeeded("mafia") == finished - both
    assert all(part.full == ("nightly" in part.items) for warehouse, part, _, _ in world.ran if warehouse == "mafia")


HOURS = st.integers(1, 12).map(lambda number: number * HOUR / 2)
EVENTS = st.one_of(
    st.tuples(st.just("step"), st.one_of(HOURS, HOURS.map(lambda length: -length))),
    st.tuples(st.sampled_from(["go on", "go on", "down", "away", "nobody", "killed"]), HOURS),
)


@examples(10)
@given(st.lists(EVENTS, min_size=2, max_size=8), st.sampled_from(["latest", "each", "skip"]))
def test_whatever_happens_a_tick_runs_at_most_once_and_each_is_accounted_for(
    events: list[tuple[str, timedelta]], missed: str
) -> None:
    items = [item("build_a", every="30m", missed=missed), item("sync_b", cron="7 */2 * * *", missed=missed)]
    world = World({"w": items})
    world.go_on(MINUTE)
    latest = world.clock.now()
    for what, length in events:
        match what:
            case "step":
                world.clock.step(length)
            case "nobody":
                world.clock.sleep(length.total_seconds())
                world.restart()
            case "killed":
                world.start = lambda name, work: None
                world.go_on(length / 4, 900)
                world.start = lambda name, work: work()
                world.restart()
            case _:
                world.down |= {"w"} if what == "down" else set()
                world.store.away = what == "away"
                world.go_on(length, 900)
                world.down.clear()
                world.store.away = False
        latest = max(latest, world.clock.now())
    world.go_on(latest - world.clock.now() + DAY, 900)  # all is well again
    ran = Counter((name, tick) for _, part, _, good in world.ran if good for name, tick in part.jobs)
    assert set(ran.values()) == {1}
    for one in items:
        expected = ticks(one.rule, START + MINUTE, world.clock.now() - HOUR, 9999)
        assert unaccounted(world.records("w", one.name), expected) == []


def test_while_a_source_is_down_tries_come_less_and_less_often_and_others_run() -> None:
    world = World({"sick": [item("often", every="5m")], "well": [item("often", every="5m")]}, down={"sick"})
    world.go_on(6 * HOUR)
    assert world.succeeded("well") == 72
    tries = [began for warehouse, _, began, _ in world.ran if warehouse == "sick"]
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert len(tries) < 35
    assert max(waits) < LONGEST_BACKOFF + MINUTE
    world.down.clear()
    world.go_on(20 * MINUTE)
    assert world.succeeded("sick") > 0
    assert unaccounted(world.records("sick", "often"), ticks("every 5m", START, START + 6 * HOUR)) == []


def test_a_daily_run_that_met_an_outage_is_tried_again_before_the_next_day() -> None:
    world = World({"w": [item("nightly", cron="0 2 * * *")]}, down={"w"})
    world.go_on(17 * HOUR)
    world.down.clear()
    world.go_on(HOUR)
    [record] = [record for record in world.records("w", "nightly") if record.state is TickState.DONE]
    assert record.tick == datetime(2026, 10, 23, 2, tzinfo=UTC)
    assert record.attempt > 1
    assert world.succeeded("w") == 1


def test_a_wrong_declaration_stops_its_own_warehouse_alone() -> None:
    good = [item("often", every="5m")]
    world = World({"wrong": DeclarationError("w.yml:3", "unknown key"), "right": good})
    world.go_on(HOUR)
    assert world.succeeded("right") == 12
    assert "unknown key" in world.beats[-1]["warehouses"]["wrong"]["trouble"]
    world.table["wrong"] = good
    world.go_on(HOUR)
    assert world.succeeded("wrong") >= 9
    assert world.beats[-1]["warehouses"]["wrong"]["trouble"] is None


def test_two_schedulers_of_one_lake_run_no_tick_twice() -> None:
    world = World({"w": [item("often", every="5m")]})
    first = world.scheduler
    world.restart()
    for _ in range(400):
        first.look()
        world.scheduler.look()
        world.clock.sleep(17)
    assert Counter(r.state for r in world.records("w", "often"))[TickState.DONE] == len(world.ran)


def test_a_new_schedule_waits_for_its_next_tick_and_an_edited_one_does_not_run_what_is_past() -> None:
    world = World({"w": [item("nightly", cron="0 2 * * *")]})
    world.go_on(HOUR)
    world.table["w"] = [item("nightly", cron="0 9 * * *")]  # earlier that day
    world.go_on(HOUR)
    assert world.ran == []
    world.go_on(23 * HOUR)
    assert [began.hour for _, _, began, _ in world.ran] == [9]


def test_a_clock_that_was_years_ahead_does_not_stop_the_schedule() -> None:
    world = World({"w": [item("often", every="5m")]})
    world.clock.step(2000 * DAY)
    world.go_on(20 * MINUTE)
    ahead = world.succeeded("w")
    world.clock.step(-2000 * DAY)
    world.go_on(HOUR)
    assert world.succeeded("w") - ahead >= 11


def test_what_could_not_be_written_down_is_written_later_and_not_run_again() -> None:
    world = World({"w": [item("often", every="5m")]})
    run = world.run

    def losing(warehouse: str, part: Part) -> Ran:
        ran = run(warehouse, part)
        world.store.away = len(world.ran) == 1
        return ran

    world.scheduler.runner = losing
    world.go_on(3 * MINUTE)
    world.store.away = False
    world.go_on(2 * MINUTE)
    assert [record.state for record in world.records("w", "often")] == [TickState.REGISTERED, TickState.DONE]
    assert len(world.ran) == 1


def test_due_together_is_run_together() -> None:
    jobs = [item("build_b", cron="0 2 * * *"), item("sync_a", every="1h")]
    world = World({"w": [*jobs, item("ingest", every="1h", do="ingest"), item("publish", cron="0 2 * * *", do="etl")]})
    world.go_on(17 * HOUR)
    at_two = [part for _, part, began, _ in world.ran if began.hour == 2]
    assert [part.do for part in at_two] == ["ingest", "etl", "run"]
    assert [name for name, _ in at_two[-1].jobs] == ["build_b", "sync_a"]


def test_threads_of_warehouses_do_not_wait_for_each_other_and_a_stop_waits_for_them() -> None:
    world = World({"slow": [item("often", every="1m")], "quick": [item("often", every="1m")]})
    hold, seen = threading.Event(), threading.Event()

    def runner(warehouse: str, part: Part) -> Ran:
        del part
        if warehouse == "slow":
            assert hold.wait(30)
        world.ran.append((warehouse, Part(()), world.clock.now(), True))
        seen.set()
        return Ran(Status.SUCCESS)

    world.start = lambda name, work: threading.Thread(target=work, name=name).start()
    world.scheduler.runner = runner
    world.scheduler.look()
    world.clock.sleep(60)
    world.scheduler.look()
    assert seen.wait(30)
    world.clock.sleep(60)
    world.scheduler.look()
    assert world.succeeded("slow") == 0
    world.scheduler.stop()
    assert not world.scheduler.run(grace_s=0)
    hold.set()
    assert Scheduler.run(world.scheduler, grace_s=10**9)
    assert world.succeeded("slow") == 1


def test_decisions_skip_what_is_late_only_if_the_policy_says_so() -> None:
    rule, at = "0 * * * *", datetime(2026, 1, 1, 12, tzinfo=UTC)
    for missed, hour, state in (
        ("skip", 12, TickState.PASSED),
        ("latest", 12, TickState.CLAIMED),
        ("each", 10, TickState.CLAIMED),
    ):
        one = item("x", cron=rule, missed=missed)
        newest = TickRecord(item="x", tick=at - 3 * HOUR, rule=rule, state=TickState.DONE, at=at)
        record = decide(one, newest, at + 10 * MINUTE)
        assert record
        assert (record.tick.hour, record.state) == (hour, state)
        assert record.passed == (0 if missed == "each" else 2)
