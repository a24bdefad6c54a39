"""Alerts: watches the scheduler, keeps what was told in `alerts.json` of the home, and sends through Apprise.

An alert that could not be sent waits and is tried again, each address by itself, so that nobody hears it twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from starberg.entrypoints.scheduler import READ, Busy, Ran
from starberg.etl.alerts import Alert, Causes, is_late, is_silent, sign_of
from starberg.etl.due import Item, Part, TickRecord, TickState
from starberg.etl.results import Status
from starberg.etl.schedule import Alerts
from starberg.utils.errors import StarbergError
from starberg.utils.files import replace_file

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake

log = logging.getLogger(__name__)

FILE = "alerts.json"
AGAIN = timedelta(minutes=1)
KEPT = 200

Send = Callable[[str, Alert], bool]
"""Sends an alert to an address (a URL as Apprise takes it); False if it did not get there."""


class _Unsent(BaseModel):
    setting: str
    number: int
    alert: Alert


class _Book(BaseModel):
    causes: Causes = Causes()
    unsent: list[_Unsent] = []


class Watcher:
    """Is told by the scheduler what happens, and tells those who should know."""

    def __init__(
        self,
        home: Path,
        rules: Callable[[], Mapping[str, Alerts]],
        addresses: Callable[[str], Sequence[str]],
        send: Send,
    ) -> None:
        self._file = home / FILE
        self._rules = rules
        self._addresses = addresses
        self._send = send
        self._lock = threading.Lock()
        self._again: datetime | None = None
        self._book = self._read()

    def ended(self, warehouse: str, part: Part, ran: Ran, now: datetime) -> None:
        """Tell of a run that failed, and of one that is well again; one that is tried again is not over yet."""
        if ran.down:
            return
        with self._lock:
            causes, subjects = self._book.causes, part.items
            if ran.status is Status.FAILED:
                alerts = causes.begun(warehouse, "failed", subjects, ran.error, now, sign_of(ran.error))
            else:
                alerts = causes.ended(warehouse, "failed", subjects, now)
                alerts += causes.ended(warehouse, "late", subjects, now)
                if part.do != READ:
                    alerts += causes.ended(warehouse, "silent", [warehouse], now)
                    causes.good[warehouse] = now
            for job, said in ran.drops.items():
                alerts += causes.begun(warehouse, "dropped", [job], said, now)
            alerts += causes.ended(warehouse, "dropped", {job.job_name for job in ran.jobs} - ran.drops.keys(), now)
            self._tell(alerts, now)

    def looked(
        self,
        now: datetime,
        items: Mapping[str, Sequence[Item]],
        busy: Mapping[str, Busy],
        newest: Mapping[str, Mapping[str, TickRecord]],
    ) -> None:
        """Tell of jobs that are late and warehouses that are silent."""
        with self._lock:
            alerts: list[Alert] = []
            for warehouse, found in items.items():
                alerts += self._late(warehouse, found, newest.get(warehouse, {}), now)
                good = self._book.causes.good.setdefault(warehouse, now)
                at_work = busy[warehouse].since if warehouse in busy else None
                told = f"{warehouse} failed" in self._book.causes.open
                if not told and is_silent(found, good, at_work, now):
                    said = f"The last run that succeeded ended at {good:%Y-%m-%d %H:%M} UTC."
                    alerts += self._book.causes.begun(warehouse, "silent", [warehouse], said, now)
            self._tell(alerts, now)

    def _late(
        self, warehouse: str, items: Sequence[Item], newest: Mapping[str, TickRecord], now: datetime
    ) -> list[Alert]:
        open_states = (TickState.CLAIMED, TickState.RETRY)
        late = {
            item.name: record
            for item in items
            if (record := newest.get(item.name)) and record.state in open_states
            if is_late(item, record.passed_from or record.tick, now)
        }
        if not late:
            return []
        said = "; ".join(f"{name} was due at {record.tick:%Y-%m-%d %H:%M} UTC" for name, record in late.items())
        errors = {record.error for record in late.values() if record.error}
        body = ". ".join([said, *sorted(errors)])
        return self._book.causes.begun(warehouse, "late", list(late), body, now)

    def _tell(self, alerts: Sequence[Alert], now: datetime) -> None:
        """Send alerts, and those that wait, to each address of their rules; keep what could not be sent."""
        rules = self._rules() if alerts else {}
        new = [
            _Unsent(setting=setting, number=number, alert=alert)
            for alert in alerts
            if (rule := rules.get(alert.warehouse)) and alert.kind in rule.on
            for setting in rule.to
            for number in range(len(self._addresses(setting)))
        ]
        for alert in alerts:
            log.warning("alert", extra={"warehouse": alert.warehouse, "kind": alert.kind, "title": alert.title})
        waiting = self._book.unsent if self._again is None or now >= self._again else []
        kept = [] if waiting else self._book.unsent
        failed = [one for one in [*waiting, *new] if not self._sent(one)]
        if failed:
            self._again = now + AGAIN
        self._book.unsent = [*kept, *failed][-KEPT:]
        self._write()

    def _sent(self, unsent: _Unsent) -> bool:
        addresses = self._addresses(unsent.setting)
        return unsent.number >= len(addresses) or self._send(addresses[unsent.number], unsent.alert)

    def _read(self) -> _Book:
        try:
            return _Book.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return _Book()
        except ValidationError:
            log.warning("%s cannot be read: what was told before is forgotten", self._file)
            return _Book()

    def _write(self) -> None:
        text = self._book.model_dump_json(indent=1).encode()
        if not self._file.is_file() or self._file.read_bytes() != text:
            replace_file(self._file, text)


def watcher_of(lake: Lake) -> Watcher:
    """Return the watcher of a lake: rules from warehouse.yml, addresses from the settings these name."""

    known: dict[str, Alerts] = {}

    def rules() -> dict[str, Alerts]:
        files = lake.reopen({}).warehouses
        for name in files:
            try:
                found = files.file(name).alerts
            except StarbergError:  # told by the scheduler; who was to be told before is told that, too
                continue
            known.pop(name, None)
            known.update({name: found} if found else {})
        return known

    rules()

    def addresses(setting: str) -> list[str]:
        return (lake.secret_of(setting) or "").split()

    return Watcher(lake.home, rules, addresses, send)


def send(address: str, alert: Alert) -> bool:
    """Send through Apprise: webhook, e-mail, chat and whatever else it knows by a URL."""
    import apprise

    kind: Any = apprise.NotifyType.SUCCESS if alert.over else apprise.NotifyType.FAILURE
    recipient = apprise.Apprise()
    if not recipient.add(address):
        log.warning("an address for alerts is none that Apprise knows")
        return True  # it never will be
    body = f"{alert.body}\n\n{alert.at:%Y-%m-%d %H:%M:%S} UTC"
    return bool(recipient.notify(title=alert.title, body=body, notify_type=kind, body_format=apprise.NotifyFormat.TEXT))
