"""The one place where settings become stores, catalogs, engines and warehouses."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import starberg
from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.lake import Lake
from starberg.etl.project import load_warehouses
from starberg.storage.branches import Catalog
from starberg.storage.object_store import ObjectStore
from starberg.utils.clock import Clock
from starberg.utils.errors import UsageError
from starberg.utils.settings import Settings

if TYPE_CHECKING:
    from starberg.storage.json_service import OAuth2

Wrap = Callable[[ObjectStore, Catalog], tuple[ObjectStore, Catalog]]


def open_lake(
    settings: Settings,
    *,
    clock: Clock | None = None,
    environment: Mapping[str, str] | None = None,
    wrap: Wrap = lambda store, catalog: (store, catalog),
) -> Lake:
    """Open the lake the settings name. Nothing connects before the first use.

    `environment` overrides variables of declarations; `wrap` may put something around store and catalog (tests do).
    """
    clock = clock or Clock()
    store = open_store(settings)
    store, catalog = wrap(store, open_catalog(settings, store))
    variables = ChainMap(dict(environment or {}), settings.environment)  # type: ignore[arg-type]
    return Lake(
        store=store,
        catalog=catalog,
        warehouses=load_warehouses(warehouse_folders(settings), variables),
        open_engine=partial(_open_engine, settings, store),
        secret_of=partial(_secret, settings, environment or {}),
        clock=clock,
        home=settings.home,
        project=settings.project,
        reopen=lambda variables: open_lake(settings, clock=clock, environment=variables, wrap=wrap),
    )


def open_store(settings: Settings) -> ObjectStore:
    """Return the object store that `STARBERG_LAKE` names."""
    if not settings.lake.startswith("s3://"):
        from starberg.storage.local_store import LocalStore

        return LocalStore(Path(settings.lake))
    from starberg.storage.s3_store import S3Store

    place = urlsplit(settings.lake)
    access, secret = settings.minio_access_key, settings.minio_secret_key
    return S3Store(
        place.netloc,
        place.path,
        endpoint=settings.minio_endpoint,
        region=settings.minio_region,
        access_key=access.get_secret_value() if access else "",
        secret_key=secret.get_secret_value() if secret else "",
    )


def open_catalog(settings: Settings, store: ObjectStore) -> Catalog:
    """Return the catalog that `STARBERG_CATALOG` names; UsageError says which setting it lacks."""
    if settings.catalog in ("sqlite", "postgresql"):
        from starberg.storage.sql_catalog import SqlCatalog

        url = settings.warehouse_database_url
        if settings.catalog == "sqlite":
            return SqlCatalog(f"sqlite:///{settings.home / 'catalog.db'}")
        if url is None:
            raise UsageError("the catalog is postgresql and no database is set", hint="Set WAREHOUSE_DATABASE_URL.")
        return SqlCatalog(url.get_secret_value())
    if settings.catalog == "nessie":
        from starberg.storage.nessie_catalog import NessieCatalog

        if not settings.nessie_uri:
            raise UsageError("the catalog is nessie and no server is set", hint="Set NESSIE_URI.")
        return NessieCatalog(settings.nessie_uri, token=settings.nessie_token, oauth2=_nessie_oauth2(settings))
    from starberg.storage.rest_catalog import RestCatalog

    if not settings.iceberg_rest_uri:
        raise UsageError("the catalog is rest and no server is set", hint="Set ICEBERG_REST_URI.")
    return RestCatalog(
        settings.iceberg_rest_uri,
        store,
        warehouse=settings.iceberg_rest_warehouse,
        token=settings.iceberg_rest_token,
    )


def warehouse_folders(settings: Settings) -> list[Path]:
    """Return the folders of declarations: the shipped ones, then the project's own."""
    folders = [Path(starberg.__file__).parent / "warehouses"]
    if settings.project and (settings.project / "warehouses").is_dir():
        folders.append(settings.project / "warehouses")
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _open_engine(settings: Settings, store: ObjectStore) -> DuckDBEngine:
    credentials = getattr(store, "credentials", None)
    return DuckDBEngine(
        s3=credentials() if credentials else None, memory_limit=settings.memory_limit, threads=settings.threads
    )


def _nessie_oauth2(settings: Settings) -> OAuth2 | None:
    from starberg.storage.json_service import OAuth2

    secret = settings.nessie_oauth2_client_secret
    if secret is None:
        return None
    return OAuth2(settings.nessie_oauth2_token_url, settings.nessie_oauth2_client_id, secret)


def _secret(settings: Settings, overrides: Mapping[str, str], name: str) -> str | None:
    if name in overrides:
        return overrides[name]
    secret = settings.secret(name)
    return secret.get_secret_value() if secret else None
