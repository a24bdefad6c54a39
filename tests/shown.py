"""A warehouse's demo, typed twice, and what its commands print."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shown:
    """What the demo of a warehouse printed the first and the second time, and where its lake is."""

    warehouse: str
    home: Path
    first: Any
    second: Any

    @classmethod
    def twice(cls, warehouse: str, folder: Path) -> Shown:
        """Type it in a folder; the lake's name has a space."""

        def demo() -> Any:
            return json.loads(typed("--home", "lake home", "--quiet", "--json", "demo", warehouse, cwd=folder))

        return cls(warehouse, folder / "lake home", demo(), demo())

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Answer a question by its tables."""
        asked = ["--home", str(self.home), "--json", "query", "--warehouse", self.warehouse, sql]
        found: list[dict[str, Any]] = json.loads(typed(*asked, cwd=self.home.parent))
        return found

    def answer(self, command: str, *options: str) -> str:
        """Type a command that the demo offered."""
        program, *arguments = shlex.split(command)
        assert program == "starberg"
        return typed(*options, *arguments, cwd=self.home.parent)


def typed(*arguments: str, cwd: Path) -> str:
    """Run a command to its end; it succeeds."""
    command = [sys.executable, "-m", "starberg", *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return done.stdout
