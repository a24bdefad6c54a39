"""The scheduler's heartbeat: a file in the home that says when it last looked at the clock, for probes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from starberg.utils.errors import Busy
from starberg.utils.files import replace_file

FILE, LOCK = "scheduler.json", "scheduler.lock"

LATE = timedelta(seconds=120)
"""How old a heartbeat may be: looks are at most 20 s apart, but a dead network holds one up till it times out."""


def beat(home: Path, state: Mapping[str, Any]) -> None:
    """Write the heartbeat."""
    replace_file(home / FILE, to_json({"pid": os.getpid(), **state}, indent=2))


def live(home: Path, now: datetime) -> dict[str, Any]:
    """Return whether a scheduler looks at the clock here, as an answer of `starberg check`."""
    file = home / FILE
    try:
        state = json.loads(file.read_bytes())
        at, pid = datetime.fromisoformat(state["at"]), state["pid"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _answer(ok=False, detail=f"there is no heartbeat in {file}", hint="Start it with `starberg schedule`.")
    age = abs(now - at)
    waits = sorted(name for name, found in state.get("warehouses", {}).items() if found.get("trouble"))
    detail = f"looked at the clock {age.total_seconds():.0f} s ago (process {pid})"
    detail += f"; {', '.join(waits)} wait for something" if waits else ""
    return _answer(ok=age <= LATE, detail=detail, hint="" if age <= LATE else "Restart `starberg schedule`.")


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Be the only scheduler of a home; Busy if there is another. The heartbeat ends with it."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(f"another scheduler is at work in {home}", hint="One is enough for all warehouses.") from None
        try:
            yield
        finally:
            (home / FILE).unlink(missing_ok=True)


def _answer(*, ok: bool, detail: str, hint: str) -> dict[str, Any]:
    return {"name": "scheduler", "ok": ok, "detail": detail, "hint": hint}
