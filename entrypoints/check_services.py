"""`starberg check`: is everything a run needs there, and allowed?"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starberg.storage.lake_file import check_claim
from starberg.utils.errors import StarbergError

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake
    from starberg.ingestion.streams import SourceSpec


def check_lake(lake: Lake) -> list[dict[str, Any]]:
    """Try object store, catalog, engine and each source's secret; one answer each, none of them raises."""
    answers = [
        _try("object store", lambda: _store(lake)),
        _try("catalog", lambda: _catalog(lake)),
        _try("engine", lambda: _engine(lake)),
    ]
    for warehouse in lake.warehouses.values():
        for source in warehouse.sources.values():
            if source.auth.secret:
                name = f"{warehouse.name}.{source.name} secret"
                answers.append(_secret(name, source.auth.secret, lake.secret_of))
            if source.kind == "postgres":
                answers += _database(f"{warehouse.name}.{source.name} database", source, lake.secret_of)
    return answers


def _try(name: str, question: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "detail": question(), "hint": ""}
    except StarbergError as error:
        return {"name": name, "ok": False, "detail": error.args[0], "hint": error.hint}


def _store(lake: Lake) -> str:
    """Write, read and delete an object: the rights a run needs."""
    key, body = f"check/{secrets.token_hex(8)}", b"starberg check"
    lake.store.put(key, body)
    try:
        if lake.store.get(key) != body:
            raise StarbergError(f"{lake.store.uri(key)} does not read as it was written")
    finally:
        lake.store.delete([key])
    return f"reads and writes {lake.store.root}"


def _catalog(lake: Lake) -> str:
    check_claim(lake.store, lake.catalog)
    return f"{len(lake.catalog.state().tables)} tables, {lake.catalog.identity()}"


def _engine(lake: Lake) -> str:
    engine = lake.computing(lake.open_engine())
    try:
        return engine.version()
    finally:
        engine.close()


def _database(name: str, source: SourceSpec, secret_of: Callable[[str], str | None]) -> list[dict[str, Any]]:
    """Return one answer, or one for each thing that is missing."""
    from starberg.ingestion.postgres_check import check_source

    try:
        detail, missing = check_source(source, secret_of)
    except StarbergError as error:
        detail, missing = "", [error]
    if not missing:
        return [{"name": name, "ok": True, "detail": detail, "hint": ""}]
    return [{"name": name, "ok": False, "detail": error.args[0], "hint": error.hint} for error in missing]


def _secret(name: str, variable: str, secret_of: Callable[[str], str | None]) -> dict[str, Any]:
    given = bool(secret_of(variable))
    hint = "" if given else f"Set {variable}, or {variable}_FILE."
    return {"name": name, "ok": given, "detail": f"{variable} is {'set' if given else 'not set'}", "hint": hint}
