"""Runs a command as a process of its own and says what it cost, as the kernel accounts for it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


class ProcessFailed(Exception):
    """A measured process ended with an error; there is no figure then."""


@dataclass(frozen=True)
class Figures:
    """One run of one process and the children it waited for: CPU is user + system, `peak_rss` is in bytes."""

    wall_s: float
    cpu_s: float
    peak_rss: int
    stdout: str = ""


def measured(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Figures:
    """Run a command in a folder; ProcessFailed shows the end of what it wrote to stderr.

    A child's peak includes that of this process when it was forked, so this process has to stay small.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            err.seek(0)
            raise ProcessFailed(f"{' '.join(command[:4])} ended with {process.returncode}:\n{err.read()[-2000:]}")
        out.seek(0)
        return Figures(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB, out.read())


def best(runs: Sequence[Figures]) -> Figures:
    """Return the run that took the least time: other processes can only add to it."""
    return min(runs, key=lambda run: run.wall_s)


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment, in which compiled bytecode is kept and used, as users have it."""
    without = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    kept = {name: value for name, value in kept.items() if not name.startswith(("STARBERG_", "GAMES_", "RAWG_"))}
    return {**kept, **more}
