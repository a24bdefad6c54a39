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
    module = import_module(name)
    finder = doctest.DocTestFinder()
    tests = [test for test in finder.find(module) if test.examples]
    for one in vars(module).values():  # of functions with a cache, which doctest overlooks
        if hasattr(one, "cache_info") and one.__module__ == name:
            tests += [test for test in finder.find(one.__wrapped__, one.__name__, module) if test.examples]
    runner = doctest.DocTestRunner()
    assert tests
    assert not [test.name for test in tests if runner.run(test).failed]
