"""Spark that does not start says why in one line. Each has a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import local_spark
import pytest


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        (
            "JAVA_HOME",
            "/nowhere",
            "Spark did not start: .*java: No such file.*install it, or set JAVA_HOME",
        ),
        ("STARBERG_SPARK_JARS", "/nowhere.jar", "Spark has no Iceberg. Check STARBERG_SPARK_JARS"),
        ("STARBERG_SPARK_MASTER", "nonsense", "Spark did not start: Master must.*Check STARBERG_SPARK_MASTER"),
    ],
)
def test_why_it_does_not_start_is_one_line(tmp_path: Path, setting: str, value: str, said: str) -> None:
    variables = {**local_spark.settings(), "STARBERG_ENGINE": "spark", "STARBERG_HOME": str(tmp_path), setting: value}
    command = [sys.executable, "-m", "starberg", "--json", "check"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=200)
    [engine] = [answer for answer in json.loads(done.stdout) if answer["name"] == "engine"]
    assert not engine["ok"]
    assert re.search(said, f"{engine['detail']}. {engine['hint']}")
    assert done.stderr == ""
