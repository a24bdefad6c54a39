"""The lease of a warehouse: politeness between runs, never correctness.

A lease is one object, `leases/<warehouse>.json`, put only if absent and renewed while its run lives. A second run waits
for it or says who holds it. It belongs to a run id: of a run in stages it is parked between them; the next stage goes
on with it, and so does one tried again after it was killed. Nothing depends on it being exclusive (two runs may take
over from a dead one at the same moment, a frozen run may wake up): of two runs that both think they hold it only one
can publish (see `etl.pipeline`).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from starberg.storage.object_store import ObjectMissing, ObjectStore
from starberg.utils.clock import Clock
from starberg.utils.errors import Busy, LakeError, StarbergError

TTL = timedelta(seconds=60)
"""A lease that was not renewed for this long is its run's no more."""
PARKED = timedelta(minutes=15)
"""How long a run in stages may take from one to the next."""

_POLL_S = 0.5

_log = logging.getLogger(__name__)


class Lease(BaseModel):
    """Who holds a warehouse since when; times are UTC. `boot` says among which processes `pid` means one (0: parked).

    `about` is what the run is to do, in its own words; `left` what its stages so far leave to the next; `error` is why
    it failed, if that could be written down nowhere else.
    """

    model_config = ConfigDict(frozen=True)

    warehouse: str
    run_id: str
    host: str
    pid: int
    boot: str
    acquired_at: datetime
    expires_at: datetime
    about: str = ""
    left: str = ""
    error: str = ""

    @property
    def last_words(self) -> str:
        """Why a dead run ended, as far as anybody knows."""
        return self.error or f"the run ended without a word (process {self.pid} on {self.host})"

    def is_dead(self, now: datetime) -> bool:
        """Whether its run can be taken for dead: it said so, was not renewed, or its process here is gone."""
        if self.error or now > self.expires_at:
            return True
        return self.pid != 0 and self._is_here and not _runs(self.pid)

    @property
    def is_own(self) -> bool:
        """Whether it is this process's."""
        return self._is_here and self.pid == os.getpid()

    @property
    def _is_here(self) -> bool:
        return (self.host, self.boot) == (socket.gethostname(), _boot())


@dataclass
class Held:
    """A lease that is held. With `unrecorded`, why its run failed, it is left for the next run to reclaim.

    With `left` it is parked for the run's next stage.
    """

    lease: Lease
    unrecorded: str = ""
    left: str = ""


@contextmanager
def hold(
    store: ObjectStore,
    warehouse: str,
    run_id: str,
    clock: Clock,
    *,
    wait_s: float,
    reclaim: Callable[[Lease], None],
    ttl: timedelta = TTL,
    about: str = "",
) -> Iterator[Held]:
    """Hold a warehouse's lease; another run's dead one is given to `reclaim` first, then taken over.

    Raises Busy, naming the holder, once `wait_s` is over, and what the store and `reclaim` raise.
    """
    deadline = clock.monotonic() + wait_s
    while (lease := _try(store, warehouse, run_id, clock, reclaim, ttl, about)) is None:
        if clock.monotonic() >= deadline:
            raise _busy(store, warehouse, clock)
        clock.sleep(_POLL_S)
    stop = threading.Event()
    keeper = threading.Thread(target=_renew, args=(store, lease, clock, ttl, stop), daemon=True)
    keeper.start()
    held = Held(lease)
    try:
        yield held
    finally:
        stop.set()
        keeper.join()
        _let_go(store, held, clock)


def leases(store: ObjectStore) -> list[Lease]:
    """Return the leases of runs at work, and those that dead runs left."""
    found = [_read(store, item.key) for item in store.list("leases/")]
    return [lease for lease in found if lease]


def is_held(store: ObjectStore, warehouse: str, run_id: str) -> bool:
    """Tell whether a warehouse's lease is (still) a run's."""
    held = _read(store, _key(warehouse))
    return held is not None and held.run_id == run_id


