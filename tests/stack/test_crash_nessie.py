"""A run killed (kill -9) at every step of its publish on MinIO and Nessie: from cutting its branch to dropping it.

The steps are those of an undisturbed run: before and after each request that changes something in Nessie (a call of the
catalog may be several). Before a table's request all its objects are written; kills between those are made on a local
lake, by the same code (e2e/test_crash.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest
from crash import Known, run_told
from faults import SERVER_EFFECTS, At, Step, run_task
from ground import change
from nessie_lakes import NessieGround, nessie_ground
from stack import Stack
from walk import Walk, plain


@pytest.fixture(scope="module")
def lakes(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[NessieGround], Known]]:
    with ExitStack() as made:
        folder = tmp_path_factory.mktemp("nessie")
        grounds = [made.enter_context(nessie_ground(stack, folder)) for _ in range(2)]
        change(grounds[1].server)
        yield grounds, grounds[0].known()


def steps_of_publish(steps: Sequence[Step]) -> list[Step]:
    """Return the steps to be killed at."""
    first = next(step.number for step in steps if At("before", "create_branch").fits(step))
    last = next(step.number for step in steps if At("after", "drop_branch").fits(step))
    within = [step for step in steps if first < step.number < last]
    return [step for step in within if step.effect in SERVER_EFFECTS]


def test_a_run_killed_at_any_step_of_its_publish_leaves_the_old_or_the_new_and_the_next_one_goes_on(
    lakes: tuple[list[NessieGround], Known],
) -> None:
    grounds, known = lakes
    grounds[0].put_back()
    steps = steps_of_publish(run_task(run_told, grounds[0].place))
    walk = Walk(known, numbers=iter([step.number for step in steps]))
    walk.over(grounds)
    names = {ground.place.warehouse: "games" for ground in grounds}
    assert _renamed(plain(walk.steps), names) == _renamed(plain(steps), names)
    assert {step.subject.rpartition("/")[2] for step in walk.steps} >= {"commit", "merge"}
    assert set(walk.ends) == {"FAILED", "SUCCESS"}


def _renamed(lines: Sequence[str], names: dict[str, str]) -> list[str]:
    renamed = []
    for line in lines:
        for name, other in names.items():
            line = line.replace(name, other)
        renamed.append(line)
    return renamed
