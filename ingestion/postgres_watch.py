"""A watch over connections that would wait forever: for a server that is frozen, or a network that swallows packets.

Neither psycopg2 nor the engine's scanner can be told to give up on an answer, and a long answer is no fault. So the
server is asked for its readiness over a connection of its own now and then; when that goes unanswered twice, this
process's connections to it are shut down, and whoever waits on them is told that they are lost.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starberg.ingestion.postgres_address import Address

ASKED_EVERY_S = 30.0
ANSWER_S = 15
_DESCRIPTORS = Path("/dev/fd")


def watch(where: Address) -> threading.Event:
    """Begin to watch the server; setting the event ends it."""
    ended = threading.Event()
    threading.Thread(target=_watch, args=(where, ended), name="postgres watch", daemon=True).start()
    return ended


def _watch(where: Address, ended: threading.Event) -> None:
    silent = 0
    while not ended.wait(ASKED_EVERY_S):
        silent = silent + 1 if _is_silent(where) else 0
        if silent > 1 and not ended.is_set():
            _cut(_peers(where))


def _is_silent(where: Address) -> bool:
    """Tell whether nothing answers in time; a refusal of whatever kind is an answer."""
    import psycopg2

    try:
        psycopg2.connect(**(where.login | {"connect_timeout": str(ANSWER_S)})).close()
    except psycopg2.OperationalError as error:
        return "timeout" in str(error)
    except psycopg2.Error:
        return False
    return False


def _peers(where: Address) -> set[Any]:
    """Return the server's addresses as sockets name them."""
    if where.host.startswith("/") or not where.host:
        return {f"{where.host or '/tmp'}/.s.PGSQL.{where.port}"}  # noqa: S108 (libpq's own default)
    with suppress(OSError):
        return {found[4][:2] for found in socket.getaddrinfo(where.host, int(where.port), type=socket.SOCK_STREAM)}
    return set()


def _cut(peers: set[Any]) -> None:
    """Shut down this process's connections to some addresses."""
    for name in [found.name for found in _DESCRIPTORS.iterdir()]:
        with suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                _cut_one(int(name), peers)


def _cut_one(descriptor: int, peers: set[Any]) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as connection, suppress(OSError):  # it may listen, or be closed
        peer = connection.getpeername()
        if (peer if isinstance(peer, str) else peer[:2]) in peers:
            connection.shutdown(socket.SHUT_RDWR)
