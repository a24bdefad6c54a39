"""Upkeep that dies or meets other runs, and what must hold afterwards: the same for every store and catalog."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Connection

from crash import Known, check_whole, publish
from faults import At, Step
from places import Place, content, holder, loads, rows_by_pyiceberg

from starberg.entrypoints.lake import Lake

LATER = timedelta(days=30)
"""A clock so far ahead finds files and states old enough to go."""


def maintain(_talk: Connection, place: Place, ahead: timedelta = LATER, wait_s: float = 0) -> tuple[str, int]:
    """Maintain the warehouse; return the status and how many files were dropped."""
    [result] = place.open(ahead=ahead).maintain(place.warehouse, wait_s=wait_s)
    return result.status.value, result.files_dropped


def maintain_told(_talk: Connection, place: Place) -> list[Step]:
    """Maintain the warehouse; return its steps."""
    steps: list[Step] = []
    place.open(steps.append, ahead=LATER).maintain(place.warehouse)
    return steps


def maintain_to(talk: Connection, place: Place, stop: At, ahead: timedelta = LATER) -> str:
    """Maintain the warehouse, telling the test when it reaches `stop`; return the status."""
    reached = False

    def hook(step: Step) -> None:
        nonlocal reached
        if not reached and stop.fits(step):
            reached = True
            talk.send(str(step))
            talk.recv()

    [result] = place.open(hook, ahead=ahead).maintain(place.warehouse, wait_s=0)
    assert reached, f"there was no step {stop}"
    return result.status.value


def die_maintaining(talk: Connection, place: Place, at: At) -> None:
    """Maintain the warehouse and be killed at a step, which is told to the test; return if there is no such step."""

    def hook(step: Step) -> None:
        if at.fits(step):
            talk.send(step)
            os.kill(os.getpid(), signal.SIGKILL)

    place.open(hook, ahead=LATER).maintain(place.warehouse, wait_s=0)


def recover_upkeep(_talk: Connection, place: Place, known: Known) -> str:
    """Check a lake whose upkeep was killed, and that upkeep and runs go on; return how the dead one is shown."""
    lake = place.open(ahead=LATER)
    dead = holder(lake, place.warehouse)
    check_states(lake, place, known)
    [result] = lake.maintain(place.warehouse, wait_s=0)
    check_states(lake, place, known)
    ended = {run["run_id"]: run["status"] for run in lake.status(place.warehouse)}
    assert ended[result.run_id] == result.status
    assert "RUNNING" not in ended.values()
    branches = [branch.name for branch in lake.catalog.branches() if dead and branch.run_id.startswith(dead)]
    assert not branches, f"the dead upkeep's branch is left: {branches}"
    check_whole(lake, place.warehouse, known)
    return ended.get(dead or "", "")


def check_states(lake: Lake, place: Place, known: Known) -> None:
    """Main and every tag answer, to our reader and another, and hold what they held."""
    found = content(lake, place.warehouse)
    assert found == known.new, "upkeep changed rows"
    scanned = rows_by_pyiceberg(lake, place.warehouse)
    assert {name: scanned[name] for name in found} == {name: rows for name, (rows, _) in found.items()}
    for tag in lake.catalog.tags():
        if place.warehouse in tag:
            assert _reads(lake, place.warehouse, tag) > 0, f"{tag} holds no row"


def _reads(lake: Lake, warehouse: str, at: str) -> int:
    """Read every file of a state; return the rows."""
    with closing(lake.reader(warehouse, at, own=True)) as engine:
        tables = [name for name in lake.look(at).tables if name.startswith(f"{warehouse}.")]
        return sum(engine.rows(f"SELECT count(*), sum(hash(t)) FROM {name} t")[0][0] for name in tables)


def use(talk: Connection, place: Place) -> Known:
    """Publish the source's change, name the state, and run once more LATER, when the source is read in full again."""
    publish(talk, place)
    place.open().catalog.tag(f"kept-{place.warehouse}")
    later = place.open(ahead=LATER)
    later.run(place.warehouse)
    new = content(later, place.warehouse)
    return Known(new, new, loads(later, place.warehouse))


def statuses(_talk: Connection, place: Place) -> dict[str, str]:
    """Return how each run ended."""
    return {str(run["run_id"]): str(run["status"]) for run in place.open(ahead=LATER).status(place.warehouse)}
