"""The operational databases of the retail and mafia warehouses, empty, and a lake over them.

retail = Operations.retail(tmp_path, database)
database.run("insert into customers …")
retail.run()
assert retail.rows("select count(*) from dwh_fact_sales") == [(0,)]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from database import Database
from product import Answer, Product

import starberg
from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.etl.results import RunResult
from starberg.utils.settings import Settings

TABLES = Path(starberg.__file__).parent / "samples" / "operational"


@dataclass
class Operations:
    """One warehouse over its databases; commands see nothing else of the environment."""

    name: str
    folder: Path
    variables: Mapping[str, str]
    product: Product = field(init=False)

    def __post_init__(self) -> None:
        self.product = Product(self.folder / "project", dict(self.variables))

    @classmethod
    def retail(cls, folder: Path, database: Database) -> Operations:
        """Create the sales database's tables."""
        database.run(_tables("retail"))
        return cls("retail", folder, {"RETAIL_DATABASE_URL": database.url})

    @classmethod
    def mafia(cls, folder: Path, user_service: Database, game_service: Database) -> Operations:
        """Create the tables of both services."""
        user_service.run(_tables("user_service"))
        game_service.run(_tables("game_service"))
        return cls("mafia", folder, _parts("USER_SERVICE", user_service) | _parts("GAME_SERVICE", game_service))

    @classmethod
    def learning(cls, folder: Path, database: Database) -> Operations:
        """Create the learning platform's tables."""
        database.run(_tables("learning"))
        return cls("learning", folder, {"OLTP_DATABASE_URL": database.url})

    @classmethod
    def projects(cls, folder: Path, database: Database) -> Operations:
        """Create the software house's tables."""
        database.run(_tables("projects"))
        return cls("projects", folder, {"PROJECTS_DATABASE_URL": database.url})

    def lake(self) -> Lake:
        """Open the lake."""
        settings = Settings.load(self.product.folder, {}, {**self.product.environ, **self.variables})
        return open_lake(settings)

    def run(self, **how: Any) -> RunResult:
        """Run the warehouse."""
        return self.lake().run(self.name, **how)

    def rows(self, sql: str, at: str | None = None) -> list[tuple[Any, ...]]:
        """Answer SQL."""
        return list(self.lake().query(sql, warehouse=self.name, at=at).rows)

    def type(self, *arguments: str, **environ: str) -> Answer:
        """Run a command as users type it."""
        return self.product(*arguments, **environ)

    def asked(self, sql: str, *options: str) -> list[dict[str, Any]]:
        """Return the rows of `starberg query`, as typed; AssertionError if it fails."""
        answer = self.product("--json", "query", sql, *options)
        assert answer.code == 0, answer.err
        return answer.rows


def _tables(system: str) -> str:
    return (TABLES / f"{system}.sql").read_text()


def _parts(service: str, database: Database) -> dict[str, str]:
    url = urlsplit(database.url)
    given = {
        "HOST": url.hostname,
        "PORT": url.port,
        "NAME": url.path[1:],
        "USER": url.username,
        "PASSWORD": unquote(url.password or "none"),
    }
    return {f"{service}_DB_{name}": str(value) for name, value in given.items()}


def asked(source: Database, sql: str) -> list[tuple[Any, ...]]:
    """Answer SQL by an operational database, plainly."""
    return plain(source.rows(sql))


def plain(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows with times in UTC without zone, and UUIDs as text."""
    return [tuple(_plain(value) for value in row) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return str(value) if isinstance(value, UUID) else value
