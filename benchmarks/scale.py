"""`python -m benchmarks.scale`: how far one machine goes, and what Spark costs before it is needed.

A type 2 dimension (`benchmarks/customers.py`) of a million customers, four and sixteen: first build and a change set of
11,100, by DuckDB, by DuckDB that may use little memory, and by Spark on the same machine (`uv sync --extra spark`), to
which every statement is left that it can do. Writes RESULTS-scale.md, unless it is `--quick`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crm_runs import files_of, land, say, starberg
from benchmarks.environments import compile_ourselves
from benchmarks.measure import Figures, ProcessFailed, clean_environment
from benchmarks.report import MIB, Claim, claims_table, machine, table

RESULTS = Path(__file__).with_name("RESULTS-scale.md")
SIZES = (1_000_000, 4_000_000, 16_000_000)
_DUCKDB, _LITTLE, _SPARK = "DuckDB", "DuckDB with 2 GiB", "Spark"
WAYS = {
    _DUCKDB: {},
    _LITTLE: {"STARBERG_MEMORY_LIMIT": "2GiB"},
    _SPARK: {
        "STARBERG_ENGINE": "spark",
        "STARBERG_SPARK_FROM": "0",
        "PYSPARK_SUBMIT_ARGS": "--driver-memory 8g pyspark-shell",
    },
}
_INTRODUCTION = """\
Written by `python -m benchmarks.scale`. Seconds hold for this machine and hour; compare ratios. The peak is that of
starberg's own process, DuckDB in it; Spark has another of up to 8 GiB. A run by Spark starts it, too, and leaves it
every statement that it can do (`STARBERG_SPARK_FROM=0`), however little there is to read."""


@dataclass(frozen=True)
class Grown:
    """A warehouse of one size, built one way: its first build and its change set."""

    first: Figures
    change: Figures


def run(sizes: Sequence[int], folder: Path, jars: str) -> dict[tuple[int, str], Grown]:
    """Measure every way at every size."""
    found: dict[tuple[int, str], Grown] = {}
    for members in sizes:
        files = files_of(folder / f"files-{members}", members, 1)
        for number, (way, settings) in enumerate(WAYS.items()):
            home = {"STARBERG_HOME": str(folder / f"home-{members}-{number}"), "STARBERG_SPARK_JARS": jars}
            found[members, way] = _grown(files, f"{members:,} customers, {way}", {**home, **settings})
    return found


def _grown(files: Path, name: str, settings: Mapping[str, str]) -> Grown:
    environment = clean_environment(**settings)
    land(files / "customers.parquet", environment)
    first = say(name, "first build", starberg(environment, "etl", "crm"))
    land(files / "changes-1.parquet", environment)
    return Grown(first, say(name, "change set", starberg(environment, "etl", "crm")))


def claims(found: Mapping[tuple[int, str], Grown]) -> list[Claim]:
    """Return each size beside the one before it, and each way beside DuckDB."""
    sizes = sorted({members for members, _ in found})
    said = []
    for members, before in zip(sizes[1:], sizes, strict=False):
        said.append(
            _ratio(f"first build, {members:,} customers : {before:,}", found[members, _DUCKDB], found[before, _DUCKDB])
        )
    for way in (_LITTLE, _SPARK):
        for members in sizes:
            ours, theirs = found[members, way], found[members, _DUCKDB]
            said.append(_ratio(f"first build, {members:,} customers, {way} : DuckDB", ours, theirs))
            said.append(_ratio(f"change set, {members:,} customers, {way} : DuckDB", ours, theirs, change=True))
    return said


def _ratio(what: str, one: Grown, other: Grown, *, change: bool = False) -> Claim:
    a, b = (grown.change.wall_s if change else grown.first.wall_s for grown in (one, other))
    return Claim(what, f"{a / b:.2f} x", f"{a:.1f} s : {b:.1f} s")


def page(found: Mapping[tuple[int, str], Grown], load_before: float) -> str:
    """Return the page for people."""
    rows = [["customers", "built by", "first build, s", "peak MiB", "change set, s", "peak MiB"]]
    for (members, way), grown in found.items():
        first, change = grown.first, grown.change
        figures = [f"{first.wall_s:.1f}", f"{first.peak_rss / MIB:.0f}"]
        rows.append([f"{members:,}", way, *figures, f"{change.wall_s:.1f}", f"{change.peak_rss / MIB:.0f}"])
    parts = [
        "# How far one machine goes",
        _INTRODUCTION,
        machine(load_before),
        "## Ratios",
        claims_table(claims(found)),
    ]
    return "\n\n".join([*parts, "## Each", table(rows)]) + "\n"


def main() -> int:
    """Return 1 if a process failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="numbers of customers")
    parser.add_argument("--jars", default="", help="STARBERG_SPARK_JARS; without it, Spark fetches them")
    parser.add_argument("--quick", action="store_true", help="no RESULTS-scale.md")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    compile_ourselves()
    try:
        with tempfile.TemporaryDirectory(prefix="starberg-bench-") as folder:
            found = run(given.sizes, Path(folder), given.jars)
    except ProcessFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(claims_table(claims(found)))
    if not given.quick:
        RESULTS.write_text(page(found, load_before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
