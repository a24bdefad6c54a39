"""The lake's own file, `lake.json`: which catalog its tables are in, and the format it is written in.

A catalog that was lost, or is another one than before, would look like a lake without tables: the next run would build
everything anew beside what is there, under other surrogate keys. So the first run writes the catalog's identity into
the lake, and every run compares.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from starberg.storage.branches import Catalog
from starberg.storage.object_store import ObjectMissing, ObjectStore
from starberg.utils.clock import Clock
from starberg.utils.errors import LakeError

KEY = "lake.json"
FORMAT_VERSION = 1


class LakeFile(BaseModel):
    """What the file says; `created_at` is UTC."""

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    catalog: str
    created_at: datetime


def claim(store: ObjectStore, catalog: Catalog, clock: Clock) -> None:
    """Make a new lake the catalog's; LakeError if it is another's (see `check_claim`)."""
    if check_claim(store, catalog):
        return
    body = LakeFile(catalog=catalog.identity(), created_at=clock.now()).model_dump_json().encode()
    if not store.put(KEY, body, if_absent=True):
        check_claim(store, catalog)


def check_claim(store: ObjectStore, catalog: Catalog) -> bool:
    """Return whether the lake is the catalog's, or (False) nobody's yet.

    Raises LakeError if it is another catalog's, or of a newer format.
    """
    found = _read(store)
    if found is None:
        return False
    if found.format_version > FORMAT_VERSION:
        raise LakeError(
            f"the lake {store.root} has format {found.format_version}, newer than this starberg reads",
            hint="Install a newer starberg.",
        )
    if found.catalog != (here := catalog.identity()):
        raise LakeError(
            f"the tables of the lake {store.root} are in catalog {found.catalog}, but this is catalog {here}, "
            "a new one or another lake's",
            hint="Correct STARBERG_CATALOG or restore the catalog from its backup; to give it up and build all tables "
            f"anew from raw, with new surrogate keys, delete {store.uri(KEY)}",
        )
    return True


def _read(store: ObjectStore) -> LakeFile | None:
    try:
        return LakeFile.model_validate_json(store.get(KEY))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise LakeError(f"{store.uri(KEY)} cannot be read", hint="Restore it from a backup of the lake.") from error
