"""The raw zone: every stream is one chain of immutable loads.

`raw/<warehouse>/<source>/<stream>/<seq>/` holds the parts of load number `seq` and its `manifest.json`, which is put
last and only if absent: the manifest is the commit point (a load without one does not exist), and of two extractors
that landed at the same time the second loses loudly. Parts carry the run id in their names: the loser's never collide.

A part's rows are records: `_load_id` BIGINT (= seq), `_row` BIGINT (order within the load), `_op` 'U' (insert or
update) or 'D' (delete), `_observed` TIMESTAMP UTC, `_key` VARCHAR (JSON array of the key's texts; null: unreadable),
`_digest` VARCHAR (content hash), `record` VARCHAR (the source's JSON; null for 'D').

Loads of a database (those whose manifest has `raw_types`) hold the source's typed columns instead: `_load_id`, `_op`,
`_observed`, `_unread` VARCHAR (JSON object of the values their type cannot hold, as text), and each column of
`raw_types`; of a 'D' only the key. Their order is that of the file. `engines/typed_rows.py` reads both ends of this.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from starberg.storage.object_store import ObjectStore
from starberg.utils.errors import Conflict, LakeError

FORMAT_VERSION = 1
_MANIFEST = re.compile(r"(\d{10})/manifest\.json")
_LOOK = 500
"""So many objects of a chain are looked at before its end is searched for: half of what an S3 list answers at once."""


class Part(BaseModel):
    """One Parquet file of a load, or a checkpoint of the key index."""

    model_config = ConfigDict(frozen=True)

    key: str
    rows: int
    bytes: int
    sha256: str


class _Versioned(BaseModel):
    """What every format of a manifest has."""

    format_version: int


class Manifest(BaseModel):
    """One committed load. Counts are records; `cursor` is where the next extraction starts; times are UTC.

    `index` is a checkpoint of all live keys with their digests as of this load, if the load wrote one; `index_seq` is
    the load with the newest checkpoint so far (0: none).
    """

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    warehouse: str
    source: str
    stream: str
    seq: int
    previous: int
    run_id: str
    source_identity: str
    observed_at: datetime
    committed_at: datetime
    cursor_before: Mapping[str, Any] | None
    cursor: Mapping[str, Any]
    columns: Mapping[str, str]
    raw_types: Mapping[str, str] = {}
    """Types of the parts' columns, if they are the source's own typed columns."""
    parts: Sequence[Part]
    index: Part | None = None
    index_seq: int = 0
    fetched: int
    changed: int
    unchanged: int
    deleted: int
    duplicates: int
    unreadable: int
    requests: int
    bytes_read: int
    source_rows: int | None = None
    """Rows the source's table had in the snapshot that was read, if they were counted."""
    notes: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """Records in the load's parts."""
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True)
class RawStream:
    """The chain of one stream."""

    store: ObjectStore
    warehouse: str
    source: str
    stream: str

    @property
    def name(self) -> str:
        """The stream's name in messages and control tables."""
        return f"{self.source}.{self.stream}"

    @property
    def prefix(self) -> str:
        """Key prefix of the chain."""
        return f"raw/{self.warehouse}/{self.source}/{self.stream}/"

    def folder(self, seq: int) -> str:
        """Key prefix of one load."""
        return f"{self.prefix}{seq:010d}/"

    def loads(self, after: int = 0, *, at_least: int = 0) -> list[Manifest]:
        """Return the committed loads after number `after`, oldest first.

        Raises LakeError if load `after` or load `at_least` is not there (the chain has lost its end), the chain has a
        gap, a load is not what its place says, or its format is newer.
        """
        return [self.load(seq) for seq in self._committed(after, at_least)]

    def last(self) -> Manifest | None:
        """Return the newest committed load, or None."""
        seq = self._end()
        return self.load(seq) if seq else None

    def _end(self) -> int:
        """Return the newest load's number (0: none), with as many looks at ten years of loads as a dozen need."""
        low, beyond, ahead = 0, 0, _LOOK
        seen, more = self._look(1)
        while more:
            low = max(low, seen)
            probe = (low + beyond) // 2 if beyond else low + ahead
            if probe == low:
                break
            seen, more = self._look(probe)
            if seen:
                ahead *= 2
            else:
                beyond, more = probe, True
        return max(low, seen)

    def _look(self, first: int) -> tuple[int, bool]:
        """Return the last of the next loads from `first` on (0: there are none), and whether more may follow."""
        found: list[int] = []
        for number, seq in enumerate(self._numbers(first - 1)):
            found += [seq] if seq else []
            if found and number >= _LOOK:
                break
        else:
            return self._gapless(first, found), False
        return self._gapless(first, found), True

    def _committed(self, after: int, at_least: int) -> list[int]:
        """Return the numbers of the loads after `after`, which is there, too."""
        found = [seq for seq in self._numbers(max(after - 1, 0)) if seq]
        self._gapless(max(after, 1), found, max(after, at_least))
        return [seq for seq in found if seq > after]

    def _numbers(self, after: int) -> Iterator[int]:
        """Yield, in order, for each object of the loads after number `after` a load's number if it is its manifest.

        What is not named as a manifest is 0.
        """
        start = f"{self.folder(after)}~" if after else ""
        for stored in self.store.list(self.prefix, start_after=start):
            match = _MANIFEST.fullmatch(stored.key.removeprefix(self.prefix))
            yield int(match[1]) if match else 0

    def _gapless(self, first: int, found: Sequence[int], at_least: int = 0) -> int:
        """Return the last of some loads (0: none); LakeError unless they are all from `first` to it."""
        last = max([at_least, *found], default=0)
        if missing := sorted({*range(first, last + 1)} - {*found}):
            later = [seq for seq in found if seq > missing[0]]
            raise LakeError(
                f"raw chain {self.prefix} has no load {missing[0]}" + (f", but load {later[0]}" if later else ""),
                hint="Restore the missing load from a backup of the lake.",
            )
        return last

    def commit(self, manifest: Manifest) -> None:
        """Put the manifest; Conflict if another extractor committed this load first."""
        body = manifest.model_dump_json(indent=1).encode()
        if not self.store.put(f"{self.folder(manifest.seq)}manifest.json", body, if_absent=True):
            raise Conflict(
                f"another extractor landed load {manifest.seq} of {self.warehouse}.{self.name} first",
                hint="This load was dropped; run again to start at the other's cursor.",
            )

    def put_part(self, seq: int, name: str, path: Path, rows: int) -> Part:
        """Move a Parquet file into load `seq` under `name`."""
        key = f"{self.folder(seq)}{name}.parquet"
        digest, size = sha256(path), path.stat().st_size
        self.store.put_file(key, path)
        return Part(key=key, rows=rows, bytes=size, sha256=digest)

    def fetch(self, part: Part, scratch: Path) -> Path:
        """Return a local file with a part's bytes, proven to be those the manifest names.

        Raises LakeError naming the object if it is missing, truncated or altered.
        """
        path = self.store.local_path(part.key, scratch)
        if path.stat().st_size != part.bytes or sha256(path) != part.sha256:
            raise LakeError(
                f"raw file {self.store.uri(part.key)} is not the one its manifest names (size or sha256 differs)",
                hint="Restore it from a backup of the lake; nothing was changed.",
            )
        return path

    def load(self, seq: int) -> Manifest:
        """Return load number `seq`; LakeError naming the manifest if it is missing or cannot be trusted."""
        key = f"{self.folder(seq)}manifest.json"
        where, body = self.store.uri(key), self.store.get(key)
        manifest = _read(where, body)
        said = (manifest.warehouse, manifest.source, manifest.stream, manifest.seq, manifest.previous)
        if said != (self.warehouse, self.source, self.stream, seq, seq - 1):
            raise LakeError(
                f"manifest {where} says it is load {manifest.seq} of {manifest.warehouse}.{manifest.source}."
                f"{manifest.stream} after {manifest.previous}",
                hint="Restore it from a backup of the lake.",
            )
        return manifest


