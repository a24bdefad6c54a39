"""The examples of docs/python.md are true."""

from __future__ import annotations

import doctest
from pathlib import Path

from shop import CUSTOMERS, opened
from test_jobs import FACT, JOBS, SALES, declare

DOCS = Path(__file__).parents[2] / "docs" / "python.md"


def test_examples_are_true(tmp_path: Path) -> None:
    with opened(tmp_path / "project") as shop:
        shop.table("facts/fact_sales", FACT)
        declare(shop, jobs=JOBS)
        shop.say(customers=CUSTOMERS, sales=SALES)
        found = doctest.testfile(str(DOCS), module_relative=False, globs={"lake": shop.lake()})
    assert found.attempted > 10
    assert not found.failed
