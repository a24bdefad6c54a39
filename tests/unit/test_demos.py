"""What the demos ask is all that their warehouses offer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import starberg
from starberg.samples.demos import DEMOS
from starberg.samples.operational.systems import SYSTEMS

WAREHOUSES = Path(starberg.__file__).parent / "warehouses"


@pytest.mark.parametrize("warehouse", DEMOS)
def test_every_function_and_view_is_asked(warehouse: str) -> None:
    asked = " ".join(DEMOS[warehouse].questions.values())
    offered = [*(WAREHOUSES / warehouse).glob("functions/*.sql"), *(WAREHOUSES / warehouse).glob("views/*.sql")]
    assert [file.stem for file in offered if not re.search(rf"\b{file.stem}\b", asked)] == []


@pytest.mark.parametrize(("warehouse", "number"), [("mafia", 3), ("learning", 2), ("projects", 2)])
def test_the_examples_of_the_readme_are_asked_as_they_are_written(warehouse: str, number: int) -> None:
    examples = re.findall(r"```sql\n(.*?)\n```", (WAREHOUSES / warehouse / "README.md").read_text(), re.DOTALL)
    assert len(examples) == number
    asked = {" ".join(sql.split()) for sql in DEMOS[warehouse].questions.values()}
    assert {" ".join(sql.split()) for sql in examples} <= asked


def test_each_operational_system_has_its_demo() -> None:
    assert set(SYSTEMS) <= set(DEMOS)
