"""The Flight SQL client against a real Flight SQL server: Arrow's own, over SQLite (deploy/flightsql).

Not Dremio: what is proven is the protocol (login, token, TLS, errors, cancelling, results larger than memory allows).
"""

from __future__ import annotations

import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import stack_programs
from pydantic import SecretStr
from servers import closed_port

from starberg.engines.clients import Login
from starberg.engines.dremio import DremioClient
from starberg.entrypoints.export import write
from starberg.entrypoints.remote_query import result_of
from starberg.utils.errors import CredentialsError, StarbergError, Unreachable, UsageError

NUMBERS = "with recursive n(i) as (select 1 union all select i + 1 from n {limit}) select i from n"
ENDLESS = NUMBERS.format(limit="")
WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _servers_run_again() -> None:
    """None of the stack's servers is needed here, so none is started."""


@dataclass
class FlightServer:
    """One running server; `told` has the lines it wrote."""

    login: Login
    process: subprocess.Popen[str] = field(repr=False)
    told: queue.Queue[str] = field(default_factory=queue.Queue)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told.put(line.strip())

    def await_line(self, wanted: str) -> None:
        """Wait until the server says a word about some query."""
        while self.told.get(timeout=WAIT_S) != wanted:
            pass


def started(*options: str) -> FlightServer:
    password, token = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    login = {"FLIGHTSQL_USER": "ann", "FLIGHTSQL_PASSWORD": password, "FLIGHTSQL_TOKEN": token}
    process = subprocess.Popen(
        [stack_programs.flightsql(), *options],
        env={**os.environ, **login},
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    server = FlightServer(Login("Dremio", "127.0.0.1", port, user="ann", password=SecretStr(password)), process)
    threading.Thread(target=server.listen, daemon=True).start()
    return server


def stopped(server: FlightServer) -> None:
    server.process.terminate()
    server.process.wait(WAIT_S)


@pytest.fixture(scope="module")
def server() -> Iterator[FlightServer]:
    running = started()
    yield running
    stopped(running)


@pytest.fixture
def client(server: FlightServer) -> Iterator[DremioClient]:
    made = DremioClient(server.login, "lake")
    yield made
    made.close()


def rows(client: DremioClient, sql: str) -> list[dict[str, Any]]:
    return [row for batch in client.query(sql).rows for row in batch.to_pylist()]


def test_a_user_with_a_password_asks(client: DremioClient) -> None:
    assert rows(client, "select keyName, value from intTable order by id limit 2") == [
        {"keyName": "one", "value": 1},
        {"keyName": "zero", "value": 0},
    ]
    assert rows(client, "select 1 as a where 1 = 0") == []


def test_a_token_asks_in_place_of_both(server: FlightServer) -> None:
    token = Path(f"/proc/{server.process.pid}/environ").read_text().split("FLIGHTSQL_TOKEN=")[1].split("\0")[0]
    client = DremioClient(replace(server.login, user="", password=None, token=SecretStr(token)), "lake")
    assert rows(client, "select 7 as a") == [{"a": 7}]
    client.close()


@pytest.mark.parametrize("secret", ["password", "token"])
def test_a_wrong_login_is_one_line_that_does_not_tell_it(server: FlightServer, secret: str) -> None:
    wrong: dict[str, Any] = {"password": None, secret: SecretStr("wrong-hush")}
    client = DremioClient(replace(server.login, **wrong), "lake")
    with pytest.raises(CredentialsError) as error:
        client.query("select 1")
    assert "Check DREMIO_USER and DREMIO_PASSWORD, or DREMIO_TOKEN." in str(error.value)
    assert "wrong-hush" not in str(error.value)
    client.close()


def test_refused_sql_is_one_line_and_the_next_question_is_answered(client: DremioClient) -> None:
    with pytest.raises(StarbergError, match="no such table: nothing_here"):
        client.query("select * from nothing_here")
    assert rows(client, "select 1 as a") == [{"a": 1}]


def test_a_large_answer_goes_into_a_file_as_it_comes(client: DremioClient, tmp_path: Path) -> None:
    batches = client.query(NUMBERS.format(limit="limit 300000"))
    assert write(result_of(batches, client.close), tmp_path / "numbers.parquet") == 300_000
    written = pq.read_table(tmp_path / "numbers.parquet").column("i")
    assert (written[0].as_py(), written[-1].as_py(), len(written)) == (1, 300_000, 300_000)


def test_rows_nobody_reads_further_are_cancelled_on_the_server(server: FlightServer, client: DremioClient) -> None:
    answer = client.query(ENDLESS)
    assert next(answer.rows).num_rows > 0
    answer.rows.close()  # type: ignore[attr-defined]
    server.await_line("cancelled")
    assert rows(client, "select 1 as a") == [{"a": 1}]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_question_on_the_server(server: FlightServer, sent: signal.Signals) -> None:
    code = (
        "import signal, sys\n"
        "from pydantic import SecretStr\n"
        "from starberg.engines.clients import Login\n"
        "from starberg.engines.dremio import DremioClient\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "login = Login('Dremio', '127.0.0.1', int(sys.argv[1]), user='ann', password=SecretStr(input()))\n"
        "client = DremioClient(login, 'lake')\n"
        "try:\n"
        "    answer = client.query(input())\n"
        "    print('first rows' if next(answer.rows) else '', flush=True)\n"
        "    for batch in answer.rows: pass\n"
        "finally:\n"
        "    client.close()\n"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", code, str(server.login.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asking.stdin is not None
    assert asking.stdout is not None
    assert server.login.password is not None
    asking.stdin.write(f"{server.login.password.get_secret_value()}\n{ENDLESS}\n")
    asking.stdin.flush()
    assert asking.stdout.readline() == "first rows\n"
    asking.send_signal(sent)
    server.await_line("cancelled")
    asking.communicate(timeout=WAIT_S)
    assert asking.returncode != 0


def test_nobody_there_is_unreachable(server: FlightServer) -> None:
    client = DremioClient(replace(server.login, port=closed_port()), "lake")
    with pytest.raises(Unreachable, match="does not answer"):
        client.query("select 1")
    client.close()


def test_a_server_that_dies_is_unreachable() -> None:
    dying = started()
    client = DremioClient(dying.login, "lake")
    answer = client.query(ENDLESS)
    next(answer.rows)
    dying.process.kill()
    with pytest.raises(Unreachable, match="does not answer"):
        for _ in answer.rows:
            pass
    client.close()
    stopped(dying)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this machine that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "server.pem", folder / "server.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [*made, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", pem],
        check=True,
        capture_output=True,
    )
    return pem, key


def test_with_tls_the_server_proves_itself(certificate: tuple[Path, Path]) -> None:
    pem, key = certificate
    server = started("-certificate", str(pem), "-key", str(key))
    try:
        trusting = DremioClient(replace(server.login, tls=True, ca=pem), "lake")
        assert rows(trusting, "select 1 as a") == [{"a": 1}]
        trusting.close()
        for login in (replace(server.login, tls=True), replace(server.login, tls=False)):
            wary = DremioClient(login, "lake")
            with pytest.raises(Unreachable):
                wary.query("select 1")
            wary.close()
    finally:
        stopped(server)


def test_an_authority_that_cannot_be_read_is_a_setting_to_correct(server: FlightServer, tmp_path: Path) -> None:
    client = DremioClient(replace(server.login, tls=True, ca=tmp_path / "none.pem"), "lake")
    with pytest.raises(UsageError, match=r"cannot read .*none\.pem.*DREMIO_CA"):
        client.query("select 1")
    client.close()
