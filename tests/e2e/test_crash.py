"""A run killed (kill -9) at every step: published tables are the old or the new, and the next run needs no help."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash import Known, die, run_told
from faults import At, Task, run_task
from ground import Ground, grounds
from walk import Walk, plain

Grounds = tuple[list[Ground], Known]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    with grounds(tmp_path_factory.mktemp("crash"), number=2) as made:
        yield made


@pytest.mark.proof
def test_a_run_killed_at_any_step_leaves_the_old_or_the_new_and_the_next_one_goes_on(lakes: Grounds) -> None:
    # dlt #4052, OLake #870: state and data drift apart
    walk = Walk(lakes[1])
    walk.over(lakes[0])
    lakes[0][0].put_back()
    assert plain(walk.steps) == plain(run_task(run_told, lakes[0][0].place))
    assert len(walk.steps) >= 40
    effects = {"put", "put_file", "delete", "create_branch", "move", "publish", "tag", "drop_branch"}
    assert {(step.when, step.effect) for step in walk.steps} == {(w, e) for w in ("before", "after") for e in effects}
    assert set(walk.ends) == {"", "FAILED", "SUCCESS"}


@pytest.mark.proof
def test_the_run_that_mends_may_be_killed_too(lakes: Grounds) -> None:
    """Kill a run with its branch ready, then the next one at every step until it has cut a branch of its own."""
    (first, *others), known = lakes
    for ground in (first, *others):
        ground.put_back()
        with Task(die, ground.place, At("before", "publish")) as task:
            task.end()
        assert task.was_killed
        ground.keep("dead")
    walk = Walk(known, "dead", enough=At("before", "put", "requests/").fits)
    walk.over([first, *others])
    assert {(step.when, step.effect) for step in walk.steps} >= {("before", "publish"), ("after", "publish")}
    assert set(walk.ends) == {"", "FAILED"}
