"""`python -m benchmarks games [--games N] [--quick]`: measure, print the ratios, write RESULTS.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import games
from benchmarks.measure import ProcessFailed
from benchmarks.report import FULL_SIZE, claims, claims_table, page

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Return 1 if a ratio is not what was wanted of it, or a process failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", default="games", choices=["games"])
    parser.add_argument("--games", type=int, default=FULL_SIZE, metavar="N", help="size of the catalogue")
    parser.add_argument("--quick", action="store_true", help="no peers with environments of their own, no RESULTS.md")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="starberg-bench-") as folder:
        try:
            report = games.run(given.games, Path(folder), quick=given.quick)
        except ProcessFailed as failure:
            print(failure, file=sys.stderr)
            return 1
    found = claims(report)
    print(claims_table(found))
    if not given.quick:
        RESULTS.write_text(page(report, found, load_before))
    return 1 if any(claim.met is False for claim in found) else 0


if __name__ == "__main__":
    sys.exit(main())
