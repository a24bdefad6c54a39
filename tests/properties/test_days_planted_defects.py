"""The school's days find what is wrong: each planted defect makes one of the first few of its lives fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from defects import Defect, replaced, rewritten
from school import Differs, school

from starberg.etl import dated_build, snapshots
from starberg.etl.dated_build import DatedBuild
from starberg.etl.dates import Dates
from starberg.etl.dates_reached import Days
from starberg.etl.headers import Times
from starberg.etl.rekey import Rekey

pytestmark = pytest.mark.proof

SEEDS, LENGTH = range(2), 4


def _gives(value: Any) -> Callable[..., Any]:
    return lambda *_: value


DEFECTS: Mapping[str, Defect] = {
    # Which days
    "built days whose rows changed are not built again": replaced(
        Dates, "changed", lambda right, self, days: right(self, set(days) - self.built)
    ),
    "the day a row left is not reached": replaced(
        Days, "driven", lambda right, self, rows: right(self, f"({rows.rpartition(' UNION ALL ')[2]}")
    ),
    "days are not reached by joined rows": replaced(
        Days, "reached", lambda right, *given: f"SELECT * FROM ({right(*given)}) WHERE false"
    ),
    "rows looked at together are not compared": replaced(DatedBuild, "_differing", _gives(frozenset())),
    # Keys of other days
    "keys of days that are not built stay as they are": replaced(Rekey, "_moved", _gives(())),
    # Snapshots
    "a late change spares the day it took effect": replaced(
        dated_build, "covered", lambda right, days, spans: right(days, [(f"{first} ", last) for first, last in spans])
    ),
    "a row that came or went is no change": rewritten(r"(o\.\"grade\") IS DISTINCT FROM (n\.\"grade\")", r"\1 <> \2"),
    "changes count from when they were observed": replaced(snapshots, "times_of", _gives(Times())),
    "a row that is gone stays in the days after": rewritten(r" AND _ends >= TIMESTAMP '\S+'", ""),
    # Bridges with history
    "a pair that is gone goes on": rewritten(r"least\(s\._ends, ", "least("),
    "weights are those of all times": rewritten(r", p\._at\) AS weight", ") AS weight"),
    "pairs do not end with their members' versions": rewritten(
        r"least\(s\._ends, coalesce\(d0\._until, s\._ends\)\)", "s._ends"
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    for seed in SEEDS:
        with DEFECTS[defect](), school(seed) as past:
            past.checked = False
            try:
                past.live(LENGTH)
            except Differs:
                return
    pytest.fail(f"no life of {list(SEEDS)} noticed that {defect}")


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_defect_the_same_lives_pass(seed: int) -> None:
    with school(seed) as past:
        past.live(LENGTH)
