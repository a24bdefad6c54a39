"""No secret gets out: by no output, log, trace or process list, into no file of the lake, the catalog or scratch.

Every secret here is a canary. The product succeeds, then fails in every way it can, at servers that repeat whatever
they were told; then everything it left behind is searched.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import struct
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import boto3
import duckdb
import pytest
from moto.server import ThreadedMotoServer
from product import Answer, Product, source
from servers import Asked, Say, Server, closed_port

from starberg.engines.duckdb import _extension_path
from starberg.utils.clock import Clock

API_KEY = "cnry-api/7+Q=z&9"
S3_KEY, S3_SECRET = "cnryaccess7Qz9", "cnry-s3/7+Q=z9"
NESSIE_TOKEN, NESSIE_CLIENT = "cnry-nessie.7Q.z9", "cnry-client/7Q+z9"
DATABASE_PASSWORD = "cnry-pg@7/Q:z9"
DREMIO_PASSWORD, TRINO_TOKEN = "cnry-dremio/7Q+z9", "cnry-trino.7Q.z9"
CANARIES = (
    *(API_KEY, S3_KEY, S3_SECRET, NESSIE_TOKEN, NESSIE_CLIENT, DATABASE_PASSWORD),
    *(DREMIO_PASSWORD, TRINO_TOKEN),
)
SECRETS = {
    "SHOP_API_KEY": API_KEY,
    "MINIO_ACCESS_KEY": S3_KEY,
    "MINIO_SECRET_KEY": S3_SECRET,
    "NESSIE_TOKEN": NESSIE_TOKEN,
    "WAREHOUSE_DB_PASSWORD": DATABASE_PASSWORD,
    "DREMIO_USER": "ann",
    "DREMIO_PASSWORD": DREMIO_PASSWORD,
    "DREMIO_MINIO_ACCESS_KEY": S3_KEY,
    "DREMIO_MINIO_SECRET_KEY": S3_SECRET,
    "TRINO_TOKEN": TRINO_TOKEN,
}
MARKER = "marker-7Qz9"  # in every record: a search that does not find it would not find a secret either
AUTH = {"kind": "query", "name": "key", "format": "{secret}", "secret": "SHOP_API_KEY"}


def forms(secret: str) -> set[str]:
    """Return the ways a text may hold a secret."""
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1], encoded}


def told(text: str) -> list[str]:
    """Return the secrets in a text."""
    return [secret for secret in CANARIES if any(form in text for form in forms(secret))]


# The servers


def api(asked: Asked) -> Say:
    """Answer well at /things, else as the path says, repeating the request."""
    echo = f"{MARKER} {asked.url}{asked.path}?{urlencode(asked.query)} {asked.query} {asked.headers}"
    link = f"{asked.url.replace('127.0.0.1', '127.0.0.2')}/things?{urlencode(asked.query)}"
    says = {
        "/things": Say([{"id": n, "name": f"{MARKER} {n}"} for n in range(30)]),
        "/refused": Say({"error": echo}, 401),
        "/forbidden": Say(echo.encode(), 403),
        "/broken": Say({"error": echo}, 500),
        "/busy": Say(echo.encode(), 429, {"Retry-After": "1"}),
        "/gone": Say({"error": echo}, 404),
        "/html": Say(f"<html>{echo}</html>".encode(), headers={"Content-Type": "text/html"}),
        "/malformed": Say(f'[{{"id": 1, "name": "{MARKER}"}}, {{"id": 2, "key": "{asked.query.get("key")}"'.encode()),
        "/garbage": Say(f"\x1f\x8b\x08{echo}".encode("latin-1", "replace"), headers={"Content-Encoding": "gzip"}),
        "/hang": Say(act=lambda _: sleep(2)),
        "/drop": Say(act=lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)),
        "/redirect": Say(b"", 302, {"Location": link}),
        "/loop": Say(b"", 302, {"Location": f"/loop?{urlencode(asked.query)}"}),
        "/link": Say({"data": [{"id": 1}], "next": link}),
        "/no-list": Say({"data": {"said": echo}}),
        "/no-records": Say([echo]),
        "/types": Say([{"id": n, "name": MARKER, "price": f"key={API_KEY}"} for n in range(30)]),
        "/shrinking": Say([{"id": n, "name": MARKER} for n in range(40 if asked.query.get("day") == "1" else 1)]),
        "/pages": Say({"data": [{"id": 1}], "next": f"{asked.url}/pages?{urlencode(asked.query)}&page=2"}),
    }
    return says.get(asked.path) or _service(asked, echo)


def _service(asked: Asked, echo: str) -> Say:
    """Answer as an S3 server or a Nessie behind this path that refuses and repeats."""
    if asked.path.startswith("/bucket"):
        code = "InvalidAccessKeyId" if "refused" in asked.path else "InternalError"
        body = f"<Error><Code>{code}</Code><Message>{S3_KEY} {S3_SECRET} {echo}</Message></Error>"
        return Say(body.encode(), 403 if "refused" in asked.path else 500, {"Content-Type": "application/xml"})
    if "401" in asked.path:
        return Say({"message": f"who is {echo}?"}, 401)
    if "302" in asked.path:
        return Say({}, 302, {"Location": f"http://127.0.0.1/login?token={asked.headers['Authorization']}"})
    return Say({"message": echo}, 500) if "500" in asked.path else Say(f"<html>{echo}</html>".encode())


@contextmanager
def refusing_database() -> Iterator[int]:
    """Be a PostgreSQL server that refuses everybody and says the password; give its port."""
    fields = f"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed: {DATABASE_PASSWORD}\0\0".encode()
    refusal = b"E" + struct.pack("!i", len(fields) + 4) + fields
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(1000)
                if asked[4:8] == struct.pack("!i", 80877103):  # may it be TLS?
                    connection.sendall(b"N")
                    connection.recv(1000)
                connection.sendall(refusal)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


# Ways to fail


@dataclass(frozen=True)
class Failure:
    """A command that fails, with its exit code and the settings of its own."""

    code: int
    typed: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)


def run(warehouse: str, **environ: str) -> tuple[tuple[str, ...], dict[str, str]]:
    return ("run", warehouse, "--wait", "0"), environ


PATHS = {
    "refused": 7,
    "forbidden": 7,
    "broken": 6,
    "busy": 6,
    "gone": 1,
    "html": 1,
    "malformed": 1,
    "garbage": 1,
    "hang": 6,
    "drop": 6,
    "redirect": 1,
    "loop": 1,
    "link": 1,
    "no-list": 1,
    "no-records": 1,
    "types": 3,
    "shrinking": 4,
    "pages": 7,
}
"""Streams that fail, by path, with the exit code of a run that reads them."""


def services(url: str, database_port: int) -> dict[str, Failure]:
    """Return failures of store and catalog."""
    nobody = f"127.0.0.1:{closed_port()}"
    database = {"WAREHOUSE_DB_HOST": "127.0.0.1"}
    found = {
        "S3 refuses the keys": run("well", STARBERG_LAKE="s3://bucket/refused", MINIO_ENDPOINT=url),
        "S3 is broken": run("well", STARBERG_LAKE="s3://bucket/broken", MINIO_ENDPOINT=url),
        "S3 is away": run("well", STARBERG_LAKE="s3://bucket/lake", MINIO_ENDPOINT=nobody),
        "Nessie refuses the token": run("well", NESSIE_URI=f"{url}/401"),
        "Nessie is broken": run("well", NESSIE_URI=f"{url}/500"),
        "Nessie is a login page": run("well", NESSIE_URI=f"{url}/html"),
        "Nessie has moved": run("well", NESSIE_URI=f"{url}/302"),
        "Nessie is away": run("well", NESSIE_URI=nobody),
        "PostgreSQL refuses the password": run("well", **database, WAREHOUSE_DB_PORT=str(database_port)),
        "PostgreSQL is away": run("well", **database, WAREHOUSE_DB_PORT=nobody.split(":")[1]),
    }
    codes = {"refuses": 7, "moved": 2}
    return {
        name: Failure(next((code for word, code in codes.items() if word in name), 6), *how)
        for name, how in found.items()
    }


def engines(url: str) -> dict[str, Failure]:
    """Return failures of other engines."""
    port, nobody = str(url.rsplit(":", 1)[1]), str(closed_port())
    here = {"DREMIO_HOST": "127.0.0.1", "TRINO_HOST": "127.0.0.1"}
    lake = {"NESSIE_URI": url, "STARBERG_LAKE": "s3://bucket/lake"}
    dremio, trino = (("query", "--engine", name, "from well.stg_things") for name in ("dremio", "trino"))
    return {
        "Dremio's API is a login page": Failure(6, ("dremio", "setup"), {**here, **lake, "DREMIO_REST_PORT": port}),
        "Dremio's API is away": Failure(6, ("dremio", "setup"), {**here, **lake, "DREMIO_REST_PORT": nobody}),
        "Dremio speaks no Flight SQL": Failure(6, dremio, {**here, "DREMIO_PORT": port}),
        "Dremio is away": Failure(6, dremio, {**here, "DREMIO_PORT": nobody}),
        "Trino has no TLS": Failure(2, trino, {**here, "TRINO_PORT": port}),
        "Trino is no Trino": Failure(6, trino, {**here, "TRINO_PORT": port, "TRINO_TLS": "true"}),
        "Trino is away": Failure(6, trino, {**here, "TRINO_PORT": nobody}),
    }


def others() -> dict[str, Failure]:
    """Return failures of what people write and type."""
    return {
        "a check fails": Failure(3, ("run", "unsound")),
        "a secret in a declaration": Failure(2, ("run", "careless")),
        "SQL is wrong": Failure(2, ("query", "select nope from well.stg_things")),
        "SQL reaches out": Failure(2, ("query", "from read_text('/proc/self/environ')")),
        "no such table": Failure(2, ("explain", "well.nothing", "1")),
        "another run is at work": Failure(5, ("run", "held", "--wait", "0")),
    }


def declare(product: Product, url: str) -> None:
    """Declare the warehouse that does well, and one for each way to fail."""
    declare_one(product, "well", url, "things")
    declare_one(product, "unsound", url, "things")
    product.table("unsound", "checks/never", "select id from stg_things")
    declare_one(product, "held", url, "things")
    declare_one(product, "careless", "${SHOP_API_KEY}", "things")
    for path in PATHS:
        declare_one(product, path.replace("-", "_"), url, path)


def declare_one(product: Product, warehouse: str, url: str, path: str) -> None:
    stream: dict[str, Any] = {"key": ["id"], "path": f"/{path}", "undeclared": "ignore"}
    stream["columns"] = {"id": "BIGINT", "name": "VARCHAR", "price": "DOUBLE"}
    more: dict[str, Any] = {}
    if path in ("link", "pages", "no-list"):
        stream |= {"records": "data", "pagination": {"kind": "url", "next": "next"}}
        more = {"budget": {"per_run": 1}}
    if path == "shrinking":
        stream["params"] = {"day": "${DAY:2}"}
    api_source = source(url, {"things": stream}, auth=AUTH, timeout_s=0.5, **more)
    product.declare(warehouse, api_source)
    product.table(warehouse, "staging/stg_things", "select id, name, price from things")


# The world: all that happened, and where


@dataclass
class World:
    product: Product
    scratch: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Do everything once: succeed, fail in every way, ask."""
    scratch = tmp_path_factory.mktemp("scratch")
    product = Product(tmp_path_factory.mktemp("world"), {**SECRETS})
    with pytest.MonkeyPatch.context() as patch, Server(api) as server, refusing_database() as port:
        patch.setattr(tempfile, "tempdir", str(scratch))
        patch.setattr(Clock, "sleep", lambda *_: None)
        patch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
        declare(product, server.url)
        world = World(product, scratch)
        paths = {path: Failure(code, ("run", path.replace("-", "_"))) for path, code in PATHS.items()}
        world.failures = paths | services(server.url, port) | engines(server.url) | others()
        _succeed(world)
        for name, failure in world.failures.items():
            world.answers[name] = product("--debug", "--json", *failure.typed, **failure.environ)
        _ask(world)
        yield world