def _try(
    store: ObjectStore,
    warehouse: str,
    run_id: str,
    clock: Clock,
    reclaim: Callable[[Lease], None],
    ttl: timedelta,
    about: str,
) -> Lease | None:
    if _put(store, lease := _lease(warehouse, run_id, clock, ttl, about), if_absent=True):
        return lease
    held = _read(store, _key(warehouse))
    if held and held.run_id == run_id and (held.pid == 0 or held.is_own or held.is_dead(clock.now())):
        kept = {"acquired_at": held.acquired_at, "about": about or held.about, "left": held.left}
        _put(store, lease := lease.model_copy(update=kept))
        return lease
    if held is None or held.run_id == run_id or not held.is_dead(clock.now()):
        return None
    reclaim(held)
    if _read(store, _key(warehouse)) == held:
        store.delete([_key(warehouse)])
    lease = _lease(warehouse, run_id, clock, ttl, about)
    return lease if _put(store, lease, if_absent=True) else None


def _lease(warehouse: str, run_id: str, clock: Clock, ttl: timedelta, about: str) -> Lease:
    now = clock.now()
    return Lease(
        warehouse=warehouse,
        run_id=run_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        boot=_boot(),
        acquired_at=now,
        expires_at=now + ttl,
        about=about,
    )


def _renew(store: ObjectStore, lease: Lease, clock: Clock, ttl: timedelta, stop: threading.Event) -> None:
    while not stop.wait(ttl.total_seconds() / 3):
        try:
            if is_held(store, lease.warehouse, lease.run_id):
                _put(store, lease.model_copy(update={"expires_at": clock.now() + ttl}))
        except StarbergError as error:  # the store is away: so is the run, or the next renewal is in time
            _log.warning("the lease of %s was not renewed: %s", lease.warehouse, error)


def _let_go(store: ObjectStore, held: Held, clock: Clock) -> None:
    """Release or leave; what is left behind is found dead, and must not turn a run that published into a failed one."""
    lease = held.lease
    try:
        if not is_held(store, lease.warehouse, lease.run_id):
            return
        if held.unrecorded:
            _put(store, lease.model_copy(update={"error": held.unrecorded, "left": held.left}))
        elif held.left:
            parked = {"pid": 0, "expires_at": clock.now() + PARKED, "left": held.left}
            _put(store, lease.model_copy(update=parked))
        else:
            store.delete([_key(lease.warehouse)])
    except StarbergError as error:
        _log.warning("the lease of %s was not released: %s", lease.warehouse, error)


def _busy(store: ObjectStore, warehouse: str, clock: Clock) -> Busy:
    held = _read(store, _key(warehouse))
    if held is None:
        return Busy(f"warehouse {warehouse} was taken by another run just now", hint="Run again.")
    minutes = (clock.now() - held.acquired_at).total_seconds() / 60
    return Busy(
        f"run {held.run_id} holds warehouse {warehouse} for {minutes:.1f} min (process {held.pid} on {held.host})",
        hint="Wait longer with --wait, or see `starberg status`.",
    )


def _put(store: ObjectStore, lease: Lease, *, if_absent: bool = False) -> bool:
    return store.put(_key(lease.warehouse), lease.model_dump_json().encode(), if_absent=if_absent)


def _read(store: ObjectStore, key: str) -> Lease | None:
    try:
        return Lease.model_validate_json(store.get(key))
    except ObjectMissing:
        return None
    except ValidationError:
        where = store.uri(key)
        raise LakeError(f"{where} is no lease", hint="Delete it if no run is at work") from None


def _key(warehouse: str) -> str:
    return f"leases/{warehouse}.json"


def _boot() -> str:
    """Name this start of this machine and, in a container, its processes: elsewhere a process id means another one."""
    boot_id, processes = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return f"{boot_id.read_text().strip()} {processes.readlink()}" if boot_id.is_file() else ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
