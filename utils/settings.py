"""Settings: one typed, frozen object, and for each value where it came from.

Order: command line, environment, `.env`, `starberg.toml` (`[env.NAME]` before the top level), default. In the toml file
a setting is its environment name in lower case without `STARBERG_`. Secrets come from the environment or `.env`, as
NAME or as a file named by NAME_FILE, never from the toml file.

A relative path starts where it was written: the working directory for command line and environment, the project folder
for `.env`, `starberg.toml` and the default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, PrivateAttr, SecretStr
from pydantic import ValidationError as Invalid

from starberg.utils.errors import UsageError
from starberg.utils.secrets import MASK, looks_secret, mask_passwords, passwords_in
from starberg.utils.settings_sources import (
    PROJECT_FILE,
    Found,
    Layer,
    ProjectFile,
    Variables,
    find_project,
    first,
    read_dotenv,
)


def _server(url: str) -> str:
    """Check the address of a service; it is shown in messages, so it may hold no password."""
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an address such as http://host:port, without user or password")
    return url.rstrip("/")


def _host(name: str) -> str:
    """Check the name or IP address of a machine."""
    if any(sign in name for sign in "/@? ") or name.count(":") == 1:
        raise ValueError("must be the name or IP address of a machine; the port is a setting of its own")
    return name


def _name(name: str) -> str:
    """Check the name of something made in another program, which becomes part of paths and SQL."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", name):
        raise ValueError("must be a letter, then letters, digits, _ or -")
    return name


def _lake(place: str) -> str:
    if "://" in place and not (place.startswith("s3://") and urlsplit(place).netloc):
        raise ValueError("must be a folder or s3://bucket/prefix")
    return place.rstrip("/") or "/"


def _level(name: Any) -> Any:
    return {"warn": "warning", "critical": "error", "fatal": "error"}.get(str(name).lower(), str(name).lower())


Server = Annotated[str, AfterValidator(_server)]
Host = Annotated[str, AfterValidator(_host)]
Name = Annotated[str, AfterValidator(_name)]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]
EngineKind = Literal["duckdb", "spark"]
CatalogKind = Literal["sqlite", "postgresql", "nessie", "rest"]


@dataclass(frozen=True)
class Shown:
    """One line of `starberg config`: secrets masked, `value` None where nothing is set."""

    name: str
    value: str | None
    origin: str


