"""docker-compose.yml is what docker compose reads, by the schema of its own library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import stack_programs
import yaml
from jsonschema.validators import validator_for

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture(autouse=True)
def _servers_run_again() -> None:
    """None of the stack's servers is needed here, so none is started."""


def test_the_compose_file_is_valid_and_a_wrong_one_is_not() -> None:
    schema = json.loads(stack_programs.compose_schema().read_text())
    check = validator_for(schema)(schema)
    compose = yaml.safe_load(COMPOSE.read_text())
    assert [error.message for error in check.iter_errors(compose)] == []
    compose["services"]["dremio"]["healthchek"] = {}
    assert "healthchek" in next(check.iter_errors(compose)).message
