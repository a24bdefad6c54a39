"""How many requests a source may still be asked, counted in the lake so that no process forgets what it spent.

Requests are taken in blocks. A block is an empty object whose name says everything:
`<prefix>/<month>/<run>.<block>.<requests>`; it is put before its first request is sent, and replaced by one with the
true number when the run settles. A killed process therefore over-counts by less than a block and never under-counts;
the month's total is one listing.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from starberg.storage.object_store import ObjectStore
from starberg.utils.errors import QuotaSpent


class BudgetLedger(Protocol):
    """Who is asked before every request."""

    def reserve(self) -> None:
        """Take one request, or raise QuotaSpent."""

    def settle(self) -> None:
        """Give back what was reserved and not used; more may be reserved afterwards."""

    def remaining(self) -> int | None:
        """Return how many requests this run may still send; None: no limit."""


class Unlimited:
    """The ledger of a source without a budget."""

    def reserve(self) -> None:
        """Allow it."""

    def settle(self) -> None:
        """Nothing was reserved."""

    def remaining(self) -> int | None:
        """No limit."""
        return None


@dataclass(frozen=True)
class Block:
    """A number of requests reserved by one run; `number` (random) tells its blocks apart."""

    run: str
    number: int
    requests: int

    @property
    def name(self) -> str:
        """Return the last part of the object's key."""
        return f"{self.run}.{self.number:010d}.{self.requests}"

    @classmethod
    def parse(cls, key: str) -> Block:
        """Read a block from its key; ValueError if the name is not one."""
        run, number, requests = key.rsplit("/", 1)[-1].rsplit(".", 2)
        return cls(run, int(number), int(requests))


class StoreLedger:
    """The budget of one source, shared by all its runs through the object store; usable from many threads."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        month: str,
        run_id: str,
        *,
        per_month: int | None = None,
        per_run: int | None = None,
        block: int = 50,
    ) -> None:
        self._store = store
        self._folder = f"{prefix}/{month}/"
        self._run_id = run_id
        self._per_month = per_month
        self._per_run = per_run
        self._block_size = block
        self._lock = threading.Lock()
        self._held: Block | None = None
        self._used = 0

    def reserve(self) -> None:
        """Take one request of the block held, or of a new one; QuotaSpent names the limit that is reached."""
        with self._lock:
            if self._held is None or self._used == self._held.requests:
                self._held = self._take()
                self._used = 0
            self._used += 1

    def settle(self) -> None:
        """Replace the block held by one with the number of requests really sent."""
        with self._lock:
            if self._held is None:
                return
            self._replace(self._held, self._used)
            self._held = None

    def remaining(self) -> int | None:
        """Return what is left of the run's and the month's limits, whichever is less."""
        with self._lock:
            in_hand = self._held.requests - self._used if self._held else 0
            left = self._left(self._blocks())
        return None if left is None else left + in_hand

    def _take(self) -> Block:
        """Reserve before looking: of two runs at the edge both see both blocks, so the limit holds."""
        self._put(mine := Block(self._run_id, secrets.randbits(32), self._block_size))
        others = [block for block in self._blocks() if (block.run, block.number) != (mine.run, mine.number)]
        left = self._left(others)
        granted = mine if left is None else self._replace(mine, max(0, min(mine.requests, left)))
        if not granted.requests:
            self._refuse_if_spent(others)
        return granted

    def _refuse_if_spent(self, blocks: list[Block]) -> None:
        if self._left(blocks) == 0:
            run, month = self._sums(blocks)
            raise QuotaSpent(
                f"the request budget is spent: {run} requests in this run (limit {_or_none(self._per_run)}), "
                f"{month} this month (limit {_or_none(self._per_month)})",
                hint="What was fetched is kept; the next run continues. Raise budget.per_run or budget.per_month",
            )

    def _left(self, blocks: list[Block]) -> int | None:
        run, month = self._sums(blocks)
        limits = [(self._per_run, run), (self._per_month, month)]
        return min((max(0, limit - spent) for limit, spent in limits if limit is not None), default=None)

    def _sums(self, blocks: list[Block]) -> tuple[int, int]:
        return sum(b.requests for b in blocks if b.run == self._run_id), sum(b.requests for b in blocks)

    def _blocks(self) -> list[Block]:
        """List the month; of two names for one block (a kill while settling) the later one has the smaller count."""
        known: dict[tuple[str, int], Block] = {}
        for item in self._store.list(self._folder):
            with suppress(ValueError):  # an object of another kind is nobody's request
                block = Block.parse(item.key)
                place = (block.run, block.number)
                known[place] = min(block, known.get(place, block), key=lambda b: b.requests)
        return list(known.values())

    def _replace(self, block: Block, requests: int) -> Block:
        if requests == block.requests:
            return block
        smaller = Block(block.run, block.number, requests)
        if requests:
            self._put(smaller)
        self._store.delete([self._folder + block.name])
        return smaller

    def _put(self, block: Block) -> bool:
        return self._store.put(self._folder + block.name, b"", if_absent=True)


def _or_none(limit: int | None) -> str:
    return "none" if limit is None else str(limit)
