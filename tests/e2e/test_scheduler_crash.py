"""A scheduler killed (kill -9) in the middle of a run: the next one runs the tick again, and every tick is told of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from faults import At, Task, run_task
from places import Place, declare_games
from scheduler_crash import look, told

from starberg.etl.due import TickState
from starberg.samples.rawg_catalogue import Catalogue
from starberg.samples.rawg_server import RawgServer

pytestmark = pytest.mark.proof

NAME = "games2"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with RawgServer(Catalogue(seed=7, games=60)) as server:
        declare_games(tmp_path, NAME, server.url)
        file = tmp_path / "warehouses" / NAME / "warehouse.yml"
        declared = json.loads(file.read_text()) | {"schedules": {"often": {"every": "10m"}}}
        file.write_text(json.dumps(declared))
        (tmp_path / ".env").touch(0o600)
        (tmp_path / ".env").write_text("RAWG_API_KEY=sample-key\n")  # each run opens the lake anew
        yield Place(tmp_path, NAME, {"STARBERG_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize(
    ("at", "runs"),
    [
        (At("after", "put", "schedule/"), ["SUCCESS", "SKIPPED"]),
        (At("after", "put", "manifest.json"), ["FAILED", "SUCCESS", "SKIPPED"]),
        (At("before", "publish"), ["FAILED", "SUCCESS", "SKIPPED"]),
        (At("after", "publish"), ["SUCCESS", "SKIPPED", "SKIPPED"]),
        (At("after", "delete", "leases/"), ["SUCCESS", "SKIPPED", "SKIPPED"]),
    ],
    ids=str,
)
def test_each_tick_is_accounted_for(place: Place, at: At, runs: list[str]) -> None:
    run_task(look, place, 0)  # from here on ticks count
    with Task(look, place, 11, at) as task:
        task.end()
    assert task.was_killed
    claimed = run_task(told, place, "often")[0][-1]
    assert (claimed.tick, claimed.state) == (place.now + timedelta(minutes=10), TickState.CLAIMED)
    run_task(look, place, 13)
    again, _, content = run_task(told, place, "often")
    assert (again[-1].tick, again[-1].state, again[-1].attempt) == (claimed.tick, TickState.DONE, 2)
    run_task(look, place, 45)
    records, ended, later = run_task(told, place, "often")
    assert [record.state for record in records] == [TickState.REGISTERED, TickState.DONE, TickState.DONE]
    assert records[-1].tick == place.now + timedelta(minutes=40)
    assert (records[-1].passed_from, records[-1].passed) == (place.now + timedelta(minutes=20), 2)
    assert ended == runs
    assert later == content != {}
