"""An environment of its own for each peer, with the versions pinned in `peers/<name>.txt`, compiled to bytecode."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import clean_environment

PEERS = Path(__file__).parent / "peers"


def cache_folder() -> Path:
    """Return where environments are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "starberg-benchmarks"


def peer_python(name: str) -> str:
    """Return the interpreter of a peer's environment, which is made at the first call and when its pins change."""
    pins = PEERS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{digest}"
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        environment = clean_environment(UV_COMPILE_BYTECODE="1")
        for command in (
            ["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
            ["uv", "pip", "install", "--quiet", "--python", str(python), "--requirement", str(pins)],
        ):
            subprocess.run(command, env=environment, check=True)
        (folder / "complete").touch()
    return str(python)


def compile_ourselves() -> None:
    """Compile starberg and what it imports, as an installer does."""
    root = PEERS.parent.parent
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    folders = [packages, *(str(root / name) for name in ("src", "entrypoints", "etl", "ingestion"))]
    folders += [str(root / name) for name in ("engines", "storage", "samples", "utils")]
    # A package may hold templates that are no Python yet, which is why the exit code says nothing.
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", *folders]
    subprocess.run(command, env=clean_environment(), check=False, stdout=subprocess.DEVNULL)
