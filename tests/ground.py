"""A lake in a folder that can be put back to where a test began: one published load, a source that changed since."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crash import Known, publish
from faults import NAMES, run_task
from places import Place, declare_games

from starberg.samples.rawg_remote import RemoteServer, spawn


@dataclass
class Ground:
    """A lake that can be put back, at its own path: table metadata and the catalog hold absolute paths."""

    base: Path
    place: Place

    @classmethod
    def new(cls, base: Path, url: str) -> Ground:
        base.mkdir()
        declare_games(base, "games2", url)
        return cls(base, Place(base, "games2", {"STARBERG_HOME": str(base / "home")}))

    def keep(self, name: str = "kept") -> None:
        shutil.copytree(self.base / "home", self.base / name, copy_function=_link)

    def put_back(self, name: str = "kept") -> None:
        shutil.rmtree(self.base / "home", ignore_errors=True)
        shutil.rmtree(self.base / "tmp", ignore_errors=True)
        shutil.copytree(self.base / name, self.base / "home", copy_function=_link)

    def wreck(self) -> str:
        """Describe all that a dead process left: the objects and the catalog's rows.

        An object is described by its name: it appears whole, and what a name holds does not change. Names that differ
        from run to run are left out, and so is where the lake lies.
        """
        home = self.base / "home"
        left = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
        with sqlite3.connect(home / "catalog.db") as catalog:
            rows = [line for line in catalog.iterdump() if line.startswith("INSERT")]
        catalog.close()
        return "\n".join(sorted(NAMES.sub("*", line.replace(str(self.base), "")) for line in left + rows))

    def lost(self) -> set[str]:
        """Return the kept lake's files that are gone or are not the same files any more."""
        kept, home = self.base / "kept" / "lake", self.base / "home" / "lake"
        files = [path.relative_to(kept) for path in kept.rglob("*") if path.is_file()]
        return {str(file) for file in files if not (home / file).exists() or not (home / file).samefile(kept / file)}


def _link(source: str, target: str) -> None:
    """Objects are written once, so a link is a copy; the catalog's file is written in place."""
    (shutil.copyfile if source.endswith(".db") else os.link)(source, target)


def change(server: RemoteServer) -> None:
    """Make the update batch of these tests: games changed, added and removed."""
    server.change(20)
    server.add(10)
    server.remove(3)


@contextmanager
def grounds(folder: Path, number: int = 1) -> Iterator[tuple[list[Ground], Known]]:
    """Make some lakes of 200 games, and give what they hold before and after a run."""
    with spawn(games=200) as server:
        made = [Ground.new(folder / str(name), server.url) for name in range(number)]
        with ThreadPoolExecutor(number) as pool:
            olds = list(pool.map(lambda ground: run_task(publish, ground.place), made))
        for ground in made:
            ground.keep()
        change(server)
        new, last = run_task(publish, made[0].place)
        assert olds[0][0] != new
        yield made, Known(olds[0][0], new, last)
