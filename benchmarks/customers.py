"""Customers and what happens to them, the same at every call.

`python -m benchmarks.customers FOLDER CUSTOMERS CHANGES`

Writes `customers.parquet`, and for each change set n `changes-n.parquet` (the same columns and `op`: 'U' or 'D').
A change set holds 10,000 updates and 100 deletes spread over all customers, and 1,000 new ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

UPDATED, ADDED, DELETED = 10_000, 1_000, 100
CHANGED = UPDATED + ADDED + DELETED


def customers(numbers: str, seed: int) -> str:
    """Return a SELECT of the customers whose numbers are `n` of a relation; `seed` decides what they are like."""

    def pick(count: int, what: int) -> str:
        return f"(hash(n * 31 + {seed * 7 + what}) % {count})"

    return (
        f"SELECT n::BIGINT AS customer_id, 'first' || {pick(3000, 1)} AS first_name, "
        f"'last' || {pick(50000, 2)} AS last_name, 'person' || n || '@example.org' AS email, "
        f"'+44 ' || (1000000000 + {pick(999999999, 3)}) AS phone, "
        f"{pick(400, 4)} || ' street ' || {pick(90000, 5)} AS street, 'city' || {pick(20000, 6 + seed)} AS city, "
        f"(10000 + {pick(89999, 7)})::VARCHAR AS postal_code, 'country' || {pick(60, 8)} AS country, "
        f"['consumer', 'business', 'public'][(1 + {pick(3, 9)})::BIGINT] AS segment, "
        f"({pick(2000000, 10 + seed)} / 100)::DECIMAL(12, 2) AS credit_limit, "
        f"TIMESTAMP '2026-01-01' + INTERVAL {seed} DAY + to_milliseconds({pick(80000000, 11)}::BIGINT) AS updated_at "
        f"FROM {numbers}"
    )


def changes(count: int, number: int) -> str:
    """Return a SELECT of change set `number` (from 1) on `count` customers: no customer is in two of them."""
    step = count // (UPDATED + DELETED)
    old = f"(SELECT i * {step} + {number} AS n, i FROM range({UPDATED + DELETED}) t(i))"
    new = f"(SELECT {count + ADDED * number} + i AS n FROM range({ADDED}) t(i))"
    deleted = f"customer_id % {step * ((UPDATED + DELETED) // DELETED)} = {number}"
    return (
        f"SELECT *, CASE WHEN {deleted} THEN 'D' ELSE 'U' END AS op FROM ({customers(old, number)}) "
        f"UNION ALL SELECT *, 'U' FROM ({customers(new, number)})"
    )


def write(folder: Path, count: int, sets: int) -> None:
    """Write the files."""
    con = duckdb.connect()
    first = customers(f"range(1, {count + 1}) t(n)", 0)
    files = {"customers": first} | {f"changes-{n}": changes(count, n) for n in range(1, sets + 1)}
    for name, select in files.items():
        con.execute(f"COPY ({select}) TO '{folder}/{name}.parquet' (COMPRESSION zstd)")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