class Settings(BaseModel):
    """All settings. `environment` is what `${NAME}` means in declarations; `secret(name)` finds a source's secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field("", description="Environment: `[env.NAME]` of starberg.toml")
    home: Path = Field(Path(".starberg"), description="Folder of the embedded lake, catalog and locks")
    lake: Annotated[str, AfterValidator(_lake)] = Field("", description="Folder or s3://bucket/prefix of all files")
    catalog: CatalogKind = Field("sqlite", description="Kind of catalog")
    memory_limit: str = Field("", description="DuckDB's memory, such as 2GiB", pattern=r"^(\d+(\.\d+)?\s*[KMGT]i?B)?$")
    threads: int | None = Field(None, ge=1, description="DuckDB's threads")
    engine: EngineKind = Field("duckdb", description="What builds tables: duckdb, or spark for more than one machine")
    spark_master: str = Field("local[*]", description="Where Spark works: local[*] or a cluster's address")
    spark_from: ByteSize = Field(
        ByteSize(1024**3),
        ge=0,
        description="What reads fewer bytes of Parquet than this is built by DuckDB all the same",
    )
    spark_jars: str = Field("", description="Jars of Iceberg for Spark; without any it fetches them from Maven Central")
    minio_endpoint: Server = Field("", description="S3 server; none is AWS itself")
    minio_access_key: SecretStr | None = Field(None, description="S3 access key; without it the AWS chain")
    minio_secret_key: SecretStr | None = Field(None, description="S3 secret key")
    minio_region: str = Field("", description="S3 region; without it the AWS chain")
    nessie_uri: Server = Field("", description="Nessie server")
    nessie_token: SecretStr | None = Field(None, description="Bearer token for Nessie")
    nessie_oauth2_client_id: str = Field("", description="OAuth2 client for Nessie")
    nessie_oauth2_client_secret: SecretStr | None = Field(None, description="OAuth2 client secret")
    nessie_oauth2_token_url: Server = Field("", description="OAuth2 token endpoint")
    iceberg_rest_uri: Server = Field("", description="Iceberg REST catalog")
    iceberg_rest_token: SecretStr | None = Field(None, description="Bearer token for the REST catalog")
    iceberg_rest_warehouse: str = Field("", description="Warehouse name at the REST catalog")
    warehouse_database_url: SecretStr | None = Field(None, description="PostgreSQL of the catalog, as a URL")
    warehouse_db_host: str = Field("", description="PostgreSQL of the catalog, in parts: host")
    warehouse_db_port: int = Field(5432, ge=1, le=65535, description="port")
    warehouse_db_name: str = Field("warehouse", description="database")
    warehouse_db_user: str = Field("postgres", description="user")
    warehouse_db_password: SecretStr | None = Field(None, description="password")
    warehouse_db_sslmode: str = Field(
        "",
        description="libpq's sslmode; without it a server of another machine proves itself by its certificate",
        pattern="^(disable|allow|prefer|require|verify-ca|verify-full)?$",
    )
    dremio_host: Host = Field("", description="Dremio")
    dremio_port: int = Field(32010, ge=1, le=65535, description="Dremio's port for Flight SQL")
    dremio_rest_port: int = Field(9047, ge=1, le=65535, description="Dremio's port for its REST API")
    dremio_user: str = Field("", description="Dremio's user")
    dremio_password: SecretStr | None = Field(None, description="Dremio's password")
    dremio_token: SecretStr | None = Field(None, description="Personal access token for Dremio, instead of both")
    dremio_tls: bool | None = Field(None, description="TLS to Dremio; without it: unless Dremio is on this machine")
    dremio_ca: Path | None = Field(None, description="PEM file with the authority that signed Dremio's certificate")
    dremio_source: Name = Field("starberg", description="Name of the Nessie source in Dremio")
    dremio_space: Name = Field("starberg_views", description="Space in Dremio for views and functions")
    dremio_nessie_uri: Server = Field("", description="Nessie as Dremio reaches it, if not as NESSIE_URI")
    dremio_nessie_token: SecretStr | None = Field(None, description="Bearer token of Dremio's for Nessie")
    dremio_minio_endpoint: Server = Field("", description="S3 server as Dremio reaches it, if not as MINIO_ENDPOINT")
    dremio_minio_access_key: SecretStr | None = Field(None, description="Dremio's own S3 access key, which only reads")
    dremio_minio_secret_key: SecretStr | None = Field(None, description="Dremio's own S3 secret key")
    trino_host: Host = Field("", description="Trino")
    trino_port: int = Field(8080, ge=1, le=65535, description="Trino's port")
    trino_user: str = Field("starberg", description="Trino's user")
    trino_password: SecretStr | None = Field(None, description="Trino's password")
    trino_token: SecretStr | None = Field(None, description="Bearer token (JWT) for Trino, instead of a password")
    trino_tls: bool | None = Field(None, description="TLS to Trino; without it: unless Trino is on this machine")
    trino_ca: Path | None = Field(None, description="PEM file with the authority that signed Trino's certificate")
    trino_catalog: Name = Field("iceberg", description="Trino's catalog that reads this lake")
    schedules: bool = Field(True, description="Whether `starberg schedule` runs anything")
    log_level: Level = Field("info", description="debug, info, warning or error")
    etl_debug: bool = Field(False, description="Same as --debug")

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _variables: Variables = PrivateAttr(default_factory=lambda: Variables(()))
    _project: Path | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, project: Path | None, overrides: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
        """Read all sources; nothing else in the product looks at the environment.

        `project` is a folder with a `starberg.toml`; None looks for one from the working directory upward.
        `overrides` (the command line) and `environ` are by environment name. Raises UsageError or DeclarationError.
        """
        if project is not None and not (project / PROJECT_FILE).is_file():
            raise UsageError(f"no {PROJECT_FILE} in {project}", hint="An empty one is enough to make it a project")
        project = project or find_project(Path.cwd())
        _refuse_typos(overrides, environ)
        dotenv = read_dotenv(project or Path())
        env_layers = [Layer("environment", environ, files=True), dotenv]
        layers = [Layer("command line", overrides), *env_layers]
        env = first(layers, "STARBERG_ENV")
        toml_settings, toml_variables = _project_layers(project, str(env.value) if env else "")
        layers += toml_settings
        found = {name: value for name in cls.model_fields if (value := first(layers, variable(name)))}
        _derive(found, project or Path())
        settings = cls._checked(found)
        settings._origins.update({name: value.origin for name, value in found.items()})
        settings._variables = Variables([*env_layers, *toml_variables])
        settings._project = project
        settings._note_secrets()
        return settings

    @classmethod
    def _checked(cls, found: Mapping[str, Found]) -> Settings:
        try:
            return cls(**{name: value.value for name, value in found.items()})
        except Invalid as error:
            mistake = error.errors(include_url=False, include_input=False)[0]  # the input may be a secret
            name = str(mistake["loc"][0])
            reason = mistake["msg"].removeprefix("Value error, ")
            raise UsageError(f"{found[name].where}: {reason}") from None

    @property
    def project(self) -> Path | None:
        """The folder that holds `starberg.toml`, if there is one."""
        return self._project

    @property
    def environment(self) -> Mapping[str, str]:
        """All variables: environment, `.env`, `[variables]` of starberg.toml; NAME_FILE stands for NAME."""
        return self._variables

    def secret(self, name: str) -> SecretStr | None:
        """Return a secret from the environment or `.env`, as `name` or as the file `name`_FILE names."""
        found = self._variables.find(name)
        if found is None:
            return None
        if found.origin.startswith(PROJECT_FILE):
            raise UsageError(f"{name} is a secret and stands in {found.origin}", hint="Set it in the environment")
        self._variables.secrets.add(str(found.value))
        return SecretStr(str(found.value))

    def secret_values(self) -> Collection[str]:
        """Return all secrets known so far, for the redaction of logs; it grows with each `secret(name)`."""
        return frozenset(self._variables.secrets)

    def hide(self, address: str) -> None:
        """Count the passwords of an address among the secrets."""
        self._variables.secrets.update(passwords_in(address))

    def _note_secrets(self) -> None:
        known = self._variables.secrets
        for field in type(self).model_fields:
            value = getattr(self, field)
            if isinstance(value, SecretStr):
                secret = value.get_secret_value()
                known.update(passwords_in(secret) if field == _URL else [secret])
        for layer in self._variables.layers:
            for name, text in layer.values.items():
                known.update([text] if looks_secret(name) else passwords_in(text))

    def shown(self) -> list[Shown]:
        """Return every setting, then the variables of `.env` and starberg.toml, secrets masked."""
        lines = [
            Shown(variable(name), _display(name, getattr(self, name)), self._origins.get(name, "default"))
            for name in type(self).model_fields
        ]
        known = {line.name for line in lines}
        in_files = {name for layer in self._variables.layers if layer.origin != "environment" for name in layer.names()}
        for name in sorted(in_files - known):
            found = self._variables.find(name)
            assert found is not None
            # Of a variable from elsewhere nobody knows whether it is a secret.
            public = found.origin.startswith(PROJECT_FILE)
            lines.append(Shown(name, str(found.value) if public else MASK, found.origin))
        return lines


_URL = "warehouse_database_url"  # the one secret of which all but the password may be seen
_OWN = (
    "env",
    "home",
    "lake",
    "catalog",
    "memory_limit",
    "threads",
    "engine",
    "schedules",
    "spark_from",
    "spark_jars",
    "spark_master",
)


def variable(field: str) -> str:
    """Return a setting's name in the environment.

    >>> variable("home"), variable("nessie_uri")
    ('STARBERG_HOME', 'NESSIE_URI')
    """
    return f"STARBERG_{field}".upper() if field in _OWN else field.upper()


def _project_layers(project: Path | None, env: str) -> tuple[list[Layer], list[Layer]]:
    if project is None:
        if env:
            raise UsageError(f"environment {env} needs a {PROJECT_FILE} with [env.{env}]; none was found")
        return [], []
    keys = {field: variable(field) for field in Settings.model_fields if field != "env"}
    return ProjectFile.read(project, keys).layers(env)


def _derive(found: dict[str, Found], project: Path) -> None:
    """Fill in what follows from other settings: places under the home, the catalog's kind and its PostgreSQL."""
    home = found.get("home") or Found(".starberg", "default", "STARBERG_HOME", project)
    found["home"] = _placed(home)
    lake = found.get("lake") or Found(str(found["home"].value / "lake"), "default", "STARBERG_LAKE")
    found["lake"] = Found(str(lake.value if "://" in str(lake.value) else _placed(lake).value), lake.origin, lake.where)
    for field in ("dremio_ca", "trino_ca"):
        if field in found:
            found[field] = _placed(found[field])
    if "warehouse_database_url" not in found and "warehouse_db_host" in found:
        found["warehouse_database_url"] = _database_url(found)
    implied = {"nessie_uri": "nessie", "warehouse_database_url": "postgresql", "iceberg_rest_uri": "rest"}
    for field, kind in implied.items():
        if field in found and "catalog" not in found:
            found["catalog"] = Found(kind, f"{variable(field)} is set", "STARBERG_CATALOG")
    for field, kind in implied.items():
        if "catalog" in found and found["catalog"].value == kind and field not in found:
            raise UsageError(f"the {kind} catalog needs {variable(field)}, which is not set")


