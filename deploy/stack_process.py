"""A server of the stack: a detached process on 127.0.0.1 with a folder of its own.

The folder holds `server.json` (port, credentials, process; mode 0600), `log` and `data/`. Port and credentials are
drawn once per folder, so a restarted server is found where it was, with what it stored.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from stack_programs import StackError

HOST = "127.0.0.1"
# Below the range from which Linux draws outgoing ports, so that nobody takes the port of a server that is down.
PORTS = range(20000, 32000)
STOP_SECONDS = 30


class Server(ABC):
    """One server: `start`, `stop`, `kill`, `restart`, `pause`, `resume`, on one port with one store."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    stop_signal: ClassVar[int] = signal.SIGTERM
    kill_signal: ClassVar[int] = signal.SIGKILL
    start_seconds: ClassVar[int] = 90

    def __init__(self, directory: Path, others: dict[str, Server]) -> None:
        self.directory = directory / self.name
        self.others = others
        self._record_file = self.directory / "server.json"
        self._child: subprocess.Popen[bytes] | None = None
        self.record: dict[str, Any] = json.loads(self._record_file.read_text()) if self._record_file.exists() else {}

    @property
    def port(self) -> int:
        """Return the port on 127.0.0.1."""
        return int(self.record["port"])

    @property
    def url(self) -> str:
        """Return the root of the server's HTTP interface."""
        return f"http://{HOST}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Return the settings with which starberg reaches this server."""
        return {}

    @property
    def running(self) -> bool:
        """Tell whether the recorded process lives (a paused one does)."""
        born = _born(self.record["pid"]) if "pid" in self.record else ""
        return bool(born) and born == self.record["born"]

    def start(self) -> float:
        """Start the server unless it runs, wait until it answers, and return the seconds that took."""
        began = time.monotonic()
        if not self.running:
            if not self.record:
                self._draw()
            if _taken(self.port):
                way_out = f"stop it, or remove {self.directory} and the data in it"
                raise StackError(f"{self.name}: another program has port {self.port}: {way_out}")
            self.prepare()
            self._spawn()
        while not self.answers():
            if not self.running:
                raise StackError(f"{self.name} stopped at its start: {self._last_words()}")
            if time.monotonic() - began > self.start_seconds:
                raise StackError(f"{self.name} did not answer in {self.start_seconds} s: {self._last_words()}")
            time.sleep(0.1)
        return time.monotonic() - began

    def stop(self) -> None:
        """End the server as its operator would; what does not end in time is killed."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the server as a crash would: nothing is flushed or said goodbye to."""
        self._end(self.kill_signal)

    def restart(self) -> float:
        """Start the server again on its port and store; stop it first if it runs."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the server: connections open, nothing answers."""
        for pid in self._processes():
            _send(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        for pid in self._processes():
            _send(pid, signal.SIGCONT)

    def prepare(self) -> None:  # noqa: B027 (most need nothing)
        """Make what the server must find at its start."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line; it holds no secret, for `ps` shows it to everyone."""

    def environment(self) -> dict[str, str]:
        """Return the variables the server is configured by."""
        return {}

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server serves."""

    def credentials(self) -> dict[str, str]:
        """Draw the server's credentials."""
        return {}

    def _draw(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.record = {"port": free_port(), **self.credentials()}
        self._save()

    def _save(self) -> None:
        new = self._record_file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(self.record))
        new.replace(self._record_file)

    def _spawn(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with (self.directory / "log").open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603
                self.command(),
                env=kept | self.environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.record |= {"pid": self._child.pid, "born": _born(self._child.pid)}
        self._save()

    def _end(self, with_signal: int) -> None:
        processes = self._processes()
        for pid in processes[:1]:
            _send(pid, with_signal)
        for pid in processes:
            _send(pid, signal.SIGCONT)
        until = time.monotonic() + STOP_SECONDS
        while any(_born(pid) for pid in processes):
            if time.monotonic() > until:
                for pid in processes:
                    _send(pid, signal.SIGKILL)
            time.sleep(0.02)
        if self._child:
            self._child.wait()
            self._child = None

    def _processes(self) -> list[int]:
        """Return the server's process and its children, the former first; none if it does not run."""
        if not self.running:
            return []
        pid = int(self.record["pid"])
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:  # it ended just now, or this kernel does not list children
            children = []
        return [pid, *map(int, children)]

    def _last_words(self) -> str:
        log = self.directory / "log"
        lines = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        return f"{lines[0] if lines else 'it said nothing'}: see {log}"


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    for port in random.sample(PORTS, 200):
        if not _taken(port):
            return port
    raise StackError(f"no free port between {PORTS.start} and {PORTS.stop}: stop what listens there")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _born(pid: int) -> str:
    """Return when a process was born, "" for one that has ended: with the pid, proof against a reused pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, threads, born = fields[0], int(fields[17]), fields[19]
    # A first thread that has ended waits for the others, which still hold the port and the files.
    return "" if state in "ZX" and threads <= 1 else born


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended on its own, which is what every caller is after
