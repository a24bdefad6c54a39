"""Which tables a build builds, if not all."""

from __future__ import annotations

from collections.abc import Collection

from starberg.etl.compile import lookups
from starberg.etl.facts import has_spans
from starberg.etl.graph import upstream
from starberg.etl.model import Kind, Warehouse


def selected(warehouse: Warehouse, only: Collection[str], existing: Collection[str]) -> set[str]:
    """Return the names of the tables to build: those asked for (none: all), and what they cannot be built without.

    That is what they read, as far as it is not among the `existing` tables (`warehouse.table`), and the other staging
    tables made from the same streams: a stream has one watermark. A bridge with history goes with its members, whose
    versions its spans are.
    """
    if not only:
        return set(warehouse.tables)
    wanted = {name for name in only if name in warehouse.tables}
    bridges = [t for t in warehouse.of_kind(Kind.BRIDGE) if has_spans(t) and t.id in existing]
    wanted |= {t.name for t in bridges if any(lookup.dimension in wanted for lookup in lookups(t).values())}
    wanted |= {t.name for name in wanted for t in upstream(warehouse, name) if t.id not in existing}
    return set(warehouse.with_same_stream(wanted))
