"""Runs that die, and what must hold afterwards: the same for every store and catalog."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection

from faults import At, Step
from places import Content, Place, content, files, holder, is_bookkeeping, is_control, is_of, loads, rows_by_pyiceberg

from starberg.entrypoints.lake import Lake


@dataclass(frozen=True)
class Known:
    """What the tables hold before and after a run, and the last load of each stream after it."""

    old: Content
    new: Content
    loads: dict[str, int]


def publish(talk: Connection, place: Place) -> tuple[Content, dict[str, int]]:
    """Run the warehouse; return the tables' content and the last loads."""
    place.open().run(place.warehouse)
    return read(talk, place)


def read(_talk: Connection, place: Place) -> tuple[Content, dict[str, int]]:
    """Return the published tables' content and the last loads."""
    lake = place.open()
    return content(lake, place.warehouse), loads(lake, place.warehouse)


def die(talk: Connection, place: Place, at: At) -> None:
    """Run the warehouse and be killed at a step, which is told to the test; return if there is no such step."""

    def hook(step: Step) -> None:
        if at.fits(step):
            talk.send(step)
            os.kill(os.getpid(), signal.SIGKILL)

    place.open(hook).run(place.warehouse)


def run_told(_talk: Connection, place: Place) -> list[Step]:
    """Run the warehouse; return its steps."""
    steps: list[Step] = []
    place.open(steps.append).run(place.warehouse)
    return steps


def recover(_talk: Connection, place: Place, known: Known) -> str:
    """Check a lake whose run was killed, and that the next run mends it without help; return the dead run's status.

    The status is empty if the run left no trace of itself.
    """
    lake = place.open()
    dead = holder(lake, place.warehouse)
    found = content(lake, place.warehouse)
    assert found in (known.old, known.new), f"a mix was published: {_mixed(found, known)}"
    scanned = rows_by_pyiceberg(lake, place.warehouse)
    assert {name: scanned[name] for name in found} == {name: rows for name, (rows, _) in found.items()}
    is_published = found == known.new

    result = lake.run(place.warehouse, wait_s=0)
    assert result.status == ("SKIPPED" if is_published else "SUCCESS"), f"the next run ended as {result.status}"
    check_whole(lake, place.warehouse, known)

    ended = {run["run_id"]: run["status"] for run in lake.status(place.warehouse)}
    assert ended[result.run_id] == result.status
    assert "RUNNING" not in ended.values()
    if dead:
        left = [branch.name for branch in lake.catalog.branches() if branch.run_id.startswith(dead)]
        assert not left, f"the dead run's branch is left: {left}"
        assert ended[dead] == ("SUCCESS" if is_published else "FAILED"), f"the dead run is shown as {ended[dead]}"
    return ended[dead] if dead else ""


def check_whole(lake: Lake, warehouse: str, known: Known) -> None:
    """Check that the lake is as after an undisturbed run, and that another run finds nothing to do."""
    found = content(lake, warehouse)
    assert found == known.new, f"not what an undisturbed run publishes: {_mixed(found, known)}"
    assert loads(lake, warehouse) == known.loads
    check_runs(lake, warehouse)
    before, pointers = files(lake), published(lake, warehouse)
    again = lake.run(warehouse, wait_s=0)
    assert again.status == "SKIPPED", f"another run ended as {again.status}"
    after = files(lake)
    changed = {key for key in after if after[key] != before.get(key)}
    written = {key for key in changed if is_of(key, warehouse) and not is_bookkeeping(key, warehouse)}
    assert not written, f"an idle run wrote {sorted(written)}"
    assert published(lake, warehouse) == pointers, "an idle run published something"


def check_runs(lake: Lake, warehouse: str) -> None:
    """Check that rows, runs and marks agree, and that no lease or branch is left."""
    assert holder(lake, warehouse) is None, "a lease is left"
    assert lake.catalog.branches(warehouse) == [], "a branch is left"
    foreign = (
        "SELECT _run_id FROM stg_games UNION SELECT _run_id FROM fact_games UNION "
        "SELECT _run_id FROM bridge_game_genre EXCEPT SELECT run_id FROM etl_runs WHERE status = 'SUCCESS'"
    )
    assert list(lake.query(foreign, warehouse=warehouse).rows) == [], "rows of a run that did not publish"
    marks = lake.query("SELECT stream, load_seq FROM high_water_mark", warehouse=warehouse)
    assert dict(marks.rows) == loads(lake, warehouse), "the marks are not the last loads"


def published(lake: Lake, warehouse: str) -> dict[str, str]:
    """Return where each published table is, control tables left out."""
    tables = lake.catalog.state().tables
    return {name: at for name, at in tables.items() if name.startswith(f"{warehouse}.") and not is_control(name)}


def _mixed(found: Content, known: Known) -> dict[str, str]:
    def side(name: str) -> str:
        same = [which for which, rows in (("old", known.old), ("new", known.new)) if rows.get(name) == found[name]]
        return " and ".join(same) or "neither"

    return {name: side(name) for name in found}
