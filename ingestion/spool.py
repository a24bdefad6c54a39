"""Spool files: what a source said, one page a line, until landing has read it.

Writing raises TransientError where the disk is full.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from starberg.ingestion.json_pages import JsonBody, at, envelope, envelope_of_records, merge, nest, readable_records
from starberg.ingestion.streams import Stream
from starberg.storage.local_store import disk_errors

_numbers = itertools.count(1)


class Spool:
    """The pages of one list; the file exists once a page with records was written."""

    def __init__(self, stream: Stream, scratch: Path) -> None:
        self.path = scratch / f"{stream.name}-{next(_numbers):06d}.jsonl"
        self.largest = 0
        """Bytes of the longest line."""
        self._records_path = stream.records
        self._key_paths = [stream.path_of(name) for name in stream.key]
        self._file: BinaryIO | None = None

    def add(self, page: str, body: JsonBody, keep: Sequence[bool] | None = None) -> None:
        """Write a page, or the records of it that `keep` wants, in the server's own words where they are readable."""
        if body.clean and (keep is None or all(keep)):
            self._write(envelope(page, body, self._records_path))
        elif records := readable_records(body, self._records_path, self._key_paths, keep):
            self._write(envelope_of_records(page, records))

    def add_keys(self, page: str, records: Sequence[Any]) -> None:
        """Write a page of nothing but keys."""
        bare = [self._key_of(record) for record in records]
        self._write(envelope_of_records(page, [json.dumps(key) for key in bare]))

    def close(self) -> None:
        """Finish the file; adding to it again is allowed."""
        if self._file:
            file, self._file = self._file, None
            with disk_errors("write", self.path):
                file.close()

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.close()
        self.path.unlink(missing_ok=True)

    @property
    def exists(self) -> bool:
        """Tell whether anything was written."""
        return self.largest > 0

    def _key_of(self, record: Any) -> dict[str, Any]:
        key: dict[str, Any] = {}
        for path in self._key_paths:
            merge(key, nest(path, at(record, path)))
        return key

    def _write(self, line: bytes) -> None:
        with disk_errors("write", self.path):
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.write(line)
        self.largest = max(self.largest, len(line))
