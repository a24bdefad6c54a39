"""Facts and bridges, as SQL: the declared SELECT's rows with the surrogate keys they look up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from starberg.etl.compile import (
    DELETED_AT,
    LOAD,
    driver,
    lookups,
    over_staging,
    source_select,
    with_deleted_at,
)
from starberg.etl.dimensions import date_key, date_of, header_of
from starberg.etl.headers import BridgeHeader, FactHeader, Lookup
from starberg.etl.history import valid_at, valid_versions
from starberg.etl.model import UNKNOWN_KEY, Table, Warehouse
from starberg.etl.zone import Zone
from starberg.utils.errors import DeclarationError
from starberg.utils.sql import names, quote, quote_name


def source_relation(table: Table) -> str:
    """Return the name of the temporary table that holds a fact's or bridge's rows before lookups."""
    return quote_name(f"source_{table.name}")


def source_rows(table: Table, part: Mapping[str, Callable[[str], str]] | None = None) -> str:
    """Return a fact's or bridge's rows before lookups, natural keys and lineage included; `part` as in `over_staging`.

    A fact that marks or keeps deleted rows reads its driver with the deleted rows, and gets `_deleted_at`.
    """
    if not _keeps_deleted(table):
        return over_staging(table, source_select(table), part=part)
    driven_by = driver(table)
    if not driven_by:
        raise DeclarationError(
            f"{table.path}: deletes",
            "mark and keep need a SELECT whose rows are rows of its first staging table",
            hint="Read the staging table first, without GROUP BY or DISTINCT, or use deletes: remove.",
        )
    return over_staging(table, with_deleted_at(table), deleted=[driven_by], part=part)


def fact(table: Table, warehouse: Warehouse) -> str:
    """Return all rows of a fact or bridge: `source_<table>` joined with the dimensions it looks up.

    A natural key that is null, or unknown to a dimension that may not infer it, gets key 0.
    """
    keys, joins = looked_up(table, warehouse)
    listed = "".join(f", {found} AS {quote_name(column)}" for column, found in keys.items())
    rest = f"s.* EXCLUDE ({LOAD}{', ' + DELETED_AT if _keeps_deleted(table) else ''})"
    extra = _deletes(table) + _weight(table) + _lags(table, warehouse.zone)
    return f"SELECT {rest}{listed}{extra}, s.{LOAD} FROM {source_relation(table)} s{joins}"


def looked_up(table: Table, warehouse: Warehouse, *, but_type2: bool = False) -> tuple[dict[str, str], str]:
    """Return the surrogate keys of a fact's or bridge's row `s`, by column, and the joins that find them.

    Of all dimensions it looks up, or of those without history.
    """
    joins: list[str] = []
    keys: dict[str, str] = {}
    for number, (column, lookup) in enumerate(lookups(table).items()):
        target = warehouse.tables[lookup.dimension]
        if but_type2 and header_of(target).is_type2:
            continue
        found = f"d{number}.{quote_name(target.surrogate_key)}"
        if not header_of(target).calendar:
            joins.append(_join(f"d{number}", target, lookup, table, warehouse.zone))
        else:
            day = date_key(date_of(f"s.{quote_name(lookup.own_columns()[0])}", warehouse.zone))
            if lookup.missing == "unknown":
                joins.append(f"\nLEFT JOIN {quote(target.id)} d{number} ON {found} = {day}")
            else:
                found = day
        keys[column] = f"coalesce({found}, {UNKNOWN_KEY})::BIGINT"
    return keys, "".join(joins)


def valid_for(version: str, row: str, lookup: Lookup, table: Table, zone: Zone) -> str:
    """Return the condition that a version is the one a row looks up.

    That is the one at the time the lookup names, else the newest; of a snapshot the one at the end of its day or month.
    """
    header = table.header
    if isinstance(header, FactHeader) and header.is_snapshot and not lookup.as_of:
        end = zone.start_of(f"CAST({row}.{quote_name(header.date)} AS DATE) + INTERVAL 1 DAY")
        return f"{version}.effective_from < {end} AND {version}._until >= {end}"
    if has_spans(table):
        return f"{row}.effective_from >= {version}.effective_from AND {row}.effective_from < {version}._until"
    return valid_at(version, row, lookup.as_of, zone)


def grain(table: Table) -> Sequence[str]:
    """Return the columns that identify a row."""
    assert isinstance(table.header, (FactHeader, BridgeHeader))
    return [*table.header.grain, *(["effective_from"] if has_spans(table) else [])]


def has_spans(table: Table) -> bool:
    """Return whether a table is a bridge with history."""
    return isinstance(table.header, BridgeHeader) and table.header.is_type2


def group(header: BridgeHeader) -> Sequence[str]:
    """Return the columns a bridge's weights sum to 1 over."""
    return header.group or header.grain[:1]


def references(
    table_lookups: Mapping[str, Lookup], table: Table, dimension: str, relation: str = ""
) -> list[tuple[str, Lookup]]:
    """Return the relations through which a table refers to a dimension: its source rows, or the one given."""
    rows = relation or source_relation(table)
    return [(rows, lookup) for lookup in table_lookups.values() if lookup.dimension == dimension]


def _join(alias: str, target: Table, lookup: Lookup, table: Table, zone: Zone) -> str:
    pairs = lookup.pairs(header_of(target).natural_key)
    on = " AND ".join(f"{alias}.{quote_name(natural)} = s.{quote_name(own)}" for natural, own in pairs)
    if not header_of(target).is_type2:
        return f"\nLEFT JOIN {quote(target.id)} {alias} ON {on}"
    return f"\nLEFT JOIN {valid_versions(target)} {alias} ON {on} AND {valid_for(alias, 's', lookup, table, zone)}"


def _keeps_deleted(table: Table) -> bool:
    return isinstance(table.header, FactHeader) and table.header.deletes in ("mark", "keep")


def _deletes(table: Table) -> str:
    if isinstance(table.header, FactHeader) and table.header.deletes == "mark":
        return f", s.{DELETED_AT} IS NOT NULL AS is_deleted, s.{DELETED_AT} AS deleted_at"
    return ""


def _weight(table: Table) -> str:
    if isinstance(table.header, BridgeHeader) and table.header.weight == "equal":
        return f", 1.0::DOUBLE / count(*) OVER (PARTITION BY {names(list(group(table.header)), of='s')}) AS weight"
    return ""


def _lags(table: Table, zone: Zone) -> str:
    if not isinstance(table.header, FactHeader):
        return ""
    return "".join(
        f", date_diff('day', {zone.day_of(f's.{quote_name(one)}')}, {zone.day_of(f's.{quote_name(other)}')}) "
        f"AS {quote_name(name)}"
        for name, (one, other) in table.header.lags.items()
    )
