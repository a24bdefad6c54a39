"""When things run: intervals and cron rules in UTC, and the jobs and schedules of `warehouse.yml`.

All functions are pure: an instant in, instants out. Cron rules mean what Debian's cron means, in UTC, where no hour is
missing or comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Literal, Self

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from starberg.ingestion.streams import Declared, Name

Missed = Literal["latest", "each", "skip"]
"""What becomes of ticks whose time passed: the latest runs for all, each runs by itself, or none runs."""

GRACE = timedelta(minutes=5)
"""How late a tick with `missed: skip` may start."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duration(text: str) -> timedelta:
    """Read a time such as 90s, 5m, 6h or 1d.

    >>> duration("6h")
    datetime.timedelta(seconds=21600)
    """
    found = re.fullmatch(r"(\d{1,6})\s*([smhd])", text.strip())
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no time such as 90s, 5m, 6h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no time such as 90s, 5m, 6h or 1d")  # noqa: TRY004 - pydantic's own error
    return duration(value)


def _cron(rule: str) -> str:
    if not rule:
        return rule
    if len(rule.split()) != 5:
        raise ValueError(f"{rule!r} is no cron rule of five fields: minute, hour, day of month, month, day of week")
    try:
        next(CronSim(rule, _EPOCH))
    except CronSimError as error:
        raise ValueError(f"{rule!r} is no cron rule: {str(error).lower()}") from None
    except StopIteration:
        raise ValueError(f"{rule!r} never comes") from None
    return " ".join(rule.split())


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Timed(Declared):
    """What runs by the clock: every so often, counted from midnight 1970-01-01, or by a cron rule; both in UTC.

    `missed` says what becomes of ticks whose time passed while nothing could run.
    """

    every: Duration | None = None
    cron: Annotated[str, AfterValidator(_cron)] = ""
    missed: Missed = "latest"

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if bool(self.every) == bool(self.cron):
            raise ValueError("needs either `every` (such as 5m) or `cron` (such as 0 2 * * *)")
        if self.every and self.every < timedelta(minutes=1):
            raise ValueError("runs at most once a minute", "Write every: 1m or more.", "every")
        return self

    @property
    def rule(self) -> str:
        """The rule as text: two schedules with the same text tick together."""
        return self.cron or f"every {shown(self.every or timedelta())}"


class Schedule(Timed):
    """When a warehouse runs. do: run (all of it), ingest (land what changed, no more), etl (build what has landed).

    `full` reads every row of the sources, `source` only one source.
    """

    do: Literal["run", "ingest", "etl"] = "run"
    full: bool = False
    source: Name | None = None

    @model_validator(mode="after")
    def _reads_sources(self) -> Self:
        if self.do == "etl" and (self.full or self.source):
            raise ValueError("reads no source", "Leave out `full` and `source`, or write do: run.", "do")
        return self


class Job(Timed):
    """A named job over tables; it should be done `window` after its tick.

    By default `sync_dim_x` has the table dim_x, and `build_fact_x` the table fact_x.
    """

    tables: list[Name] = []
    window: Duration = timedelta(hours=1)
    description: str = ""


class Alerts(Declared):
    """Who is told what. `to` names settings that hold addresses (URLs as Apprise takes them), which are secrets.

    on: failed (a job or run), late (not done within its window), dropped (rows of a date far below the usual), silent
    (no run succeeded within two intervals). A drop is fewer rows than `drop` of the median of the last 7 dates.
    """

    to: list[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]] = Field(min_length=1)
    on: list[Literal["failed", "late", "dropped", "silent"]] = ["failed", "late", "dropped", "silent"]
    drop: float = Field(default=0.5, gt=0, lt=1)


def shown(length: timedelta) -> str:
    """Write a duration as it is declared.

    >>> shown(timedelta(hours=6)), shown(timedelta(minutes=90))
    ('6h', '90m')
    """
    seconds = round(length.total_seconds())
    unit, size = next(
        (unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if not seconds % size
    )
    return f"{seconds // size}{unit}"


def after(rule: str, moment: datetime) -> datetime:
    """Return a rule's first tick after a moment, UTC.

    >>> after("0 2 * * *", datetime(2026, 10, 25, 2, tzinfo=UTC))
    datetime.datetime(2026, 10, 26, 2, 0, tzinfo=datetime.timezone.utc)
    """
    if step := _interval(rule):
        return _EPOCH + ((moment - _EPOCH) // step + 1) * step
    return next(CronSim(rule, moment.astimezone(UTC)))


def latest(rule: str, moment: datetime) -> datetime:
    """Return a rule's last tick at or before a moment, UTC.

    >>> latest("every 6h", datetime(2026, 1, 1, 13, tzinfo=UTC))
    datetime.datetime(2026, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)
    """
    if step := _interval(rule):
        return _EPOCH + (moment - _EPOCH) // step * step
    return next(CronSim(rule, moment.astimezone(UTC) + timedelta(microseconds=1), reverse=True))


def ticks(rule: str, since: datetime, until: datetime, most: int = 1000) -> list[datetime]:
    """Return a rule's ticks after `since`, up to and with `until`: the newest `most`, oldest first."""
    return list(islice(_backwards(rule, since, until), most))[::-1]


def _backwards(rule: str, since: datetime, until: datetime) -> Iterator[datetime]:
    tick = latest(rule, until)
    while tick > since:
        yield tick
        tick = latest(rule, tick - timedelta(microseconds=1))


def _interval(rule: str) -> timedelta | None:
    return duration(rule.removeprefix("every ")) if rule.startswith("every ") else None
