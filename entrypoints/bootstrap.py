"""The one place where settings become stores, catalogs, engines and warehouses."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import starberg
from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.lake import Lake
from starberg.etl.project import load_warehouses
from starberg.storage.branches import Catalog
from starberg.storage.namespaces import NamespacedCatalog
from starberg.storage.object_store import ObjectStore
from starberg.utils.clock import Clock
from starberg.utils.errors import UsageError
from starberg.utils.settings import Settings

if TYPE_CHECKING:
    from starberg.engines.base import Engine
    from starberg.engines.clients import Login, QueryClient
    from starberg.engines.spark.engine import SparkEngine
    from starberg.storage.json_service import OAuth2
    from starberg.storage.object_store import S3Access

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
    variables = ChainMap(dict(environment or {}), settings.environment)  # type: ignore[arg-type]
    warehouses = load_warehouses(warehouse_folders(settings), variables)
    store, catalog = wrap(store, open_catalog(settings, store))
    catalog = NamespacedCatalog(catalog, lambda: warehouses.namespaces)
    return Lake(
        store=store,
        catalog=catalog,
        warehouses=warehouses,
        open_engine=partial(_open_engine, settings, store),
        secret_of=partial(_secret, settings, environment or {}),
        clock=clock,
        home=settings.home,
        project=settings.project,
        reopen=lambda variables: open_lake(settings, clock=clock, environment=variables, wrap=wrap),
        open_client=partial(open_client, settings, store),
        computing=partial(_computing, settings, store),
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


def open_client(settings: Settings, store: ObjectStore, engine: str) -> QueryClient:
    """Return the client of another engine that answers queries; UsageError says which setting it lacks."""
    if engine == "dremio":
        from starberg.engines.dremio import DremioClient

        return DremioClient(dremio_login(settings, settings.dremio_port), settings.dremio_source)
    if engine == "trino":
        from starberg.engines.trino import TrinoClient

        return TrinoClient(_login(settings, "Trino", settings.trino_port), settings.trino_catalog)
    if engine == "spark":
        from starberg.engines.spark.client import SparkClient

        return SparkClient(_spark(settings, store, _open_engine(settings, store)))
    raise UsageError(f"there is no engine {engine}", hint="There are duckdb, dremio, trino and spark.")


def dremio_setup(settings: Settings, lake: Lake, warehouse: str | None, *, force: bool = False) -> list[dict[str, Any]]:
    """Set up Dremio as the settings say; UsageError if the lake is not one that Dremio can read."""
    from starberg.engines.dremio_rest import DremioRest
    from starberg.entrypoints.engine_setup import DremioPlan, setup_dremio

    plan = DremioPlan(_dremio_sources(settings), settings.dremio_space, force)
    rest = DremioRest(dremio_login(settings, settings.dremio_rest_port), clock=lake.clock)
    client = lake.open_client("dremio")
    try:
        return setup_dremio(lake, rest, client, plan, warehouse)
    finally:
        client.close()
        rest.close()


def trino_setup(settings: Settings, lake: Lake, warehouse: str | None) -> list[dict[str, Any]]:
    """Set up Trino as the settings say; its catalogs are files of its own, see docs/engines.md."""
    from starberg.entrypoints.engine_setup import setup_trino

    client = lake.open_client("trino")
    try:
        return setup_trino(lake, client, settings.trino_catalog, warehouse)
    finally:
        client.close()


def _dremio_sources(settings: Settings) -> list[dict[str, Any]]:
    from starberg.engines.dremio_sources import Storage, files_source, nessie_source

    if settings.catalog != "nessie" or not settings.lake.startswith("s3://"):
        hint = "Set NESSIE_URI, and STARBERG_LAKE=s3://bucket/prefix."
        raise UsageError("Dremio reads lakes on Nessie and an object store, which this one is not", hint=hint)
    if settings.minio_endpoint and not settings.dremio_minio_secret_key:
        hint = "Set DREMIO_MINIO_ACCESS_KEY and DREMIO_MINIO_SECRET_KEY."
        raise UsageError("no user of Dremio's own is set for the object store", hint=hint)
    storage = Storage(
        settings.lake,
        settings.dremio_minio_endpoint or settings.minio_endpoint,
        settings.dremio_minio_access_key,
        settings.dremio_minio_secret_key,
    )
    uri, name = settings.dremio_nessie_uri or settings.nessie_uri, settings.dremio_source
    return [
        nessie_source(name, uri, settings.dremio_nessie_token, storage),
        files_source(f"{name}_files", storage),
    ]


def dremio_login(settings: Settings, port: int) -> Login:
    """Return where Dremio is and who asks; UsageError if that is not set."""
    login = _login(settings, "Dremio", port)
    if not login.token and not (login.user and login.password):
        raise UsageError("no login for Dremio is set", hint="Set DREMIO_USER and DREMIO_PASSWORD, or DREMIO_TOKEN.")
    return login


def _login(settings: Settings, what: str, port: int) -> Login:
    """Return a login by the settings that begin with the server's name."""
    from starberg.engines.clients import Login

    names = ("host", "user", "password", "token", "tls", "ca")
    found: dict[str, Any] = {name: getattr(settings, f"{what.lower()}_{name}") for name in names}
    if not found["host"]:
        raise UsageError(f"no {what} is set", hint=f"Set {what.upper()}_HOST.")
    return Login(what, port=port, **found)


def warehouse_folders(settings: Settings) -> list[Path]:
    """Return the folders of declarations: the shipped ones, then the project's own."""
    folders = [Path(starberg.__file__).parent / "warehouses"]
    if settings.project and (settings.project / "warehouses").is_dir():
        folders.append(settings.project / "warehouses")
    return list(dict.fromkeys(folder.resolve() for folder in folders))


def _open_engine(settings: Settings, store: ObjectStore) -> DuckDBEngine:
    return DuckDBEngine(s3=_access(store), memory_limit=settings.memory_limit, threads=settings.threads)


def _computing(settings: Settings, store: ObjectStore, local: DuckDBEngine) -> Engine:
    return local if settings.engine == "duckdb" else _spark(settings, store, local, settings.spark_from)


def _spark(settings: Settings, store: ObjectStore, local: DuckDBEngine, from_bytes: int = 0) -> SparkEngine:
    from starberg.engines.spark.engine import SparkEngine

    master, jars = settings.spark_master, settings.spark_jars
    return SparkEngine(local, master=master, jars=jars, s3=_access(store), from_bytes=from_bytes)


def _access(store: ObjectStore) -> S3Access | None:
    credentials = getattr(store, "credentials", None)
    return credentials() if credentials else None


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
