"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import starberg

ROOT = Path(starberg.__file__).parent
MODULES = sorted(
    ".".join(("starberg", *path.relative_to(ROOT).with_suffix("").parts))
    for folder in ("entrypoints", "etl", "ingestion", "storage", "engines", "utils", "samples")
    for path in (ROOT / folder).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted
    assert not found.failed
