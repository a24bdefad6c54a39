"""Schedulers that die, and what their ledger says afterwards."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from multiprocessing.connection import Connection

from crash import content
from faults import At, Step
from places import Content, Place
from servers import FakeClock

from starberg.entrypoints.ledger import Ledger
from starberg.entrypoints.schedule import scheduler_of
from starberg.etl.due import TickRecord


def look(talk: Connection, place: Place, minutes: int, at: At | None = None) -> None:
    """Let a scheduler start what is due some minutes after the place's time; be killed at a step, if one is given."""

    def hook(step: Step) -> None:
        if at and at.fits(step):
            talk.send(step)
            os.kill(os.getpid(), signal.SIGKILL)

    clock = FakeClock(place.now + timedelta(minutes=minutes))
    scheduler = scheduler_of(place.open(hook, clock=clock), [place.warehouse])
    scheduler.start = lambda _, work: work()
    scheduler.look()


def told(_talk: Connection, place: Place, item: str) -> tuple[list[TickRecord], list[str], Content]:
    """Return the records of a schedule, the status of each run, oldest first, and the published tables' content."""
    lake = place.open()
    runs = [str(run["status"]) for run in reversed(lake.status(place.warehouse))]
    return Ledger(lake.store, place.warehouse).records(item), runs, content(lake, place.warehouse)
