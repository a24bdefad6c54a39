"""A run is killed with SIGKILL at every step: the next one lands every version once."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from database import CAPTURES, Database, Feed
from faults import STORE_EFFECTS, At, Step, Steps, Task, _Watched

from starberg.ingestion.postgres_connection import Control
from starberg.ingestion.postgres_log import LogReader
from starberg.ingestion.postgres_reader import Reader

pytestmark = pytest.mark.proof

READING = ((Reader, "_write"), (LogReader, "_decode"), (LogReader, "settle"), (Control, "rows"))
_MOST_STEPS = 200


def die(talk: Connection, folder: Path, url: str, streams: Any, runs: int, at: At) -> None:
    """Ingest and be killed at a step: an effect on the store, or something asked of the server."""
    server: Any = None
    source = Feed(folder, Database(server, url), streams, runs=runs)

    def hook(step: Step) -> None:
        if at.fits(step):
            talk.send(step)
            os.kill(os.getpid(), signal.SIGKILL)

    steps = Steps(hook)
    for owner, name in READING:
        setattr(owner, name, _told(steps, name, getattr(owner, name)))
    watched: Any = _Watched(source.store, STORE_EFFECTS, steps)
    source.store = watched
    source.ingest()


def _told(steps: Steps, name: str, real: Any) -> Any:
    def told(*args: Any, **more: Any) -> Any:
        question = str(args[1])[:40] if name == "rows" else ""
        if name == "rows" and not question.startswith(("SELECT pg_", "ROLLBACK", "BEGIN")):
            return real(*args, **more)
        steps.tell("before", name, [question])
        result = real(*args, **more)
        steps.tell("after", name, [question])
        return result

    return told


@pytest.mark.parametrize(
    ("capture", "first"), [("full", True), ("log", True), *((capture, False) for capture in CAPTURES)]
)
def test_a_run_killed_at_any_step(tmp_path: Path, database: Database, capture: str, first: bool) -> None:
    database.run(
        "create table t (id int primary key, note text, at timestamptz not null default clock_timestamp())",
        "create publication starberg for table t",
        "insert into t select n, 'first' from generate_series(1, 200) n",
    )
    streams = {"t": {"table": "public.t", "key": ["id"], **CAPTURES[capture]}}
    source = Feed(tmp_path / "0", database, streams)
    if not first:
        source.ingest()
    for number in range(1, _MOST_STEPS):
        if first:
            forget(source)
            source = Feed(tmp_path / str(number), database, streams)
        turn = f"turn {number}"
        database.run(
            f"insert into t values ({1000 + number}, '{turn}')",
            f"update t set note = '{turn}', at = clock_timestamp() where id = {number}",
        )
        if capture != "high_water_mark":
            database.run(f"delete from t where id = {1000 + number - 2}")
        with Task(die, source.folder, database.reader_url, streams, number * 10, At(number=number)) as task:
            step = task.end()
            if not task.was_killed:
                assert step is None, step
                break
        source.runs = number * 10 + 5
        source.ingest()
        check(source, step)
    else:
        raise AssertionError("a run has more steps than expected")
    check(source, "the end")
    assert sum(load.changed for load in source.ingest()) == 0


def check(source: Feed, step: Any) -> None:
    """The live rows are the table's, and no version was landed twice."""
    assert sorted(source.now("t", "id, note")) == sorted(source.database.rows("select id, note from t")), step
    landed = source.seen("t", "id, note", where="_op = 'U'")
    assert len(landed) == len(set(landed)), step


def forget(source: Feed) -> None:
    """Remove the slot, as one does with a lake that is given up."""
    source.database.run(
        f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{source.slot}'"
    )
