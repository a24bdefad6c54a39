"""What benchmarks of the crm's customers do: make files, land them, run the warehouse as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import Figures, clean_environment, measured

_ROOT = Path(__file__).parents[1]
_CRM = Path(__file__).with_name("crm")


def files_of(folder: Path, members: int, sets: int) -> Path:
    """Write the customers and so many change sets (`benchmarks/customers.py`) into a new folder."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.customers", str(folder), str(members), str(sets)]
    subprocess.run(command, cwd=_ROOT, env=clean_environment(), check=True)
    return folder


def land(file: Path, environment: Mapping[str, str]) -> None:
    """Land a file as the next load."""
    command = [sys.executable, "-m", "benchmarks.land", str(file)]
    subprocess.run(command, cwd=_ROOT, env=environment, check=True)


def starberg(environment: Mapping[str, str], *arguments: str) -> Figures:
    """Run a command on the lake that settings name, with its answer as JSON."""
    return measured([str(Path(sys.executable).with_name("starberg")), "--json", *arguments], environment, _CRM)


def say(group: str, name: str, figures: Figures) -> Figures:
    """Show figures as they come."""
    load = os.getloadavg()[0]
    print(
        f"  {group}: {name}: {figures.wall_s:.2f} s, {figures.cpu_s:.2f} s of CPU, load {load:.1f}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return figures
