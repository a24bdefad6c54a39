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


def test_the_examples_of_the_readme_are_asked_as_they_are_written() -> None:
    examples = re.findall(r"```sql\n(.*?)\n```", (WAREHOUSES / "mafia" / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    assert {" ".join(sql.split()) for sql in examples} <= {
        " ".join(sql.split()) for sql in DEMOS["mafia"].questions.values()
    }


def test_each_operational_system_has_its_demo() -> None:
    assert set(SYSTEMS) <= set(DEMOS)