def _succeed(world: World) -> None:
    world.answers["success"] = world.product("--debug", "run", "well")
    world.answers["success again"] = world.product("--json", "run", "well")
    world.answers["a first day"] = world.product("run", "shrinking", DAY="1")
    for name in ("success", "success again", "a first day"):
        assert world.answers[name].code == 0, world.answers[name].err
    lease = world.product.home / "lake" / "leases" / "held.json"
    lease.parent.mkdir(parents=True, exist_ok=True)
    far, pid = "2999-01-01T00:00:00Z", os.getpid()
    holder = {"run_id": "another", "host": "elsewhere", "pid": pid, "boot": "", "acquired_at": far, "expires_at": far}
    lease.write_text(json.dumps({"warehouse": "held", **holder}))


def _ask(world: World) -> None:
    asked: dict[str, tuple[str, ...]] = {
        "status": ("status",),
        "status as JSON": ("--json", "status", "--limit", "100"),
        "config": ("config",),
        "config as JSON": ("--json", "config"),
        "tables": ("tables",),
        "explain": ("--json", "explain", "well.stg_things", "1"),
        "compile": ("compile", "well.stg_things"),
        "the run log": ("query", "--format", "csv", "select * from well.etl_runs"),
        "settings by SQL": ("query", "select * from duckdb_settings()"),
        "help": ("run", "--help"),
    }
    for name, typed in asked.items():
        world.answers[name] = world.product(*typed)
        assert world.answers[name].code == 0, world.answers[name].err
    world.answers["check"] = world.product("check")


