"""The ledger of ticks: one object for each, put if absent, so that no two schedulers claim the same.

`schedule/<warehouse>/<item>/<tick>.json` in the object store. Records older than a week go, but for the newest.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from starberg.etl.due import TickRecord
from starberg.storage.object_store import ObjectMissing, ObjectStore
from starberg.utils.errors import LakeError

KEPT = timedelta(days=7)

_STAMP = "%Y%m%dT%H%M%SZ"


class Ledger:
    """The ticks of one warehouse; what was read or written once is remembered."""

    def __init__(self, store: ObjectStore, warehouse: str) -> None:
        self._store = store
        self._folder = f"schedule/{warehouse}/"
        self._ticks: dict[str, list[datetime]] = {}
        self._records: dict[tuple[str, datetime], TickRecord] = {}

    def newest(self, item: str, now: datetime, *, fresh: bool = False) -> TickRecord | None:
        """Return the newest record of an item at or before now; `fresh` reads it anew.

        One after now, of a clock that was ahead, is left alone.
        """
        if item not in self._ticks:
            self._ticks[item] = sorted(_tick(found.key) for found in self._store.list(f"{self._folder}{item}/"))
        place = bisect_right(self._ticks[item], now)
        if not place:
            return None
        tick = self._ticks[item][place - 1]
        if fresh or (item, tick) not in self._records:
            self._records[item, tick] = self._read(item, tick)
        return self._records[item, tick]

    def claim(self, record: TickRecord) -> bool:
        """Write a tick's first record; False if there is one."""
        mine = self._store.put(self._key(record.item, record.tick), _body(record), if_absent=True)
        self._remember(record.item, record.tick)
        if mine:
            self._records[record.item, record.tick] = record
            self._prune(record.item, record.tick)
        return bool(mine)

    def write(self, record: TickRecord) -> None:
        """Write what became of a tick."""
        self._records[record.item, record.tick] = record
        self._store.put(self._key(record.item, record.tick), _body(record))

    def records(self, item: str) -> list[TickRecord]:
        """Return all records of an item that are kept, oldest first."""
        return [self._read(item, _tick(found.key)) for found in self._store.list(f"{self._folder}{item}/")]

    def _remember(self, item: str, tick: datetime) -> None:
        known = self._ticks.setdefault(item, [])
        if tick not in known:
            insort(known, tick)

    def _prune(self, item: str, newest: datetime) -> None:
        old = [tick for tick in self._ticks[item] if tick < newest - KEPT]
        if old:
            self._store.delete([self._key(item, tick) for tick in old])
            self._ticks[item] = [tick for tick in self._ticks[item] if tick not in old]
            for tick in old:
                self._records.pop((item, tick), None)

    def _read(self, item: str, tick: datetime) -> TickRecord:
        key = self._key(item, tick)
        try:
            return TickRecord.model_validate_json(self._store.get(key))
        except (ObjectMissing, ValidationError):
            raise LakeError(f"{self._store.uri(key)} is no record of a tick", hint="Delete it.") from None

    def _key(self, item: str, tick: datetime) -> str:
        return f"{self._folder}{item}/{tick:{_STAMP}}.json"


def _tick(key: str) -> datetime:
    return datetime.strptime(key.rsplit("/", 1)[1].removesuffix(".json"), _STAMP).replace(tzinfo=UTC)


def _body(record: TickRecord) -> bytes:
    return record.model_dump_json(exclude_defaults=True).encode()
