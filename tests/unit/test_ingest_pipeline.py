"""Landing goes on while the source is read, in order, and never past an extract that could not be landed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from starberg.ingestion.ingest_pipeline import _while_reading_on
from starberg.utils.errors import Conflict, QuotaSpent


def loads_of(work: Iterator[Any], land: Callable[[Any], Any]) -> Iterator[Any]:
    return _while_reading_on(work, land)


def read(count: int, stop: Exception | None = None) -> Iterator[Any]:
    yield from range(count)
    if stop:
        raise stop


def test_everything_is_landed_in_order() -> None:
    assert list(loads_of(read(20), "load {}".format)) == [f"load {n}" for n in range(20)]


def test_what_changed_nothing_is_no_load() -> None:
    assert list(loads_of(read(4), lambda task: task if task % 2 else None)) == [1, 3]


def test_what_was_read_before_the_source_failed_is_landed_first() -> None:
    loads = loads_of(read(3, QuotaSpent("spent")), "load {}".format)
    assert [next(loads) for _ in range(3)] == ["load 0", "load 1", "load 2"]
    with pytest.raises(QuotaSpent):
        next(loads)


def test_the_source_is_read_on_while_an_extract_is_landed() -> None:
    read_on = threading.Event()

    def work() -> Iterator[Any]:
        yield 0
        read_on.set()
        yield 1

    def land(task: Any) -> Any:
        assert read_on.wait(10)
        return f"load {task}"

    assert list(loads_of(work(), land)) == ["load 0", "load 1"]


def test_nothing_is_landed_after_an_extract_that_could_not_be() -> None:
    landed, all_read = [], threading.Event()

    def work() -> Iterator[Any]:
        yield from range(3)
        all_read.set()

    def land(task: Any) -> Any:
        if task == 1:
            all_read.wait(1)
            raise Conflict("another extractor was first")
        landed.append(task)
        return task

    with pytest.raises(Conflict):
        list(loads_of(work(), land))
    assert landed == [0]


def test_a_caller_that_stops_lets_nothing_more_be_landed() -> None:
    landed: list[Any] = []
    second = threading.Event()

    def land(task: Any) -> Any:
        if task:
            second.wait(10)
        landed.append(task)
        return f"load {task}"

    loads = loads_of(read(10), land)
    assert next(loads) == "load 0"
    second.set()
    loads.close()  # type: ignore[attr-defined]
    assert len(landed) < 10
