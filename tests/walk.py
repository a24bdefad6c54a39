"""Walks along a run's steps that kill it (kill -9) at each one: the same for every store and catalog.

Every kill is made. Of kills that leave the same behind (after an effect, and before the next one) the first is looked
into and mended: the next run is given nothing but what is left, so it cannot tell the others from it.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from crash import Known, die, recover
from faults import NAMES, At, Failed, Step, Task, run_task
from places import Place

log = logging.getLogger(__name__)


class Ground(Protocol):
    """A lake that can be put back to where a walk begins."""

    place: Place

    def put_back(self, name: str = "kept") -> None:
        """Make the lake what it was."""

    def wreck(self) -> str:
        """Describe all that a dead process left, without what two runs that do the same call differently."""

    def lost(self) -> set[str]:
        """Return what was published when the lake was kept, and is gone or is not the same any more."""


@dataclass
class Walk:
    """Kills a run at each of `numbers` on any of the grounds; the next run mends each wreck unlike the others.

    It ends when a run completes, when `enough` says so of a step, or with the numbers. `dies` and `mends` are what is
    killed and what looks into the wreck; with `drops` that may drop what was published once.
    """

    known: Known
    name: str = "kept"
    enough: Callable[[Step], bool] = lambda step: False
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    dies: Callable[..., None] = die
    mends: Callable[..., str] = recover
    drops: bool = False
    steps: list[Step] = field(default_factory=list)
    """Where it was killed."""
    ends: list[str] = field(default_factory=list)
    """How the mended wrecks' runs are shown: FAILED, SUCCESS, or nothing if they left no trace."""
    _wrecks: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: bool = False

    def over(self, grounds: Sequence[Ground]) -> None:
        """Walk, on all grounds at once."""
        with ThreadPoolExecutor(len(grounds)) as pool:
            list(pool.map(self._walk, grounds))
        self.steps.sort(key=lambda step: step.number)

    def _walk(self, ground: Ground) -> None:
        while (number := self._next()) is not None:
            try:
                self._step(ground, number)
            except BaseException:
                self._done = True
                raise

    def _next(self) -> int | None:
        with self._lock:
            return None if self._done else next(self.numbers, None)

    def _step(self, ground: Ground, number: int) -> None:
        ground.put_back(self.name)
        with Task(self.dies, ground.place, At(number=number)) as task:
            step = task.end()
            assert not isinstance(step, Failed), f"step {number}: {step.message}"
        if step is None or self.enough(step):
            self._done = True
            return
        assert task.was_killed
        log.info("killed at %s", step)
        wreck = ground.wreck()
        with self._lock:
            self.steps.append(step)
            if wreck in self._wrecks:
                return
            self._wrecks.add(wreck)
        assert self.drops or not ground.lost(), f"killed at {step}: published files are gone"
        try:
            self.ends.append(run_task(self.mends, ground.place, self.known))
            log.info("mended %s", step)
        except AssertionError as error:
            raise AssertionError(f"killed at {step}: {error}") from None
        assert self.drops or not ground.lost(), f"after {step}: published files are gone"


def plain(steps: Sequence[Step]) -> list[str]:
    """Return steps without what two runs that do the same call differently."""
    return [NAMES.sub("*", str(step)) for step in steps]