WAYS = [*PATHS, *services("http://127.0.0.1", 1), *engines("http://127.0.0.1:1"), *others()]


@pytest.mark.parametrize("way", WAYS)
def test_no_failure_tells_a_secret(world: World, way: str) -> None:
    answer, failure = world.answers[way], world.failures[way]
    assert answer.code == failure.code, answer.err.splitlines()[-1]
    assert told(answer.out + answer.err) == []
    assert answer.complaint
    assert "Traceback" in answer.err  # --debug: what follows is the same line as without
    assert answer.err.splitlines()[-1].startswith("starberg: ")


def test_no_answer_tells_a_secret(world: World) -> None:
    for name in world.answers.keys() - world.failures.keys():
        assert told(world.answers[name].out + world.answers[name].err) == [], name
    assert "********" in world.answers["config"].out
    assert MARKER in world.answers["explain"].out


def test_every_failure_is_in_the_log_without_its_secret(world: World) -> None:
    logged = {run["warehouse"]: run["error"] for run in world.answers["status as JSON"].rows if run["error"]}
    failed = PATHS.keys() - {"pages"}  # a spent budget is no failure of what was read until then
    assert set(logged) == {path.replace("-", "_") for path in failed} | {"unsound"}
    assert told(json.dumps(logged)) == []
    assert MARKER in logged["refused"]


