"""Log capture: one replication slot of a source, read in batches that end with a transaction.

The slot is only looked at (`pg_logical_slot_peek_binary_changes`) and advanced after every stream's load is committed
and its files are in place; what was landed already is passed over by its position. A stream's first load is a snapshot
taken while the slot exists: transactions the snapshot saw are passed over by their number, so neither gap nor overlap
is possible. Cursor: {"lsn": changes before it are landed, "slot": …, "snapshot": …, "snapshot_lsn": …}.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starberg.engines.base import Engine
from starberg.ingestion.log_rows import LogRows
from starberg.ingestion.log_spool import ChangeFile, Snapshot, close_all
from starberg.ingestion.pgoutput import Begin, Change, Commit, Decoder, Truncate
from starberg.ingestion.postgres_connection import Control
from starberg.ingestion.postgres_errors import Locked
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.ingestion.table_columns import table_columns, unproven_key
from starberg.ingestion.table_source import TableExtract
from starberg.storage.raw_chain import Manifest, RawStream
from starberg.utils.errors import LakeError, SourceDataError, TransientError, UsageError
from starberg.utils.sql import quote, quote_name

CHANGES_A_BATCH = 100_000
_WORTH_A_LOAD = 16 * 1024 * 1024
"""So many bytes of log without a change of a stream are worth a load that only moves its cursor."""
_FAR_BEHIND = 1024**3
_OPEN_WAIT_S = 60


class SlotLost(SourceDataError):
    """The slot is missing, or changes since the last load are no longer in it."""


@dataclass
class _Batch:
    """What one look at the slot gave; `position`: every transaction that committed before it was seen."""

    folder: Path
    position: int
    files: Mapping[str, ChangeFile]
    more: bool
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Slot:
    confirmed: int
    behind: int
    status: str


class LogReader:
    """The slot of one source, for one run."""

    def __init__(self, control: Control, spec: SourceSpec) -> None:
        self._control = control
        self._spec = spec
        self.slot = spec.slot or f"starberg_{spec.name}"
        self._batch: _Batch | None = None
        self._streams = {name: stream for name, stream in spec.streams.items() if stream.capture == "log"}

    def changes(self, stream: Stream, chain: RawStream, engine: Engine, scratch: Path) -> TableExtract | None:
        """Return the changes of one stream in this batch, None if there are none worth a load.

        Raises SlotLost if changes since its last load cannot be had any more.
        """
        previous = chain.last()
        assert previous is not None
        if self._batch is None:
            self._batch = self._look(chain)
        batch = self._batch
        file = batch.files.get(stream.name)
        if file is None:  # it was loaded for the first time in this run
            return None
        cursor = self._cursor(previous, batch.position)
        if not file.rows:
            if batch.position - int(previous.cursor["lsn"]) < _WORTH_A_LOAD:
                return None
            now = datetime.now(UTC)
            return TableExtract("log", (), previous.columns, previous.raw_types, cursor, now, moved=True)
        with self._control.locked(stream) as facts:
            columns = table_columns(stream, facts.columns, previous.raw_types)
            rows = LogRows(engine, chain, stream, scratch, columns, previous)
            written = rows.write(file)
            [(now,)] = self._control.rows("SELECT clock_timestamp()")
            unproven = unproven_key(stream, facts.unique)
        notes = (*columns.notes, *unproven, *batch.notes)
        return TableExtract(
            "log", written, columns.columns, columns.raw_types, cursor, now.astimezone(UTC), moved=True, notes=notes
        )

    def prepare(self, stream: Stream, *, is_new: bool) -> None:
        """Make sure that from now on the slot holds the stream's changes; it is created if there is none."""
        self.check_published(stream)
        slot = self._slot()
        if slot and slot.status == "lost":
            self._control.rows("SELECT pg_drop_replication_slot(%s)", [self.slot])
            slot = None
        if slot is None:
            try:  # PostgreSQL waits for the transactions that are open
                self._control.rows("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])
            except Locked as error:
                raise self._held_up() from error
        elif is_new:
            self._wait_for_open_transactions()

    def cursor_of_snapshot(self, visible: str, previous: Manifest | None) -> dict[str, Any]:
        """Return the cursor after a snapshot that saw `visible` and was taken after `prepare`."""
        slot = self._slot()
        assert slot is not None
        lsn = slot.confirmed if previous is None else max(slot.confirmed, int(previous.cursor.get("lsn", 0)))
        return {"lsn": lsn, "slot": self.slot, "snapshot": visible, "snapshot_lsn": self._control.position()}

    def settle(self, chains: Mapping[str, RawStream]) -> bool:
        """Advance the slot to what every stream has committed, its files proven to be there; True: there is more."""
        batch = self._batch
        self.close()
        if not self._streams or not self._control.is_open:
            return False
        positions = [self._landed(chains[name]) for name in self._streams]
        slot = self._slot()
        if slot and all(position is not None for position in positions):
            position = min(position for position in positions if position is not None)
            if position > slot.confirmed:
                self._control.rows("SELECT pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s)", [self.slot, position])
        return bool(batch and batch.more)

    def close(self) -> None:
        """Remove the files of the batch that was read."""
        batch, self._batch = self._batch, None
        if batch:
            shutil.rmtree(batch.folder, ignore_errors=True)

    # The slot

    def _landed(self, chain: RawStream) -> int | None:
        """Return the position a chain's last load covers, None if it has none."""
        last = chain.last()
        if last is None or "lsn" not in last.cursor:
            return None
        for part in last.parts:
            if chain.store.size(part.key) != part.bytes:
                raise LakeError(f"{chain.store.uri(part.key)} is not there as it was landed: the slot stays")
        return int(last.cursor["lsn"])

    def _slot(self) -> _Slot | None:
        rows = self._control.rows(
            "SELECT plugin, database, coalesce(wal_status, ''), (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint, "
            "(pg_current_wal_lsn() - restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = %s",
            [self.slot],
        )
        if not rows:
            return None
        [(plugin, database, status, confirmed, behind)] = rows
        if plugin != "pgoutput" or database != self._control.address.database:
            raise UsageError(
                f"slot {self.slot} is of plugin {plugin} and database {database}, not of source {self._spec.name}",
                hint="Give the source a slot of its own: slot: NAME.",
            )
        return _Slot(int(confirmed or 0), int(behind or 0), status)

    def check_published(self, stream: Stream) -> None:
        """Raise UsageError if the log does not tell all changes of a stream's table, with what to type."""
        schema, table = stream.table.split(".")
        names = self._spec.publications
        found = self._control.rows(
            "SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate FROM pg_publication_tables t "
            "JOIN pg_publication p USING (pubname) WHERE pubname = ANY (%s) AND schemaname = %s AND tablename = %s",
            [names, schema, table],
        )
        if not found:
            there = self._control.rows("SELECT 1 FROM pg_publication WHERE pubname = %s", [names[0]])
            do = f"ALTER PUBLICATION {quote_name(names[0])} ADD TABLE" if there else None
            do = do or f"CREATE PUBLICATION {quote_name(names[0])} FOR TABLE"
            raise UsageError(
                f"source {self._spec.name}: {stream.table} is in no publication of {', '.join(names)}",
                hint=f"As its owner: {do} {quote(stream.table)};",
            )
        if not any(whole for (whole,) in found):
            raise UsageError(
                f"source {self._spec.name}: its publication leaves out some kinds of changes of {stream.table}",
                hint="ALTER PUBLICATION … SET (publish = 'insert, update, delete, truncate');",
            )
        self._check_identity(stream)

    def _check_identity(self, stream: Stream) -> None:
        with self._control.locked(stream) as facts:
            identity = facts.replica_identity
        lacking = {stream.path_of(name) for name in stream.key} - (identity or set())
        if identity is not None and lacking:
            raise UsageError(
                f"{stream.table}: its replica identity does not hold {', '.join(sorted(lacking))}, the key of stream "
                f"{stream.name}",
                hint=f"As its owner: ALTER TABLE {quote(stream.table)} REPLICA IDENTITY FULL; or name its primary key.",
            )

    def _wait_for_open_transactions(self) -> None:
        """A transaction that began before the table was published may have changes the log does not tell.

        Waits for those that are open to end; TransientError if one stays.
        """
        [(until,)] = self._control.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        deadline = time.monotonic() + _OPEN_WAIT_S
        while self._control.rows("SELECT 1 WHERE pg_snapshot_xmin(pg_current_snapshot())::text::bigint < %s", [until]):
            if time.monotonic() > deadline:
                raise self._held_up()
            time.sleep(0.1)

    def _held_up(self) -> TransientError:
        return TransientError(
            f"source {self._spec.name}: a transaction stays open, and a stream's first load waits for those before it",
            hint="See pg_stat_activity; run again.",
        )

    # Reading it

    def _look(self, chain: RawStream) -> _Batch:
        """Decode the next batch into one file a stream."""
        slot = self._slot()
        again = "Type `starberg run --full`: it reads the tables anew and compares; versions in between are lost."
        if slot is None:
            raise SlotLost(f"source {self._spec.name}: replication slot {self.slot} is missing", hint=again)
        if slot.status == "lost":
            raise SlotLost(f"source {self._spec.name}: PostgreSQL has removed log that {self.slot} needs", hint=again)
        folder = Path(tempfile.mkdtemp(prefix="starberg-log-"))
        try:
            files = self._files(folder, chain, slot)
            position, more = self._decode(files)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        notes = []
        if slot.behind > _FAR_BEHIND or slot.status == "unreserved":
            notes.append(f"slot {self.slot} keeps {slot.behind >> 20} MiB of log: run more often")
        return _Batch(folder, position, files, more, notes)

    def _files(self, folder: Path, chain: RawStream, slot: _Slot) -> dict[str, ChangeFile]:
        files = {}
        for name, stream in self._streams.items():
            last = RawStream(chain.store, chain.warehouse, chain.source, name).last()
            if last is None:
                continue
            cursor = last.cursor
            if slot.confirmed > int(cursor.get("lsn", 0)):
                raise SlotLost(
                    f"slot {self.slot} was moved past changes of stream {name} that were never landed",
                    hint="Type `starberg run --full`, and let nobody else read this slot.",
                )
            seen = Snapshot(cursor["snapshot"], int(cursor["snapshot_lsn"])) if "snapshot" in cursor else None
            place = folder / name
            place.mkdir()
            files[name] = ChangeFile(place, stream, int(cursor["lsn"]), seen)
        return files

    def _decode(self, files: Mapping[str, ChangeFile]) -> tuple[int, bool]:
        """Read the slot up to now; return the position that was reached, and whether there is more."""
        [(upto,)] = self._control.rows("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint")
        by_table: dict[str, list[ChangeFile]] = {}
        for name, file in files.items():
            by_table.setdefault(self._streams[name].table, []).append(file)
        decoder, begin, end, count = Decoder(), Begin(0, 0, 0), 0, 0
        wanted: set[int] = set()
        sql = (
            "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, '0/0'::pg_lsn + %s, %s, 'proto_version', '1', "
            "'publication_names', %s)"
        )
        publications = ",".join(quote_name(name) for name in self._spec.publications)
        for (data,) in self._control.stream(sql, [self.slot, upto, CHANGES_A_BATCH, publications]):
            count += 1
            for message in decoder.decode(bytes(data)):
                match message:
                    case Begin():
                        begin = message
                        wanted = {id(file) for file in files.values() if file.wants(begin)}
                    case Commit():
                        end = message.end_lsn
                    case Change() | Truncate():
                        tables = [message.relation] if isinstance(message, Change) else message.relations
                        for table in tables:
                            for file in by_table.get(table.name, ()):
                                if id(file) in wanted:
                                    file.add(begin, message)
        close_all(files.values())
        more = count >= CHANGES_A_BATCH
        return (end if more else max(end, int(upto))), more

    def _cursor(self, previous: Manifest, position: int) -> dict[str, Any]:
        cursor: dict[str, Any] = {"lsn": max(position, int(previous.cursor["lsn"])), "slot": self.slot}
        if int(previous.cursor.get("snapshot_lsn", 0)) > cursor["lsn"]:
            cursor |= {name: previous.cursor[name] for name in ("snapshot", "snapshot_lsn")}
        return cursor
