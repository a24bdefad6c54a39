"""SQL catalogs: the questions of every catalog to SQLite and PostgreSQL, and what each alone must answer."""

# ruff: noqa: E402 (the shared questions' assertions are explained before they are imported)
from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import sqlalchemy

sys.path.append(str(Path(__file__).parent))
pytest.register_assert_rewrite("catalog_questions")

from catalog_questions import CatalogQuestions, MakeCatalog, Warehouse

from starberg.samples.embedded_postgres import EmbeddedPostgres
from starberg.storage import sql_database
from starberg.storage.sql_catalog import MAIN_NAME, SqlCatalog
from starberg.storage.sql_database import Transaction
from starberg.utils.errors import Conflict, CredentialsError, LakeError, Unreachable, UsageError


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Give the URL of a real PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="starberg-postgres-"))
    with EmbeddedPostgres(folder, {"fsync": "off", "synchronous_commit": "on"}) as running:
        yield running.url()
    shutil.rmtree(folder)


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lake/catalog.db"


@pytest.fixture
def postgres_uri(server: str) -> str:
    name = f"db{uuid4().hex[:8]}"
    _execute(server, f"CREATE DATABASE {name}")
    return _with(server, path=f"/{name}")


class SqlQuestions(CatalogQuestions):
    """What both databases must answer; subclasses give a fixture `uri`."""

    @pytest.fixture
    def make_catalog(self, uri: str) -> MakeCatalog:
        return lambda: SqlCatalog(uri)

    def test_it_can_be_opened_with_pyiceberg(self, uri: str, games: Warehouse, tmp_path: Path) -> None:
        import pyarrow as pa
        from pyiceberg.catalog.sql import SqlCatalog as PyIcebergCatalog

        files = PyIcebergCatalog("files", uri="sqlite://", warehouse=f"file://{tmp_path}")
        files.create_namespace(games.name)
        table = files.create_table(f"{games.name}.a", pa.schema([("n", pa.int64())]))
        table.append(pa.table({"n": [1, 2]}))
        move = games.move("a", None, None)
        branch = games.branch(type(move)(move.table, None, table.metadata_location))

        on_branch = PyIcebergCatalog(branch.name, uri=_alchemy(uri))
        assert on_branch.load_table(f"{games.name}.a").scan().to_arrow()["n"].to_pylist() == [1, 2]
        main = PyIcebergCatalog(MAIN_NAME, uri=_alchemy(uri))
        assert main.list_namespaces() == []
        games.catalog.publish(branch, "test")
        games.catalog.drop_branch(branch)
        assert main.list_tables(games.name) == [(games.name, "a")]
        assert main.load_table(f"{games.name}.a").scan().to_arrow()["n"].to_pylist() == [1, 2]
        assert on_branch.list_namespaces() == []
        for opened in (files, on_branch, main):
            opened.engine.dispose()

    def test_its_tables_are_those_pyiceberg_makes(self, uri: str) -> None:
        from pyiceberg.catalog.sql import SqlCatalogBaseTable

        SqlCatalog(uri).state()
        engine = sqlalchemy.create_engine(_alchemy(uri))
        for name, theirs in SqlCatalogBaseTable.metadata.tables.items():
            ours = sqlalchemy.Table(name, sqlalchemy.MetaData(), autoload_with=engine)
            assert _columns(ours) == _columns(theirs)
        engine.dispose()

    def test_a_view_that_another_engine_made_is_no_table(self, uri: str, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        columns = "catalog_name, table_namespace, table_name, metadata_location, iceberg_type"
        view = f"'{MAIN_NAME}', '{games.name}', 'v', 's3://lake/v.json', 'VIEW'"
        _execute(uri, f"INSERT INTO iceberg_tables ({columns}) VALUES ({view})")
        assert games.tables() == {"a": "a1"}
        assert {name for name, _ in games.catalog.pointers(datetime.now(UTC))} == {f"{games.name}.a"}
        games.publish(games.move("a", "a1", "a2"))
        assert games.tables() == {"a": "a2"}

    def test_a_catalog_pyiceberg_made_can_be_adopted(self, uri: str) -> None:
        from pyiceberg.catalog.sql import SqlCatalog as PyIcebergCatalog

        if uri.startswith("sqlite"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir()
        theirs = PyIcebergCatalog("theirs", uri=_alchemy(uri))
        theirs.create_namespace("other")
        ours = SqlCatalog(uri)
        games = Warehouse(ours)
        games.publish(games.move("a", None, "a1"))
        assert games.tables() == {"a": "a1"}
        assert theirs.list_namespaces() == [("other",)]
        ours.close()
        theirs.engine.dispose()

    def test_a_foreign_commit_on_main_is_a_conflict(self, uri: str, games: Warehouse) -> None:
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        _execute(uri, "UPDATE iceberg_tables SET metadata_location = 'foreign' WHERE catalog_name = 'starberg'")
        with pytest.raises(Conflict, match="published by another"):
            games.catalog.publish(branch, "test")

    def test_a_newer_format_is_refused_in_one_line(self, uri: str) -> None:
        SqlCatalog(uri).identity()
        _execute(uri, "UPDATE starberg_format SET version = version + 1")
        with pytest.raises(LakeError, match=r"newer starberg \(format 2, this one knows 1\). Upgrade"):
            SqlCatalog(uri).state()

    def test_many_first_users_agree_on_one_identity(self, uri: str) -> None:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            assert len(set(pool.map(_identity, [uri] * 4))) == 1

    def test_a_clock_that_steps_back_leaves_the_past_in_order(self, uri: str) -> None:
        from datetime import UTC, datetime

        from servers import FakeClock

        late, early = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
        first, second = SqlCatalog(uri, clock=FakeClock(late)), SqlCatalog(uri, clock=FakeClock(early))
        games = Warehouse(first)
        games.publish(games.move("a", None, "a1"))
        games.catalog = second
        games.publish(games.move("a", "a1", "a2"))
        assert games.tables("2026-01-01T12:00:00") == {}
        assert games.tables("2026-01-02") == {"a": "a2"}


class TestSqlite(SqlQuestions):
    @pytest.fixture
    def uri(self, sqlite_uri: str) -> str:
        return sqlite_uri

    def test_its_folder_is_the_owners_alone(self, tmp_path: Path, uri: str) -> None:
        SqlCatalog(uri).state()
        assert stat.S_IMODE((tmp_path / "lake").stat().st_mode) == 0o700

    def test_its_folder_may_have_any_name(self, tmp_path: Path) -> None:
        SqlCatalog(f"sqlite:///{tmp_path}/50% of #1? [ü]/catalog.db").state()
        assert (tmp_path / "50% of #1? [ü]" / "catalog.db").exists()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="file/lake cannot be made"):
            SqlCatalog(f"sqlite:///{tmp_path}/file/lake/catalog.db").state()

    def test_a_lock_that_is_never_released_is_named(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        SqlCatalog(uri).state()
        monkeypatch.setattr(sql_database, "LOCK_WAIT_S", 0)
        holder = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unreachable, match=r"catalog\.db stayed locked for 0 s\. Another process"):
            SqlCatalog(uri).state()
        holder.close()

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "catalog.db").write_text("this is not a database, but it is long enough to look at" * 20)
        with pytest.raises(LakeError, match=r"catalog\.db is damaged or no catalog"):
            SqlCatalog(f"sqlite:///{tmp_path}/catalog.db").state()

    def test_a_lost_file_is_noticed_by_its_identity(self, uri: str) -> None:
        catalog = SqlCatalog(uri)
        before = catalog.identity()
        Path(uri.removeprefix("sqlite:///")).unlink()
        assert SqlCatalog(uri).identity() != before

    def test_a_writer_killed_in_its_transaction_leaves_no_trace(self, uri: str) -> None:
        games = Warehouse(SqlCatalog(uri))
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        child = multiprocessing.get_context("spawn").Process(target=_die_while_publishing, args=(uri, branch))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert games.tables() == {"a": "a1"}
        games.catalog.publish(branch, "again")
        assert games.tables() == {"a": "a2"}


