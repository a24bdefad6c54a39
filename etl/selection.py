"""Which tables a build builds, if not all."""

from __future__ import annotations

from collections.abc import Collection

from starberg.etl.graph import upstream
from starberg.etl.model import Warehouse


def selected(warehouse: Warehouse, only: Collection[str], existing: Collection[str]) -> set[str]:
    """Return the names of the tables to build: those asked for (none: all), and what they cannot be built without.

    That is what they read, as far as it is not among the `existing` tables (`warehouse.table`), and the other staging
    tables made from the same streams: a stream has one watermark.
    """
    if not only:
        return set(warehouse.tables)
    wanted = {name for name in only if name in warehouse.tables}
    wanted |= {t.name for name in wanted for t in upstream(warehouse, name) if t.id not in existing}
    return set(warehouse.with_same_stream(wanted))