def _placed(found: Found) -> Found:
    path = found.folder / Path(str(found.value)).expanduser()
    return Found(path, found.origin, found.where)


def _database_url(found: Mapping[str, Found]) -> Found:
    host, port, name, user, password, mode = (
        str(found[field].value) if field in found else str(Settings.model_fields[field].default or "")
        for field in (f"warehouse_db_{part}" for part in ("host", "port", "name", "user", "password", "sslmode"))
    )
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    origin = f"WAREHOUSE_DB_HOST is set ({found['warehouse_db_host'].origin})"
    query = f"?sslmode={quote(mode, safe='')}" if mode else ""
    return Found(f"postgresql://{login}@{host}:{port}/{quote(name, safe='')}{query}", origin, "WAREHOUSE_DB_HOST")


def _display(field: str, value: Any) -> str | None:
    if isinstance(value, SecretStr):
        return mask_passwords(value.get_secret_value()) if field == _URL else MASK
    return None if value is None or value == "" else str(value)


def _refuse_typos(*given: Iterable[str]) -> None:
    """Raise for a name that is nearly a setting's: it would be ignored in silence."""
    known = [variable(field) for field in Settings.model_fields]
    for name in (name for names in given for name in names if name.startswith("STARBERG_")):
        plain = name.removesuffix("_FILE")
        near = difflib.get_close_matches(plain, [own for own in known if own.startswith("STARBERG_")], cutoff=0.85)
        if near and plain not in known:
            raise UsageError(f"{name} is set, but no setting of starberg", hint=f"Did you mean {near[0]}?")
