"""`python -m benchmarks [games|history] [--quick]`: measure, print the ratios, write a page beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import games, history, history_report, report
from benchmarks.measure import ProcessFailed

HERE = Path(__file__).parent


def main() -> int:
    """Return 1 if a ratio is not what was wanted of it, or a process failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", default=["games", "history"], help="games, history; default: both")
    parser.add_argument("--games", type=int, default=report.FULL_SIZE, metavar="N", help="size of the catalogue")
    parser.add_argument("--members", type=int, default=history.FULL_SIZE, metavar="N", help="size of the dimension")
    parser.add_argument("--quick", action="store_true", help="no peers with environments of their own, no pages")
    given = parser.parse_args()
    try:
        met = [_measured(what, given) for what in given.what]
    except ProcessFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0 if all(met) else 1


def _measured(what: str, given: argparse.Namespace) -> bool:
    """Run one benchmark; tell whether nothing falls short."""
    load_before = os.getloadavg()[0]
    found: Sequence[report.Claim]
    with tempfile.TemporaryDirectory(prefix="starberg-bench-") as folder:
        if what == "games":
            measures = games.run(given.games, Path(folder), quick=given.quick)
            found = report.claims(measures)
            page, name = report.page(measures, found, load_before), "RESULTS.md"
        else:
            versions = history.run(given.members, Path(folder), quick=given.quick)
            found = history_report.claims(versions)
            page, name = history_report.page(versions, found, load_before), "RESULTS-history.md"
    print(report.claims_table(found))
    if not given.quick:
        (HERE / name).write_text(page)
    return all(claim.met is not False for claim in found)


if __name__ == "__main__":
    sys.exit(main())
