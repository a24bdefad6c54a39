"""Start the real servers on one Linux machine without a container engine: MinIO, Nessie, PostgreSQL, toxiproxy, Trino.

    python deploy/stack.py up|down|status|env [--services minio,nessie,…] [--dir DIR]

`up` may be repeated; what runs is left alone. All state is in DIR (`.stack`); `down` keeps it, removing DIR forgets it.
The programs are fetched once into `$XDG_CACHE_HOME/starberg-stack`. Tests import `start`.
"""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stack_process import Server
from stack_programs import StackError
from stack_servers import SERVERS

__all__ = ["Server", "Stack", "StackError", "start"]


class Stack:
    """The servers of one folder, running or not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.servers: dict[str, Server] = {}
        for name, kind in SERVERS.items():
            self.servers[name] = kind(self.directory, self.servers)

    @property
    def env(self) -> dict[str, str]:
        """Return the settings with which starberg reaches every server this folder has had."""
        known = (server for server in self.servers.values() if server.record)
        return {name: value for server in known for name, value in server.env.items()}

    def service(self, name: str) -> Server:
        """Return one server by name."""
        return self.servers[name]

    def start(self, services: Iterable[str], tell: Callable[[Server, float], None] = lambda *_: None) -> None:
        """Start servers and what they need, telling each with its seconds; if one fails, those started here stop."""
        started: list[Server] = []
        try:
            for server in self._with_needs(services):
                if not server.running:
                    started.append(server)
                tell(server, server.start())
        except BaseException:
            for server in reversed(started):
                server.stop()
            raise

    def stop(self, services: Iterable[str] = tuple(SERVERS)) -> None:
        """Stop servers, those that need others first; what does not run is left alone."""
        for server in reversed([self.servers[name] for name in SERVERS if name in set(services)]):
            server.stop()

    def _with_needs(self, services: Iterable[str]) -> list[Server]:
        wanted = set(services)
        wanted |= {need for name in wanted for need in SERVERS[name].needs}
        return [self.servers[name] for name in SERVERS if name in wanted]


def start(services: Iterable[str] = tuple(SERVERS), directory: Path = Path(".stack")) -> Stack:
    """Start servers in a folder and return the stack; what runs there already is left alone.

    Raises StackError if a program cannot be fetched or a server does not come up.
    """
    stack = Stack(directory)
    stack.start(services)
    return stack


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, or 1 after one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if not sys.platform.startswith("linux"):
            raise StackError("this starts the servers on Linux alone: use `docker compose up` here")
        return int(_COMMANDS[options.command](options.dir, options.services))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _up(directory: Path, services: list[str]) -> int:
    with _alone(directory):
        Stack(directory).start(
            services, lambda server, seconds: _say(f"{server.name:<10} {server.url}  {seconds:.1f} s")
        )
    return 0


def _down(directory: Path, services: list[str]) -> int:
    with _alone(directory):
        Stack(directory).stop(services)
    return 0


def _status(directory: Path, services: list[str]) -> int:
    chosen = [Stack(directory).service(name) for name in services]
    for server in chosen:
        where = f"{server.url}  pid {server.record['pid']}" if server.running else "-"
        _say(f"{server.name:<10} {'running' if server.running else 'stopped'}  {where}")
    return 0 if all(server.running for server in chosen) else 1


def _env(directory: Path, services: list[str]) -> int:
    stack = Stack(directory)
    for name in services:
        if not stack.service(name).running:
            raise StackError(f"{name} does not run in {directory}: start it with `make stack`")
        for variable, value in stack.service(name).env.items():
            _say(f"export {variable}={shlex.quote(value)}")
    return 0


_COMMANDS: dict[str, Callable[[Path, list[str]], int]] = {"up": _up, "down": _down, "status": _status, "env": _env}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stack.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("--services", type=_services, default=list(SERVERS), metavar="NAME,…", help="all, if not said")
    parser.add_argument("--dir", type=Path, default=Path(".stack"), help="the folder of all state (.stack)")
    return parser


def _services(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SERVERS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(SERVERS)}")
    return names


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Let one command at a time change a folder's servers."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
