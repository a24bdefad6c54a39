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


def numbered_versions(
    versions: str, known: str, key: Sequence[str], tracked: Sequence[str], surrogate_key: str, mark: int
) -> str:
    """Return `versions` with their surrogate key in front and without `_place`.

    A version keeps the number of the known one with the same (natural key, `_changed_at`); else of a known one with
    equal tracked values that changed inside its interval, the lowest; the first takes that of a member without a time,
    which was inferred. `known` is a relation of the old versions with the same columns and `surrogate_key`, or nothing.
    """
    number = quote_name(surrogate_key)
    order = f"{names(list(key), of='v')}, v._changed_at"
    if not known:
        return (
            f"SELECT {mark} + row_number() OVER (ORDER BY {order}) AS {number}, v.* EXCLUDE (_place) FROM {versions} v"
        )
    same, found = (
        " AND ".join(f"{of}.{quote_name(column)} = v.{quote_name(column)}" for column in key) for of in ("k", "a")
    )
    alike = "".join(f" AND k.{quote_name(c)} IS NOT DISTINCT FROM v.{quote_name(c)}" for c in tracked)
    inside = "k._changed_at >= v.effective_from AND (v.effective_to IS NULL OR k._changed_at < v.effective_to)"
    later = "PARTITION BY coalesce(v._exact, a._alike) IS NULL"
    return (
        f"WITH exact AS (SELECT v.*, k.{number} AS _exact FROM {versions} v "
        f"LEFT JOIN {known} k ON {same} AND k._changed_at = v._changed_at), "
        f"free AS (SELECT k.* FROM {known} k ANTI JOIN exact e ON e._exact = k.{number}), "
        f"alike AS (SELECT {names(list(key), of='v')}, v._place, min(k.{number}) AS _alike "
        f"FROM exact v JOIN free k ON {same} "
        f"AND (({inside}{alike}) OR (k._changed_at IS NULL AND v._place = 1)) WHERE v._exact IS NULL GROUP BY ALL) "
        f"SELECT coalesce(v._exact, a._alike, {mark} + row_number() OVER ({later} ORDER BY {order})) AS {number}, "
        f"v.* EXCLUDE (_place, _exact) FROM exact v "
        f"LEFT JOIN alike a ON {found} AND a._place = v._place"
    )
