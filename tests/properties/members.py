"""What a dimension with history must hold, worked out in plain Python from what the source said, one record at a time.

It shares no code with the product. A change takes effect at its own time, else when it was observed; where arrival
decides the state, never before one that arrived earlier. A record that cannot be read says that its key is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

Record = Mapping[str, Any]

START = datetime(1900, 1, 1)


@dataclass(frozen=True)
class Seen:
    """One accepted observation of a key; no record: it was gone."""

    observed: datetime
    valid: datetime | None
    record: Record | None


@dataclass(frozen=True)
class Version:
    """One version of a member; times are UTC."""

    member: int
    city: str | None = None
    name: str | None = None
    updated: datetime | None = None
    born: datetime | None = None
    start: datetime = START
    end: datetime | None = None
    is_deleted: bool = False
    is_inferred: bool = False
    changed_at: datetime | None = None


@dataclass
class Members:
    """The stream of members as it was said."""

    seen: dict[int, list[Seen]] = field(default_factory=dict)
    known: dict[int, Record] = field(default_factory=dict)
    good: dict[int, Record] = field(default_factory=dict)

    def hear(self, records: Iterable[Record], observed: datetime, *, whole: bool) -> None:
        now = {record["id"]: record for record in records}
        for key, record in now.items():
            if self.known.get(key) != record:
                self.known[key] = record
                self._observe(key, record, observed)
        for key in [key for key in self.known if whole and key not in now]:
            self.lose(key, observed)

    def lose(self, key: int, observed: datetime) -> None:
        """Take it that a member is gone."""
        del self.known[key]
        self.seen.setdefault(key, []).append(Seen(observed, None, None))

    def _observe(self, key: int, record: Record, observed: datetime) -> None:
        past = self.seen.setdefault(key, [])
        if record["updated"] == "soon":
            if key in self.good and past[-1].record is None:
                past.append(Seen(observed, None, self.good[key]))
        elif record["city"] == "Test":
            self.good.pop(key, None)
            past.append(Seen(observed, None, None))
        else:
            self.good[key] = record
            past.append(Seen(observed, moment(record["updated"]), record))

    def versions(self, *, by_time: bool) -> list[Version]:
        """Return all versions: of dim_dated, where their own time decides, or of dim_member."""
        states = {key: (_by_time if by_time else _by_arrival)(past) for key, past in self.seen.items()}
        return [version for key, past in states.items() for version in _versions(key, past, every=by_time)]


def _by_time(past: list[Seen]) -> list[tuple[datetime, Seen]]:
    found: dict[datetime, Seen] = {}
    for seen in past:
        found[seen.valid or seen.observed] = seen
    return sorted(found.items(), key=lambda item: item[0])


def _by_arrival(past: list[Seen]) -> list[tuple[datetime, Seen]]:
    found: list[tuple[datetime, Seen]] = []
    latest = None
    for seen in past:
        said = seen.valid or seen.observed
        at = said if latest is None or said > latest else max(seen.observed, latest)
        latest = said if latest is None else max(latest, said)
        if found and found[-1][0] >= at:
            at = found[-1][0]
            found.pop()
        found.append((at, seen))
    return found


def _versions(key: int, states: list[tuple[datetime, Seen]], *, every: bool) -> list[Version]:
    found: list[Version] = []
    before: Record | None = None
    for at, seen in states:
        record = seen.record
        if before is not None and (record is None or _differ(before, record, every=every)):
            found[-1] = replace(found[-1], end=at, is_deleted=record is None)
        if record is not None:
            shown = {
                "city": record["city"],
                "name": record["name"],
                "updated": moment(record["updated"]),
                "born": moment(record["born"]),
            }
            if before is None or _differ(before, record, every=every):
                found.append(Version(key, start=at, changed_at=at, **shown))
            else:
                found[-1] = replace(found[-1], **shown)
        before = record
    found = [replace(v, is_deleted=v.is_deleted and v is found[-1]) for v in found]
    if found:
        first = found[0]
        earliest = (first.born if every else None) or START
        found[0] = replace(first, start=min(earliest, first.start))
    return found


def _differ(one: Record, other: Record, *, every: bool) -> bool:
    return one["city"] != other["city"] or (every and one["name"] != other["name"])


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def with_inferred(versions: list[Version], referenced: Iterable[int]) -> list[Version]:
    """Add the members that only facts know."""
    known = {version.member for version in versions}
    return [*versions, *(Version(key, is_inferred=True) for key in set(referenced) - known)]


def valid(versions: list[Version], member: int | None, at: datetime | None) -> tuple[int, datetime] | None:
    """Return member and start of the version valid at a time; None is the unknown member."""
    if at is None:
        return None
    fitting = [v for v in versions if v.member == member and v.start <= at]
    return (fitting[-1].member, max(v.start for v in fitting)) if fitting else None