class TestPostgres(SqlQuestions):
    @pytest.fixture
    def uri(self, postgres_uri: str) -> str:
        return postgres_uri

    def test_a_publish_whose_answer_is_lost_is_looked_up(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        games = Warehouse(SqlCatalog(uri))
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        position = _with_the_answer_lost(games, branch, monkeypatch, landed=True)
        assert games.tables() == {"a": "a2"}
        assert games.catalog.published(branch.run_id) == position

    def test_a_publish_that_never_arrived_is_asked_for_again(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        games = Warehouse(SqlCatalog(uri))
        games.publish(games.move("a", None, "a1"))
        branch = games.branch(games.move("a", "a1", "a2"))
        _with_the_answer_lost(games, branch, monkeypatch, landed=False)
        assert games.tables() == {"a": "a2"}

    @pytest.mark.parametrize("where", ["host=127.0.0.1&port=1", "host=/nowhere"])
    def test_a_server_that_does_not_answer_is_named_without_the_password(self, where: str) -> None:
        from servers import FakeClock

        clock = FakeClock()
        catalog = SqlCatalog(f"postgresql://someone:canary-secret@/lake?{where}", clock=clock)
        with pytest.raises(Unreachable) as caught:
            catalog.state()
        assert len(clock.slept) == 3
        told = "".join(traceback.format_exception(caught.value)) + repr(catalog) + str(caught.value)
        assert "someone" in str(caught.value)
        assert "canary" not in told

    def test_a_wrong_password_is_told_without_it(self, server: str, uri: str) -> None:
        _execute(server, "CREATE ROLE canary LOGIN PASSWORD 'right'")
        [(file,)] = _execute(server, "SHOW hba_file")
        rules = Path(file)
        rules.write_text(f"local all canary scram-sha-256\n{rules.read_text()}")
        _execute(server, "SELECT pg_reload_conf()")
        catalog = SqlCatalog(_with(uri, login="canary:canary-secret"))
        told = []
        for _ in range(100):  # until the server has read its rules again, the role comes in and is refused the schema
            with pytest.raises(CredentialsError) as caught:
                catalog.state()
            told.append("".join(traceback.format_exception(caught.value)))
            if "permission denied" not in told[-1]:
                break
            catalog.close()
            time.sleep(0.05)
        assert "password authentication failed" in told[-1]
        assert "canary-secret" not in "".join(told)

    def test_a_missing_database_is_named(self, server: str) -> None:
        with pytest.raises(UsageError, match='"nowhere" does not exist'):
            SqlCatalog(_with(server, path="/nowhere")).state()


@pytest.mark.parametrize(
    "uri", ["", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql://host", "x:canary@y"]
)
def test_an_address_that_cannot_be_a_catalog_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="Give sqlite:") as caught:
        SqlCatalog(uri)
    assert "canary" not in str(caught.value)


def test_nothing_is_opened_before_the_first_question(tmp_path: Path) -> None:
    SqlCatalog(f"sqlite:///{tmp_path}/lake/catalog.db").close()
    assert list(tmp_path.iterdir()) == []


def test_asking_a_catalog_imports_no_pyiceberg(tmp_path: Path) -> None:
    import subprocess

    ask = f"""import sys
from starberg.storage.sql_catalog import SqlCatalog
SqlCatalog("sqlite:///{tmp_path}/catalog.db").state()
print([name for name in sys.modules if re.match("pyiceberg|pyarrow|sqlalchemy", name)])
""".replace("import sys", "import re, sys", 1)
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def _identity(uri: str) -> str:
    return SqlCatalog(uri).identity()


def _with(uri: str, *, path: str = "", login: str = "") -> str:
    """Return a URL with another database, or another user."""
    url = urlsplit(uri)
    host = url.netloc.rpartition("@")[2]
    return url._replace(path=path or url.path, netloc=f"{login}@{host}" if login else url.netloc).geturl()


def _alchemy(uri: str) -> str:
    """Return a URL as SQLAlchemy 2.1 wants it: it takes another driver if none is named."""
    return uri.replace("postgresql:", "postgresql+psycopg2:")


def _columns(table: sqlalchemy.Table) -> list[tuple[object, ...]]:
    return [(column.name, str(column.type), column.nullable, column.primary_key) for column in table.columns]


def _execute(uri: str, statement: str) -> list[Any]:
    import psycopg2

    if uri.startswith("sqlite"):
        with sqlite3.connect(uri.removeprefix("sqlite:///")) as file:
            return file.execute(statement).fetchall()
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def _die_while_publishing(uri: str, branch: Any) -> None:
    """Kill this process when the publish has written everything but its commit."""
    right = Transaction.run
    wrote: list[str] = []

    def run(self: Transaction, sql: str, **values: Any) -> int:
        if sql == "COMMIT" and wrote:
            os.kill(os.getpid(), signal.SIGKILL)
        wrote.extend(["it"] if sql.startswith("INSERT INTO starberg_publish") else [])
        return right(self, sql, **values)

    with patch.object(Transaction, "run", run):
        SqlCatalog(uri).publish(branch, "dies")


def _with_the_answer_lost(games: Warehouse, branch: Any, monkeypatch: pytest.MonkeyPatch, *, landed: bool) -> str:
    """Publish over a connection that the server cuts at COMMIT: after it, or instead of it."""
    import psycopg2

    right = Transaction.run
    cuts: list[str] = []

    def run(self: Transaction, sql: str, **values: Any) -> int:
        lost = sql == "COMMIT" and cuts == ["due"]
        if sql.startswith("INSERT INTO starberg_publish") and not cuts:
            cuts.append("due")
        if not lost or landed:
            done = right(self, sql, **values)
        if not lost:
            return done
        cuts.append("done")
        self._cursor.connection.close()
        raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Transaction, "run", run)
    position = games.catalog.publish(branch, "test")
    assert cuts == ["due", "done"]
    return position
