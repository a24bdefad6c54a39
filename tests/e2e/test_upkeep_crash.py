"""Upkeep killed on its way, and upkeep beside runs and other upkeep, on a local lake with a SQLite catalog."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from concurrency import run, run_to
from crash import Known
from faults import CATALOG_EFFECTS, At, Failed, Step, Task, run_task
from ground import Ground, grounds
from upkeep_crash import (
    LATER,
    die_maintaining,
    maintain,
    maintain_to,
    maintain_told,
    recover_upkeep,
    statuses,
    use,
)
from walk import Walk

pytestmark = pytest.mark.proof

STILL_LATER = LATER + timedelta(minutes=5)
"""A clock that finds the lease of an upkeep at LATER run out."""


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Ground], Known]]:
    """Lakes with two runs published; files are written now, so the clock must start now."""
    with grounds(tmp_path_factory.mktemp("upkeep"), number=2) as (made, _):
        for ground in made:
            ground.put_back()
            ground.place = replace(ground.place, now=datetime.now(UTC))
            known = run_task(use, ground.place)
            ground.keep("used")
        yield made, known


def chosen(steps: Sequence[Step]) -> Iterator[int]:
    """Choose all steps of the catalog and of dropping, and some of the many that write files nobody knows yet."""
    for step in steps:
        if step.effect in (*CATALOG_EFFECTS, "delete") or step.number % 12 == 0:
            yield step.number


def test_upkeep_killed_on_its_way_changes_no_row_and_the_next_one_goes_on(lakes: tuple[list[Ground], Known]) -> None:
    made, known = lakes
    made[0].put_back("used")
    steps = run_task(maintain_told, made[0].place)
    numbers = list(chosen(steps))
    walk = Walk(known, "used", numbers=iter(numbers), dies=die_maintaining, mends=recover_upkeep, drops=True)
    walk.over(made)
    assert [step.number for step in walk.steps] == numbers
    effects = {step.effect for step in walk.steps}
    assert effects >= {"create_branch", "move", "publish", "drop_branch", "delete", "put"}
    assert set(walk.ends) >= {"FAILED", "SUCCESS"}


@pytest.mark.parametrize(
    "stop",
    [At("before", "put_file", "fact_games"), At("before", "publish"), At("before", "delete", "tables/")],
    ids=str,
)
def test_a_run_takes_over_from_frozen_upkeep_which_then_harms_nothing(
    lakes: tuple[list[Ground], Known], stop: At
) -> None:
    """Upkeep that sleeps before it publishes cannot; that sleeps before it drops files drops what nobody needs."""
    (ground, *_), known = lakes
    ground.put_back("used")
    with Task(maintain_to, ground.place, stop) as frozen:
        frozen.hear()
        frozen.signal(signal.SIGSTOP)
        assert run_task(run, ground.place, 0.0, STILL_LATER)[0] == "SKIPPED"
        frozen.signal(signal.SIGCONT)
        frozen.say()
        end = frozen.end()
    if stop.effect == "delete":
        assert end == "SUCCESS"
    else:
        assert isinstance(end, Failed)
        assert end.kind == "Conflict"
    run_task(recover_upkeep, ground.place, known)


def test_upkeep_takes_over_from_a_frozen_run_which_then_cannot_publish(lakes: tuple[list[Ground], Known]) -> None:
    (ground, *_), known = lakes
    ground.put_back()
    with Task(run_to, ground.place, At("before", "publish")) as frozen:
        run_id = frozen.hear()
        frozen.signal(signal.SIGSTOP)
        status, _ = run_task(maintain, ground.place)
        assert status in ("SUCCESS", "SKIPPED")
        frozen.signal(signal.SIGCONT)
        frozen.say()
        assert frozen.end().kind == "Conflict"
    assert run_task(run, ground.place, 0.0, STILL_LATER)[0] == "SUCCESS"
    run_task(recover_upkeep, ground.place, known)
    assert run_task(statuses, ground.place)[run_id] == "FAILED"


def test_runs_and_upkeep_and_upkeep_wait_for_each_other(lakes: tuple[list[Ground], Known]) -> None:
    (ground, *_), known = lakes
    ground.put_back("used")
    with Task(maintain_to, ground.place, At("before", "publish")) as first:
        first.hear()
        for beside in (Task(maintain, ground.place), Task(run, ground.place, 0.0, LATER)):
            with beside as second:
                refused = second.end()
            assert isinstance(refused, Failed)
            assert (refused.kind, refused.exit_code) == ("Busy", 5)
        with Task(maintain, ground.place, LATER, 60.0) as waiting:
            first.say()
            assert first.end() == "SUCCESS"
            assert waiting.end()[0] in ("SUCCESS", "SKIPPED")
    run_task(recover_upkeep, ground.place, known)
