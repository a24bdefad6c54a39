"""The histories find what is wrong: each planted defect makes one of the first few of them fail."""

from __future__ import annotations

import films
import pytest
from defects import DEFECTS, no_checks
from histories import CHANGES, RUNS, Differs, history

pytestmark = pytest.mark.proof

NUMBERS = range(3)


@pytest.mark.parametrize("number", NUMBERS)
def test_without_a_defect_the_same_histories_pass(number: int) -> None:
    with no_checks(), history(films, number) as past:
        past.go(RUNS, CHANGES)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    for number in NUMBERS:
        with DEFECTS[defect](), no_checks(), history(films, number) as past:
            try:
                past.go(RUNS, CHANGES)
            except Differs:
                return
    pytest.fail(f"no history of {list(NUMBERS)} noticed that {defect}")