def test_no_file_holds_a_secret(world: World) -> None:
    texts = {path: readable(path) for place in (world.product.home, world.scratch) for path in files(place)}
    assert [str(path) for path, text in texts.items() if told(text)] == []
    kinds = {path.suffix for path, text in texts.items() if MARKER in text}
    assert kinds >= {".parquet", ".avro"}, "the search finds nothing"
    assert {".json", ".db"} <= {path.suffix for path in texts}


def test_a_kept_page_is_there_without_the_key(world: World) -> None:
    for way in ("html", "malformed"):
        kept = Path(world.answers[way].complaint.split("the body is kept in ")[1].split(". ")[0])
        assert MARKER in kept.read_text()
        assert told(kept.read_text()) == []
    pages = ("html", "malformed", "garbage")
    assert len(list(world.scratch.iterdir())) == len(pages), "only unreadable pages stay"


def test_no_process_list_shows_a_secret(tmp_path: Path) -> None:
    """A run that waits for its source is looked at from outside, its children too."""
    product = Product(tmp_path, {**SECRETS})
    with Server(api) as server:
        declare_one(product, "hang", server.url, "hang")
        with product.spawn("run", "hang") as process:
            deadline = monotonic() + 60
            while not server.asked and monotonic() < deadline:
                sleep(0.05)
            listed = [command_line(pid) for pid in family(process.pid)]
            out, err = process.communicate(timeout=60)
    assert any("starberg" in line for line in listed)
    assert told(" ".join(listed)) == []
    assert process.returncode == 6
    assert told(out + err) == []


def test_a_lake_on_s3_holds_no_secret(tmp_path: Path) -> None:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    make: Any = boto3.client
    s3 = make(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    s3.create_bucket(Bucket="bucket")
    place = {"STARBERG_LAKE": "s3://bucket/lake", "MINIO_ENDPOINT": f"http://{host}:{port}"}
    product = Product(tmp_path / "project", {**SECRETS, **place})
    try:
        with Server(api) as shop:
            declare_one(product, "well", shop.url, "things")
            answers = [product("--debug", *typed) for typed in (("run", "well"), ("--json", "status"), ("tables",))]
            by_sql = product("query", "from duckdb_secrets()")
        for found in s3.list_objects_v2(Bucket="bucket")["Contents"]:
            target = tmp_path / "copy" / found["Key"]
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file("bucket", found["Key"], str(target))
    finally:
        server.stop()
    assert [answer.code for answer in answers] == [0, 0, 0], answers[0].err
    assert [told(answer.out + answer.err) for answer in answers] == [[], [], []]
    assert "lake" in by_sql.out
    assert told(by_sql.out) == [S3_KEY]  # the key's name; DuckDB keeps the secret itself back
    texts = {path: readable(path) for path in files(tmp_path / "copy")}
    assert any(MARKER in text for text in texts.values())
    assert [str(path) for path, text in texts.items() if told(text)] == []


# Searching


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def readable(path: Path) -> str:
    """Return all a file says, unpacked."""
    if path.suffix == ".db":
        with sqlite3.connect(path) as database:
            return "\n".join(database.iterdump())
    text = path.read_bytes().decode("latin-1")
    if path.suffix in (".parquet", ".avro"):
        reader = "read_parquet" if path.suffix == ".parquet" else "read_avro"
        with duckdb.connect() as connection:
            connection.load_extension(str(_extension_path("avro")))
            text += str(connection.execute(f"SELECT * FROM {reader}(?)", [str(path)]).fetchall())
    return text


def family(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(member for child in children for member in family(child))]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
