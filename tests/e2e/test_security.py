"""What an API, a query or a name must not be able to do, tried through the commands.

Proven beside: names and keys of objects (tests/behaviours), addresses and DNS answers that turn private
(tests/unit/test_http_client.py), SQL that a declaration may not hold (tests/unit/test_sql_rules.py), secrets
(test_secrets.py).
"""

from __future__ import annotations

import gzip
import ipaddress
import socket
import ssl
import struct
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from product import Answer, Product, source
from servers import Asked, Say, Server

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.bootstrap import open_lake
from starberg.storage.object_store import S3Access
from starberg.utils.clock import Clock
from starberg.utils.errors import LakeError
from starberg.utils.settings import Settings

THINGS = [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]
COLUMNS = {"id": "BIGINT", "name": "VARCHAR"}


def shop(product: Product, url: str, *, limits: dict[str, Any] | None = None, **more: Any) -> None:
    """Declare the warehouse `shop` with one staging table; `more` is about its stream."""
    stream = {"key": ["id"], "path": "/things", "columns": COLUMNS, "undeclared": "ignore", **more}
    product.declare("shop", source(url, {"things": stream}, **(limits or {})))
    product.table("shop", "staging/stg_things", "select id, name from things")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, Server]]:
    """A project with one published table, and its API."""
    with Server(lambda asked: Say(THINGS)) as server:
        product = Product(tmp_path_factory.mktemp("published"), {"STARBERG_MEMORY_LIMIT": "256MiB"})
        shop(product, server.url)
        assert product("run", "shop").code == 0
        yield product, server


# Identifiers


ODD_KEYS = [
    'a"; DROP TABLE x;--',
    "it's",
    "„quoted”",
    "select",
    "Size",
    "dot.ted",
    "*",
    "%s",
    "${HOME}",
    "two\nlines",
    "back\\slash",
    "record",
    "_row",
    "filename",
    "x" * 80,
    "名" * 40,
    "\u202ertl",
]


def test_keys_of_any_spelling_become_columns_and_come_back(tmp_path: Path) -> None:
    """Keys that differ only in case, or that SQL cannot name, are left out; the raw record still has them."""
    rows = [{"id": n, **{key: f"{key} {n}" for key in ODD_KEYS}, "": "nameless", "size": "Size?"} for n in (1, 2)]
    with Server(lambda asked: Say(rows)) as server:
        product = Product(tmp_path)
        product.declare("shop", source(server.url, {"things": {"key": ["id"], "path": "/things"}}))
        product.table("shop", "staging/stg_things", "select * from things")
        for version_of_it in ("1", "2"):
            answer = product("--json", "run", "shop")
            assert answer.code == 0, answer.complaint
            [row] = product("--json", "query", "select * from shop.stg_things where id = 2").rows
            found = {key: row.get(f"{key}_" if key in ("record", "_row", "filename") else key) for key in ODD_KEYS}
            assert found == {key: rows[1][key] for key in ODD_KEYS}, version_of_it
            rows[1] = {**rows[1], **{key: f"{key} changed" for key in ODD_KEYS}}
    assert product("verify", "shop").code == 0


# What a query reaches


