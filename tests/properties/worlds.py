"""A source that changes at random, and what an extractor could read from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from memory_source import Said

Record = dict[str, Any]
Key = tuple[Any, ...]

_START = datetime(2026, 1, 1, tzinfo=UTC)
_KEYLESS: list[Record] = [
    {},
    {"name": "nobody"},
    {"id": None, "name": "null"},
    {"id": "seven"},
    {"id": [1]},
    {"film": 1},
]


@dataclass(frozen=True)
class Play:
    """How one stream changes. `keys` are all keys it may ever have; `first` is how many of them it starts with."""

    key: Sequence[str]
    keys: Sequence[Key]
    first: int
    fresh: Callable[[Random], Record]
    """A new record, without its key."""
    broken: Mapping[str, Sequence[Any]]
    """Values a column cannot hold."""
    respelled: Callable[[Random, Record], Record] = lambda random, record: record
    """The same content in another spelling."""
    touched: Sequence[str] = ()
    """Columns that may change alone."""
    weight: int = 1
    quiet: int = 2
    """Weight of readings that bring nothing: those that bring something weigh 11."""
    most_broken: int = 5
    """Records that may be broken at a time: past the quarantine's limit a run stops."""


@dataclass
class World:
    """All streams as they are now; `before` has each record's last version, `unsaid` the keys changed since said."""

    random: Random
    plays: Mapping[str, Play]
    steps: int = 0
    changes: int = 0
    now: dict[str, dict[Key, Record]] = field(default_factory=dict)
    before: dict[tuple[str, Key], Record] = field(default_factory=dict)
    unsaid: dict[str, set[Key]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for stream, play in self.plays.items():
            self.now[stream], self.unsaid[stream] = {}, set()
            for key in self.random.sample(play.keys, play.first):
                self._put(stream, key, self._fresh(play))

    def change(self, times: int) -> None:
        """Make so many random changes."""
        enough = self.changes + times
        names, weights = list(self.plays), [play.weight for play in self.plays.values()]
        while self.changes < enough:
            [stream] = self.random.choices(names, weights)
            acts = [self._edit, self._touch, self._break, self._heal, self._add, self._remove, self._bring_back]
            [act] = self.random.choices(acts, [10, 2, 2, 3, 3, 3, 2])
            act(stream, self.plays[stream])

    def say(self, stream: str) -> list[Said]:
        """Return what an extractor reads of a stream now: everything, what changed, what changed and all keys, nothing.

        Pages hold records twice, earlier versions of records and records without a readable key.
        """
        way = self.random.choices(
            ["whole", "changes", "changes and keys", "nothing"], [5, 3, 3, self.plays[stream].quiet]
        )[0]
        if way == "nothing":
            return []
        here = self.now[stream]
        wanted = list(here) if way == "whole" else [key for key in here if key in self.unsaid[stream]]
        self.unsaid[stream] = set()
        said = [Said(self._pages(stream, wanted), whole=way == "whole")]
        if way == "changes and keys":
            keys = [dict(zip(self.plays[stream].key, key, strict=True)) for key in here]
            said.append(Said(self._cut(self._with_keyless(keys)), keys_only=True, whole=True))
        return said

    def _pages(self, stream: str, keys: Sequence[Key]) -> list[list[Record]]:
        play = self.plays[stream]
        records = [copy.deepcopy(self.now[stream][key]) for key in self.random.sample(keys, len(keys))]
        for key in self.random.sample(keys, len(keys) // 5):
            again = self.before.get((stream, key)) or play.respelled(self.random, copy.deepcopy(self.now[stream][key]))
            records.insert(self.random.randrange(len(records) + 1), again)
        records = [play.respelled(self.random, record) if self.random.random() < 0.2 else record for record in records]
        return self._cut(self._with_keyless(records))

    def _with_keyless(self, records: list[Record]) -> list[Record]:
        if self.random.random() < 0.2:
            records.insert(self.random.randrange(len(records) + 1), self.random.choice(_KEYLESS))
        return records

    def _cut(self, records: list[Record]) -> list[list[Record]]:
        size = self.random.choice([1, 7, 100])
        return [records[n : n + size] for n in range(0, len(records), size)]

    def _edit(self, stream: str, play: Play) -> None:
        if key := self._some(stream):
            fresh, record = self._fresh(play), self.now[stream][key]
            how_many = min(len(fresh), self.random.choice([1, 1, 2, 99]))
            changed = self.random.sample(sorted(fresh), how_many)
            self._put(stream, key, record | {name: fresh[name] for name in changed if name not in play.key})

    def _touch(self, stream: str, play: Play) -> None:
        if play.touched and (key := self._some(stream)):
            name = self.random.choice(play.touched)
            self._put(stream, key, self.now[stream][key] | {name: self._fresh(play)[name]})

    def _break(self, stream: str, play: Play) -> None:
        if key := self._some(stream):
            self._put(stream, key, self._broken(stream, play, self.now[stream][key]))

    def _broken(self, stream: str, play: Play, record: Record) -> Record:
        """The record with a value its column cannot hold, unless there are enough of those."""
        there = sum(self._is_broken(play, other) for other in self.now[stream].values())
        if not play.broken or there >= play.most_broken:
            return record
        name = self.random.choice(sorted(play.broken))
        return record | {name: self.random.choice(play.broken[name])}

    def _heal(self, stream: str, play: Play) -> None:
        for key, record in self.now[stream].items():
            if self._is_broken(play, record):
                return self._put(stream, key, record | self._fresh(play))
        return None

    def _is_broken(self, play: Play, record: Record) -> bool:
        return any(record.get(name) in values for name, values in play.broken.items() if record.get(name) is not None)

    def _add(self, stream: str, play: Play) -> None:
        if free := [key for key in play.keys if key not in self.now[stream]]:
            self._put(stream, self.random.choice(free), self._fresh(play))

    def _remove(self, stream: str, play: Play) -> None:
        if key := self._some(stream):
            self.before[stream, key] = self.now[stream].pop(key)
            self.changes += 1

    def _bring_back(self, stream: str, play: Play) -> None:
        """A removed record appears again as it was, or broken."""
        gone = [key for of, key in self.before if of == stream and key not in self.now[stream]]
        if gone:
            key = self.random.choice(gone)
            record = self.before[stream, key]
            self._put(stream, key, self._broken(stream, play, record) if self.random.random() < 0.4 else record)

    def _some(self, stream: str) -> Key | None:
        return self.random.choice(list(self.now[stream])) if self.now[stream] else None

    def _put(self, stream: str, key: Key, record: Record) -> None:
        names = self.plays[stream].key
        new = dict(zip(names, key, strict=True)) | {name: value for name, value in record.items() if name not in names}
        if (old := self.now[stream].get(key)) == new:
            return
        if old:
            self.before[stream, key] = old
        self.now[stream][key] = new
        self.unsaid[stream].add(key)
        self.changes += 1

    def _fresh(self, play: Play) -> Record:
        """A record with an `updated` goes on in time, stands, or goes back."""
        record = play.fresh(self.random)
        if "updated" in record:
            self.steps += self.random.choices([1, 0, -9], [12, 2, 1])[0]
            record["updated"] = (_START + timedelta(minutes=self.steps)).isoformat()
        return record


def name(random: Random) -> str | None:
    """A name: few of them, so that members share one; some with spaces around, some odd."""
    return random.choice(
        ["Ann", "Bob", " Ann", "Zoë ", "o'Neil", '"', "", None, "\u202eabc", "x" * 300, "Ann\tB", "NULL"]
    )


def maybe(random: Random, value: Any, share: float = 0.15) -> Any:
    """Null now and then."""
    return None if random.random() < share else value
