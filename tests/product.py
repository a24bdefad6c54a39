"""starberg as its users run it: a project in a folder, commands, what they print and return.

    product = Product(tmp_path)
    product.declare("shop", source(server.url, things={"key": ["id"], "path": "/things"}))
    product.table("shop", "staging/stg_things", "select id, name from things")
    assert product("run", "shop").code == 0

Commands run in this process, which is quick, or by `spawn` in one of their own, as from a shell.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starberg.entrypoints.cli import main


@dataclass(frozen=True)
class Answer:
    """What one command left behind: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of an error, without `starberg: `; AssertionError if there is not exactly one."""
        lines = [line for line in self.err.splitlines() if line.startswith("starberg: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("starberg: ")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a `--json` answer."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


@dataclass
class Product:
    """A project folder with its home, and the environment commands see (nothing of this process's own)."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "starberg.toml").touch()
        self.environ = {"STARBERG_THREADS": "1", **self.environ}

    @property
    def home(self) -> Path:
        return self.folder / ".starberg"

    def declare(self, warehouse: str, *sources: Mapping[str, Any], **more: Any) -> None:
        """Write warehouse.yml."""
        path = self.folder / "warehouses" / warehouse / "warehouse.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"sources": {str(s["name"]): without_name(s) for s in sources}, **more}))

    def table(self, warehouse: str, name: str, sql: str) -> None:
        """Write a table's file, such as `staging/stg_games`."""
        path = self.folder / "warehouses" / warehouse / f"{name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sql)

    def __call__(self, *arguments: str, **environ: str) -> Answer:
        """Run a command in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--project", str(self.folder), *arguments], environ={**self.environ, **environ})
        return Answer(code, out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        given = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "starberg", "--project", str(self.folder), *arguments],
            env={**given, **self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def query(self, sql: str, *options: str) -> list[list[Any]]:
        """Return the rows of a query; AssertionError if it fails."""
        answer = self("--json", "query", sql, *options)
        assert answer.code == 0, answer.err
        return [list(row.values()) for row in answer.rows]


def without_name(source: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in source.items() if key != "name"}


def source(url: str, streams: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a source of kind rest, called `api` unless said, that gives up soon."""
    return {"name": "api", "kind": "rest", "url": url, "retries": 0, "timeout_s": 1, "streams": dict(streams), **more}