def reaching_out(lake: Path, outside: Path, url: str) -> dict[str, str]:
    raw = next(lake.rglob("part-*.parquet"))
    return {
        "read a file": "select * from read_csv('/etc/passwd')",
        "read the environment": "from read_blob('/proc/self/environ')",
        "climb out of the lake": f"from read_text('{lake}/{'../' * 30}etc/passwd')",
        "follow a link out of the lake": f"from read_text('{lake}/link')",
        "read the catalog": f"from read_text('{lake.parent}/catalog.db')",
        "list files": "from glob('/etc/*')",
        "write a file": f"copy (select 1) to '{outside}/out.csv'",
        "write into the lake": f"copy (select 1) to '{lake}/out.csv'",
        "overwrite a raw file": f"copy (select 1) to '{raw}'",
        "write behind a question": f"select 1; copy (select 1) to '{lake}/out.csv'",
        "open a database": f"attach '{lake}/out.db' as other",
        "export": f"export database '{lake}/out'",
        "install an extension": f"install spatial from '{url}'",
        "load an extension": f"load '{outside}/some.duckdb_extension'",
        "reach an address": f"from read_text('{url}/secrets')",
        "reach the metadata service": "from read_csv('http://169.254.169.254/latest/meta-data')",
        "allow itself more": "set enable_external_access = true",
        "allow itself a folder": "set allowed_directories = ['/']",
        "take more memory": "set memory_limit = '100GB'",
        "write a log": f"set log_query_path = '{outside}/out.log'",
        "keep a secret": "create persistent secret s (type s3, key_id 'a', secret 'b')",
        "change a table": "delete from shop.stg_things",
    }


@pytest.fixture(scope="module")
def attempts(
    published: tuple[Product, Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Answer], Callable[[], dict[Path, bytes]], dict[Path, bytes], Path, Server]]:
    product, server = published
    outside = tmp_path_factory.mktemp("outside")
    lake = product.home / "lake"
    (lake / "link").symlink_to("/etc/passwd")

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in product.home.rglob("*") if path.is_file() and not path.is_symlink()}

    before = files()
    server.asked.clear()
    answers = {way: product("query", sql) for way, sql in reaching_out(lake, outside, server.url).items()}
    yield answers, files, before, outside, server
    (lake / "link").unlink()


def test_a_query_reaches_nothing_but_the_lake_and_changes_nothing(attempts: Any) -> None:
    answers, files, before, outside, server = attempts
    for way, answer in answers.items():
        assert answer.code == 2, f"{way}: {answer}"
        assert answer.err.count("\n") == 1, f"{way}: {answer.err}"
        assert "root:" not in answer.out + answer.err
    assert files() == before
    assert list(outside.iterdir()) == []
    assert server.asked == []


def test_a_query_keeps_to_the_memory_it_is_given(published: tuple[Product, Server]) -> None:
    product, _ = published
    assert product.query("select current_setting('memory_limit')") == [["256.0 MiB"]]
    answer = product("query", "select list(i) from range(100000000) t(i)")
    assert answer.code == 1
    assert answer.complaint.startswith("DuckDB ran out of memory: ")
    assert answer.complaint.endswith("Raise STARBERG_MEMORY_LIMIT.")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select content from '/etc/passwd'",
        "select getenv('HOME') as home from stg_things",
        "copy stg_things to '/tmp/out.csv'",
        "select 1 as one; drop table stg_things",
    ],
)
def test_declared_sql_reaches_nothing_but_tables(tmp_path: Path, sql: str) -> None:
    product = Product(tmp_path)
    shop(product, "http://127.0.0.1:1")
    product.table("shop", "marts/mart_out", sql)
    answer = product("run", "shop")
    assert answer.code == 2
    assert "mart_out.sql:1" in answer.complaint


# Where a server may send us, and how much it may send


def leading_away(target: str) -> dict[str, Say]:
    page = {"data": THINGS, "next": target}
    return {"redirect": Say(b"", 302, {"Location": target}), "link": Say(page)}


@pytest.mark.parametrize("way", ["redirect", "link"])
@pytest.mark.parametrize("target", ["{other}/things", "http://169.254.169.254/latest/", "file:///etc/passwd"])
def test_no_server_leads_a_run_to_another(tmp_path: Path, way: str, target: str) -> None:
    astray = threading.Event()
    with Server(lambda asked: Say(THINGS)) as other:
        elsewhere = leading_away(target.format(other=other.url))[way]
        with Server(lambda asked: elsewhere if astray.is_set() else Say({"data": THINGS, "next": None})) as server:
            product = Product(tmp_path)
            shop(product, server.url, records="data", pagination={"kind": "url", "next": "next"})
            assert product("run", "shop").code == 0
            before = product.query("select * from shop.stg_things order by id")
            astray.set()
            answer = product("run", "shop")
        assert answer.code == 1
        assert answer.complaint.startswith("things ")
        assert "the server points to" in answer.complaint
        assert other.asked == []
    assert product.query("select * from shop.stg_things order by id") == before


