"""Surrogate keys: BIGINT, 0 is the unknown member, never reused.

A member keeps its number as long as its natural key exists; new members are numbered after the dimension's mark (the
highest number ever given) in natural key order, so that a rebuild from the same raw data numbers the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from starberg.utils.sql import names, quote_name


def numbered(members: str, known: str, natural_key: Sequence[str], surrogate_key: str, mark: int) -> str:
    """Return `members` with their surrogate key in front.

    `known` is a relation of natural key columns and `surrogate_key`, or nothing for a new dimension.
    """
    key = quote_name(surrogate_key)
    order = names(list(natural_key), of="m")
    if not known:
        return f"SELECT {mark} + row_number() OVER (ORDER BY {order}) AS {key}, m.* FROM {members} m"
    on = " AND ".join(f"k.{quote_name(column)} = m.{quote_name(column)}" for column in natural_key)
    number = f"{mark} + row_number() OVER (PARTITION BY k.{key} IS NULL ORDER BY {order})"
    return f"SELECT coalesce(k.{key}, {number}) AS {key}, m.* FROM {members} m LEFT JOIN {known} k ON {on}"