@dataclass(frozen=True)
class HeldStream(RawStream):
    """The chain of one stream as a run holds it: its end is looked up once, and moves with what it commits.

    Another's load is noticed by the next commit (Conflict), or by the next run.
    """

    _ends: list[Manifest | None] = field(default_factory=list, compare=False, repr=False)

    def last(self) -> Manifest | None:
        """Return the newest committed load, or None."""
        if not self._ends:
            self._ends.append(super().last())
        return self._ends[-1]

    def loads(self, after: int = 0, *, at_least: int = 0) -> list[Manifest]:
        """Return the loads after number `after` (see `RawStream.loads`), without a list if the end is known."""
        known = {end.seq: end for end in self._ends if end}
        last = max(known, default=0)
        if not self._ends or last < max(after, at_least):
            return super().loads(after, at_least=at_least)
        return [known.get(seq) or self.load(seq) for seq in range(after + 1, last + 1)]

    def commit(self, manifest: Manifest) -> None:
        """Put the manifest; Conflict if another extractor committed this load first."""
        super().commit(manifest)
        self._ends.append(manifest)


class Chains:
    """The chains of one warehouse, each held from when it is first asked for."""

    def __init__(self, store: ObjectStore, warehouse: str) -> None:
        self._store = store
        self._warehouse = warehouse
        self._held: dict[tuple[str, str], HeldStream] = {}

    def of(self, source: str, stream: str) -> RawStream:
        """Return the chain of a source's stream."""
        return self._held.setdefault((source, stream), HeldStream(self._store, self._warehouse, source, stream))


def _read(where: str, body: bytes) -> Manifest:
    try:
        version = _Versioned.model_validate_json(body).format_version
        if version > FORMAT_VERSION:
            raise LakeError(
                f"manifest {where} has format {version}, newer than this starberg reads",
                hint="Install a newer starberg.",
            )
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        reason = error.errors()[0]
        raise LakeError(
            f"manifest {where} cannot be read: {reason['msg']} at {reason['loc']}",
            hint="Restore it from a backup of the lake.",
        ) from error


def sha256(path: Path) -> str:
    """Return a file's SHA-256, read in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
