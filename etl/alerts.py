"""What is worth telling somebody, once for each cause, and once more when it is over. Pure; state is a plain value."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Literal

from pydantic import BaseModel

from starberg.etl.due import Item
from starberg.etl.schedule import GRACE, Job, after

Kind = Literal["failed", "late", "dropped", "silent"]

COMPARED, LEAST = 7, 5
"""How many earlier dates a job's rows are compared with, and how many of them must be known."""
LONG_RUN = timedelta(hours=1)
"""A run at work for less than this is no silence."""


class Alert(BaseModel):
    """One message about a warehouse; `over` if it says that a cause is gone."""

    warehouse: str
    kind: Kind
    title: str
    body: str
    at: datetime
    over: bool = False


class Cause(BaseModel):
    """An open cause: since when, what it concerns, and what was told of it."""

    since: datetime
    subjects: list[str]
    told: list[str] = []


class Causes(BaseModel):
    """The open causes of all warehouses by `warehouse kind`, and when each warehouse last had a run that succeeded."""

    open: dict[str, Cause] = {}
    good: dict[str, datetime] = {}

    def begun(
        self, warehouse: str, kind: Kind, subjects: Collection[str], body: str, now: datetime, sign: str = ""
    ) -> list[Alert]:
        """Note a cause; return the alert, unless it was told.

        It was if all its subjects are known; or, with a `sign` of what is wrong, if that is known.
        """
        cause = self.open.setdefault(f"{warehouse} {kind}", Cause(since=now, subjects=[]))
        new = sorted(set(subjects) - set(cause.subjects))
        cause.subjects += new
        if sign:
            known = sign in cause.told
            cause.told += [] if known else [sign]
        else:
            known = not new
        if known:
            return []
        what = ", ".join(sorted(subjects) if sign else new)
        title = f"starberg: {warehouse} {_SAID[kind]}" + (f": {what}" if what != warehouse else "")
        return [Alert(warehouse=warehouse, kind=kind, title=title, body=body, at=now)]

    def ended(self, warehouse: str, kind: Kind, subjects: Collection[str], now: datetime) -> list[Alert]:
        """Note that some subjects of a cause are well again; return the alert if none is left."""
        key = f"{warehouse} {kind}"
        cause = self.open.get(key)
        if cause is None:
            return []
        cause.subjects = [subject for subject in cause.subjects if subject not in subjects]
        if cause.subjects:
            return []
        del self.open[key]
        minutes = (now - cause.since).total_seconds() / 60
        body = f"It {_SAID[kind]} for {minutes:.0f} minutes."
        return [
            Alert(
                warehouse=warehouse,
                kind=kind,
                title=f"starberg: {warehouse} is well again",
                body=body,
                at=now,
                over=True,
            )
        ]


_SAID: Mapping[Kind, str] = {
    "failed": "failed",
    "late": "was not done in time",
    "dropped": "had far fewer rows than usual",
    "silent": "had no run that succeeded",
}


def sign_of(error: str) -> str:
    """Return what two errors of one cause have in common: their text without numbers and run ids.

    >>> sign_of("run 20261121-120100-baca15: 3 rows") == sign_of("run 20261122-000000-0ffa11: 17 rows")
    True
    """
    return re.sub(r"\d+", "#", re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "#", error))


def is_late(item: Item, tick: datetime, now: datetime) -> bool:
    """Whether a job whose tick is not done yet is past its window."""
    return isinstance(item.timed, Job) and now > tick + item.timed.window


def is_silent(items: Sequence[Item], good: datetime, busy_since: datetime | None, now: datetime) -> bool:
    """Whether no run of a warehouse succeeded for two intervals of what runs most often."""
    if not items or (busy_since and now < busy_since + LONG_RUN):
        return False
    return now > min(after(item.rule, after(item.rule, good)) for item in items) + GRACE


def has_dropped(rows: int, before: Sequence[int], share: float) -> bool:
    """Whether a date's rows are fewer than a share of the median of the dates before.

    >>> has_dropped(40, [100, 90, 110, 100, 95], 0.5), has_dropped(0, [100, 90], 0.5)
    (True, False)
    """
    known = before[:COMPARED]
    return len(known) >= LEAST and rows < share * median(known)
