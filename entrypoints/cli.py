"""The command line's frame: `main` reads the arguments, runs one command, turns what goes wrong into one line.

Exit codes: 0 done or nothing to do, 1 failed, 2 usage or declaration, 3 a check stopped the publish, 4 blast-radius
guard, 5 busy, 6 service or source unreachable, 7 quota or credentials, 130 interrupted, 141 stdout closed, 143
terminated.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from starberg.entrypoints.commands import app
from starberg.entrypoints.session import PipeClosed, Session
from starberg.utils.errors import StarbergError

_FLAGS = ("--debug", "--quiet", "--json")
_VALUED = ("--home", "--project", "--env")

atexit.register(gc.freeze)  # what a process still holds when it ends needs no collecting: that takes 0.3 s


class Terminated(BaseException):
    """SIGTERM: unwinds like Ctrl-C, so that the lease is given back and scratch files go."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    open_lake: Callable[[Any], Any] | None = None,
) -> int:
    """Run one command and return its exit code. Only here the product looks at the process's environment."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    session = Session(os.environ if environ is None else environ, open_lake)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="")
    try:
        with _sigterm_unwinds():
            return _run(globals_first(given) or ["--help"], session)
    except BaseException as error:  # noqa: BLE001 - the one place where any error becomes a line and a code
        return _exit_code(error, session)


def globals_first(arguments: Sequence[str]) -> list[str]:
    """Move the global options before the command, so that they may stand anywhere before a lone `--`.

    >>> globals_first(["run", "games", "--home", "/data", "--json"])
    ['--home', '/data', '--json', 'run', 'games']
    """
    first: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in _VALUED:
            first += [argument, *([value] if (value := next(left, None)) is not None else [])]
        elif argument in _FLAGS or argument.startswith(tuple(f"{option}=" for option in _VALUED)):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest


def _run(arguments: list[str], session: Session) -> int:
    code = typer.main.get_command(app).main(arguments, "starberg", standalone_mode=False, obj=session)
    return code if isinstance(code, int) else 0


def _exit_code(error: BaseException, session: Session) -> int:
    """Say what went wrong, where there is something to say."""
    match error:
        case StarbergError():
            session.complain(str(error), error)
            return error.exit_code
        case PipeClosed():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
            return 128 + signal.SIGPIPE
        case KeyboardInterrupt() | typer.Abort():
            session.complain("interrupted")
            return 128 + signal.SIGINT
        case Terminated():
            session.complain("terminated")
            return 128 + signal.SIGTERM
        case SystemExit():
            return error.code if isinstance(error.code, int) else 1
    if usage := getattr(error, "format_message", None):  # Typer's usage errors have no public class
        command = getattr(getattr(error, "ctx", None), "command_path", "starberg")
        session.complain(f"{usage()} Type `{command} --help`", error)
        return 2
    session.complain(f"unexpected {type(error).__name__}: {error}{_again(session)}", error)
    return 1


def _again(session: Session) -> str:
    return "" if session.debug else "; run again with --debug to see where"


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
