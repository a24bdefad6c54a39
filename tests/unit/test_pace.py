"""One beat for all threads: evenly spaced, no bursts, nothing lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from servers import FakeClock

from starberg.ingestion.pace import Pace
from starberg.utils.clock import Clock


class Frozen(Clock):
    """Time stands still; sleeps are noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return 50.0

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(round(seconds, 6))


def test_threads_get_moments_one_interval_apart() -> None:
    clock = Frozen()
    pace = Pace(20, clock)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: pace.wait(), range(40)))
    assert sorted(clock.slept) == [round(number * 0.05, 6) for number in range(1, 40)]


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    clock = FakeClock()
    pace = Pace(10, clock)
    pace.wait()
    clock.sleep(100)
    clock.slept.clear()
    pace.wait()
    pace.wait()
    assert [round(seconds, 6) for seconds in clock.slept] == [0.1]


def test_a_rest_asked_for_holds_everybody() -> None:
    clock = FakeClock()
    pace = Pace(None, clock)
    pace.hold(30)
    pace.wait()
    pace.wait()
    assert clock.slept == [30]