def _blanks(times: int) -> bytes:
    """Return white space packed as several parts of one body: 16 MB in 16 kB, that many times."""
    return gzip.compress(b" " * (16 << 20)) * times


TOO_MUCH = {
    "packed": Say(_blanks(60), headers={"Content-Encoding": "gzip"}),
    "plain": Say(b"[" + b" " * (9 << 20)),
    "deep": Say(b"[" * 100_000),
    "endless": Say(act=lambda handler: _pour(handler)),
}
BOUNDLESS = ("packed", "endless")


def _pour(handler: Any) -> None:
    """Send without end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_a_page_that_is_too_much_is_one_line_and_costs_little(tmp_path: Path, kind: str) -> None:
    """1 GB packed into 1 MB, a page over the limit, nesting, and an answer without end; 8 MiB are allowed."""
    with Server(lambda asked: TOO_MUCH[kind]) as server:
        product = Product(tmp_path)
        shop(product, server.url, limits={"max_page_bytes": 8 << 20})
        answer, peak_bytes = run_apart(product) if kind in BOUNDLESS else (product("run", "shop"), 0)
    assert answer.code == 1
    wanted = "nested too deeply" if kind == "deep" else "the body is larger than max_page_bytes = 8388608"
    assert wanted in answer.complaint
    assert "things" in answer.complaint
    if kind in BOUNDLESS:
        assert 20 << 20 < peak_bytes < 500 << 20
    assert [row["table"] for row in product("--json", "tables", "shop").rows] == ["shop.etl_runs"]


def run_apart(product: Product) -> tuple[Answer, int]:
    """Run the warehouse in a process of its own; return its answer and the most memory it was seen to have.

    Not from wait4: Linux counts what the forking process had to what it executes.
    """
    process = product.spawn("run", "shop")
    peak_kib = 0
    while process.poll() is None:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak_kib = max([peak_kib, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.05)
    out, err = process.communicate()
    return Answer(process.returncode, out, err), peak_kib * 1024


def test_a_list_without_end_stops_at_its_page_limit(tmp_path: Path) -> None:
    def endless(asked: Asked) -> Say:
        number = int(asked.query.get("page", 1))
        return Say([{"id": number, "name": "one more"}])

    with Server(endless) as server:
        product = Product(tmp_path)
        shop(product, server.url, pagination={"kind": "page", "param": "page", "size": 1, "max_pages": 20})
        answer = product("run", "shop")
        assert len(server.asked) <= 21
    assert answer.code == 1
    assert "max_pages" in answer.complaint


# Names


def with_an_option(name: str) -> list[tuple[str, ...]]:
    """Return commands that take a name as an option; an empty one is none."""
    return [
        ("tables", "--", name),
        ("status", "--", name),
        ("query", "select 1", "--warehouse", name),
        ("query", "select 1", "--at", name),
    ]


@pytest.mark.parametrize(
    "name", ["../x", "a/../../b", "%2e%2e/x", "..\\x", "/etc", "a\0b", "n" * 1000, "", "a b", "-x"]
)
def test_a_name_leads_nowhere(published: tuple[Product, Server], name: str) -> None:
    product, _ = published
    before = sorted(product.folder.rglob("*"))
    for typed in (
        ("run", "--", name),
        ("run", "shop", "--allow-deletes", name),
        ("rebuild", "shop", "--", name),
        ("verify", "--", name),
        ("plan", "--", name),
        ("explain", "--", name, "1"),
        ("compile", "--", f"shop.{name}"),
        ("new", "warehouse", "--", name),
        ("new", "fact", "--", f"shop.{name}"),
        *(with_an_option(name) if name else ()),
    ):
        answer = product(*typed)
        assert answer.code == 2, f"{typed}: {answer}"
        assert answer.complaint
    assert sorted(product.folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["../x", "a/b", "%2e%2e", "a b", "A", "n" * 64])
@pytest.mark.parametrize("what", ["source", "stream", "warehouse", "table"])
def test_a_declared_name_is_a_plain_one(tmp_path: Path, what: str, name: str) -> None:
    product = Product(tmp_path)
    stream = {"key": ["id"], "path": "/things", "columns": COLUMNS}
    given = {"source": "api", "stream": "things", "warehouse": "shop", "table": "stg_things", what: name}
    if what in ("warehouse", "table") and "/" in name:
        return  # no file can be called that
    product.declare(
        given["warehouse"], {**source("http://127.0.0.1:1", {given["stream"]: stream}), "name": given["source"]}
    )
    product.table(given["warehouse"], f"staging/{given['table']}", f'select id from "{given["stream"]}"')
    answer = product("run", given["warehouse"])
    assert answer.code == 2
    assert not product.home.exists()


# What a server says is shown as it is, on one line


def test_no_server_forges_a_log_line(tmp_path: Path) -> None:
    forged = '{"ts": "2026-01-01T00:00:00", "level": "info", "event": "published"}'
    evil = f"bad\n{forged}\r\nstarberg: all is well\x1b[2J\x1b]0;title\x07\u2028{forged}\x00"
    with Server(lambda asked: Say({"error": evil}, 404)) as server:
        product = Product(tmp_path)
        shop(product, server.url)
        answers = [product("--debug", "run", "shop"), product("status"), product("--json", "status")]
    assert answers[0].code == 1
    assert forged not in answers[0].err.splitlines()
    assert answers[0].complaint.startswith("things")
    for answer in answers:
        assert all(char.isprintable() or char == "\n" for char in answer.out + answer.err)
    assert len(answers[1].out.splitlines()) == 3


# Who is believed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_bytes(self_signed())
    return pem


@pytest.fixture(scope="module")
def imposter(certificate: Path) -> Iterator[tuple[str, list[str]]]:
    """A server with a certificate nobody vouches for; the requests it gets."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.command} {self.path} {self.headers}")
            self.send_error(404)

        do_HEAD = do_PUT = do_POST = do_GET

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Listener(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", heard
    server.shutdown()
    server.server_close()


def self_signed() -> bytes:
    """Return a key and a certificate for localhost and db.internal."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    hosts = [x509.DNSName("localhost"), x509.DNSName("db.internal"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return private + certificate.public_bytes(serialization.Encoding.PEM)


SERVICES = ["source", "S3", "Nessie"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_certificate_nobody_vouches_for_is_refused(
    tmp_path: Path, imposter: tuple[str, list[str]], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, heard = imposter
    heard.clear()
    answer = run_at(url, service, tmp_path, monkeypatch)
    assert answer.code == 6
    assert "SSL" in answer.complaint
    assert heard == []


@pytest.mark.parametrize("service", SERVICES)
def test_an_authority_of_ones_own_is_named_by_the_environment(
    tmp_path: Path, imposter: tuple[str, list[str]], certificate: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, heard = imposter
    heard.clear()
    monkeypatch.setenv("AWS_CA_BUNDLE" if service == "S3" else "REQUESTS_CA_BUNDLE", str(certificate))
    assert "SSL" not in run_at(url, service, tmp_path, monkeypatch).complaint
    assert heard


def run_at(url: str, service: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Run where one service is at that address."""
    monkeypatch.setattr(Clock, "sleep", lambda *_: None)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    keys = {"MINIO_ACCESS_KEY": "someone", "MINIO_SECRET_KEY": "something"}
    environ = {
        "source": {},
        "S3": {"STARBERG_LAKE": "s3://bucket/lake", "MINIO_ENDPOINT": url, **keys},
        "Nessie": {"NESSIE_URI": url, "NESSIE_TOKEN": "token"},
    }[service]
    product = Product(folder)
    shop(product, url if service == "source" else "http://127.0.0.1:1")
    return product("run", "shop", **environ)


def test_the_engine_takes_an_authority_of_ones_own_too(
    tmp_path: Path, imposter: tuple[str, list[str]], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    (tmp_path / "starberg.toml").touch()
    keys = {"MINIO_ACCESS_KEY": "someone", "MINIO_SECRET_KEY": "something", "MINIO_REGION": "us-east-1"}
    place = {"STARBERG_LAKE": "s3://bucket/lake", "MINIO_ENDPOINT": imposter[0], **keys}
    engine = open_lake(Settings.load(tmp_path, place, {})).open_engine()
    try:
        with pytest.raises(LakeError) as found:
            engine.rows(f"FROM {engine.scan('s3://bucket/00000.metadata.json')}")
    finally:
        engine.close()
    assert "SSL" not in str(found.value)


def test_the_engine_believes_no_unknown_certificate_either(tmp_path: Path, imposter: tuple[str, list[str]]) -> None:
    url, heard = imposter
    heard.clear()
    host = url.removeprefix("https://")
    engine = DuckDBEngine(tmp_path, s3=S3Access("someone", "something", "", "us-east-1", host, use_ssl=True))
    try:
        engine.attach({})
        with pytest.raises(LakeError, match="SSL"):
            engine.rows(f"FROM {engine.scan('s3://bucket/00000.metadata.json')}")
    finally:
        engine.close()
    assert heard == []


@pytest.fixture
def database(certificate: Path) -> Iterator[tuple[int, list[bytes]]]:
    """A PostgreSQL server with that certificate, and what it hears behind it before it refuses everybody; its port."""
    heard: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    message = b"SFATAL\0C28000\0Mpassword authentication failed\0\0"

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    if connection.recv(8) != struct.pack("!ii", 8, 80877103):  # may it be TLS?
                        heard.append(b"no TLS")
                    connection.sendall(b"S")
                    with context.wrap_socket(connection, server_side=True) as private:
                        heard.append(private.recv(1000))
                        private.sendall(b"E" + struct.pack("!i", len(message) + 4) + message)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], heard
    listener.close()


def test_a_database_elsewhere_proves_who_it_is_by_its_certificate(
    tmp_path: Path, database: tuple[int, list[bytes]], certificate: Path
) -> None:
    port, heard = database
    product = Product(tmp_path)
    shop(product, "http://127.0.0.1:1")
    url = f"postgresql://etl:canary@db.internal:{port}/lake?hostaddr=127.0.0.1"
    answer = product("run", "shop", WAREHOUSE_DATABASE_URL=url)
    assert answer.code == 6
    assert "cannot prove who it is" in answer.complaint
    assert "?sslrootcert=FILE" in answer.complaint
    assert heard == []

    answer = product("run", "shop", WAREHOUSE_DATABASE_URL=f"{url}&sslrootcert={certificate}")
    assert answer.code == 7
    assert "password authentication failed" in answer.complaint
    assert b"etl" in heard[0]


def test_pyarrow_is_past_its_remote_code_execution() -> None:
    """CVE-2023-47248: fixed in 14.0.1."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [floor] = [need.split(">=")[1] for need in project["dependencies"] if need.startswith("pyarrow>=")]
    for found in (floor, version("pyarrow")):
        assert [int(part) for part in found.split(".")[:3]] >= [14, 0, 1]


def test_scratch_is_nobody_elses_business(tmp_path: Path) -> None:
    engine = DuckDBEngine(tmp_path)
    try:
        [scratch] = tmp_path.iterdir()
        assert scratch.stat().st_mode & 0o077 == 0
    finally:
        engine.close()
    assert list(tmp_path.iterdir()) == []
