"""Reading warehouses: folders of declarations into models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

import starberg
from starberg.etl.control_tables import TABLES
from starberg.etl.declarations import NAME, Draft, read_declaration, read_text
from starberg.etl.graph import building_order
from starberg.etl.jobs import with_tables
from starberg.etl.model import QUERIED, Kind, Named, Warehouse, WarehouseFile
from starberg.etl.sql_types import COMMON, type_problem
from starberg.etl.table_rules import TableRules
from starberg.ingestion.columns import RESERVED, column_of_key
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import DeclarationError
from starberg.utils.secrets import looks_secret
from starberg.utils.yaml_lines import YamlFile

WAREHOUSE_FILE = "warehouse.yml"

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_PARTS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-?(.*))?", re.DOTALL)


def shipped_warehouses() -> Path:
    """Return the folder of the warehouses that come with starberg."""
    return (Path(starberg.__file__).parent / "warehouses").resolve()


class Warehouses(Mapping[str, Warehouse]):
    """Warehouses by name, each read when it is first asked for: a mistake in one does not stop the others."""

    def __init__(self, paths: Mapping[str, Path], environment: Mapping[str, str]) -> None:
        self._paths = paths
        self._load = cache(self._read)
        self._environment = environment

    def __getitem__(self, name: str) -> Warehouse:
        return self._load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def library(self, name: str) -> dict[str, Kind]:
        """Return the views and functions of a warehouse by the names of their files, which are not read."""
        if name not in self._paths:
            return {}
        return {file.stem: kind for kind in QUERIED for file in self._paths[name].glob(f"{kind.value}/*.sql")}

    def file(self, name: str) -> WarehouseFile:
        """Read a warehouse's warehouse.yml alone, as it is now."""
        return _sources(self._paths[name] / WAREHOUSE_FILE, self._environment)[1]

    @cached_property
    def namespaces(self) -> Mapping[str, str]:
        """Return the namespaces in the catalog of warehouses that have another one than their name.

        One that is wrong, or another warehouse's, is left out: such a warehouse cannot be read.
        """
        found: dict[str, str] = {}
        for name in self._paths:
            namespace = self._namespace(name)
            if namespace and namespace not in (*self._paths, *found.values()):
                found[name] = namespace
        return found

    def _namespace(self, name: str) -> str:
        def replace(text: str, field: Sequence[str]) -> str:
            return interpolate(text, self._environment) if tuple(field) == ("namespace",) else text

        path = self._paths[name] / WAREHOUSE_FILE
        try:
            written = read_text(path)
            return YamlFile(written, str(path), replace=replace).to(Named).namespace if "namespace" in written else ""
        except DeclarationError:
            return ""

    def _read(self, name: str) -> Warehouse:
        warehouse = load_warehouse(self._paths[name], self._environment)
        if (said := warehouse.namespace) not in ("", name, self.namespaces.get(name)):
            raise DeclarationError(f"{warehouse.path / WAREHOUSE_FILE}: namespace", f"{said} is another warehouse's")
        for table in (*warehouse.tables.values(), *warehouse.library.values()):
            for read in table.reads:
                if "." in read and table.kind is not Kind.STAGING:
                    self._check_there(table.path, *read.split(".", 1))
        return warehouse

    def _check_there(self, path: Path, warehouse: str, table: str) -> None:
        if warehouse not in self._paths:
            raise DeclarationError(
                str(path), f"reads {warehouse}.{table}: no such warehouse", hint=did_you_mean(warehouse, self._paths)
            )
        kinds = [kind for kind in Kind if kind not in QUERIED]
        tables = [file.stem for kind in kinds for file in self._paths[warehouse].glob(f"{kind.value}/*.sql")]
        if table not in (*tables, *TABLES) and not table.startswith("quarantine_"):
            raise DeclarationError(
                str(path), f"reads {warehouse}.{table}: no such table", hint=did_you_mean(table, tables)
            )


def load_warehouses(folders: Sequence[Path], environment: Mapping[str, str]) -> Warehouses:
    """Return the warehouses in some folders, by name; one is read, and its mistakes told, when it is asked for.

    `environment` is what `${NAME}` in warehouse.yml stands for. DeclarationError if two folders have the same name.
    """
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.glob(f"*/{WAREHOUSE_FILE}"))):
        home = path.parent
        if home.name in found and found[home.name].resolve() != home.resolve():
            raise DeclarationError(
                str(home), f"there is another warehouse {home.name!r} in {found[home.name]}", hint="Rename one folder."
            )
        found.setdefault(home.name, home)
    return Warehouses(dict(sorted(found.items())), environment)


def load_warehouse(path: Path, environment: Mapping[str, str]) -> Warehouse:
    """Read one warehouse's folder; DeclarationError tells the first mistake.

    What its tables read of other warehouses is not looked up.
    """
    if not NAME.match(path.name):
        raise DeclarationError(
            str(path),
            f"{path.name!r} is no name for a warehouse",
            hint="Use lower-case letters, digits and _, a letter first.",
        )
    document, declared, sources = _sources(path / WAREHOUSE_FILE, environment)
    ordered = building_order(TableRules(path.name, sources, _drafts(path)).tables())
    tables = {table.name: table for table in ordered if table.kind not in QUERIED}
    library = {table.name: table for table in ordered if table.kind in QUERIED}
    jobs = with_tables(declared.jobs, tables, document)
    _check_schedules(declared, document)
    return Warehouse(
        path.name,
        path,
        sources,
        tables,
        declared.description,
        library,
        jobs,
        declared.schedules,
        declared.alerts,
        declared.zone,
        declared.namespace,
    )


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Replace `${NAME}` and `${NAME:default}` (as Compose: also `${NAME:-default}`); `$${` stands for `${`.

    An empty variable counts as not set. ValueError(message, hint) if a variable is missing or holds a secret.
    """
    return "${".join(_VARIABLE.sub(lambda m: _value(m[1], environment), part) for part in text.split("$${"))


def _value(inside: str, environment: Mapping[str, str]) -> str:
    parts = _VARIABLE_PARTS.fullmatch(inside)
    if parts is None:
        raise ValueError(f"${{{inside}}} is no variable", "Write ${NAME} or ${NAME:default}.")
    name, default = parts.groups()
    if looks_secret(name.removesuffix("_FILE")):
        hint = f"Write `auth: {{secret: {name}}}`; secrets stay out of declarations."
        raise ValueError(f"{name} holds a secret", hint)
    value = environment.get(name) or default
    if value is None:
        raise ValueError(f"{name} is not set", f"Set {name}, or write ${{{name}:default}}.")
    return value


def _check_schedules(declared: WarehouseFile, document: YamlFile) -> None:
    for name, schedule in declared.schedules.items():
        if schedule.source and schedule.source not in declared.sources:
            hint = did_you_mean(schedule.source, declared.sources)
            raise document.error(("schedules", name, "source"), f"there is no source {schedule.source}", hint=hint)
        if name in declared.jobs:
            raise document.error(("schedules", name), "is a job's name, too", hint="Rename one.")


def _sources(path: Path, environment: Mapping[str, str]) -> tuple[YamlFile, WarehouseFile, Mapping[str, SourceSpec]]:
    def replace(text: str, field: Sequence[str]) -> str:
        if tuple(field[-2:]) == ("auth", "secret") and "${" in text:
            raise ValueError("takes the name of a setting, not its value", f"Write {text.strip('${}')}.")
        return interpolate(text, environment)

    if not path.is_file():
        raise DeclarationError(str(path), "there is no such file", hint="A warehouse is a folder with warehouse.yml.")
    document = YamlFile(read_text(path), str(path), replace=replace)
    declared = document.to(WarehouseFile)
    sources = {}
    for name, source in declared.sources.items():
        streams = {
            stream: _stream(document, ("sources", name, "streams", stream), spec)
            for stream, spec in source.streams.items()
        }
        sources[name] = source.model_copy(update={"name": name, "streams": streams})
    return document, declared, sources


def _stream(document: YamlFile, at: tuple[str, ...], stream: Stream) -> Stream:
    if not stream.key:
        raise document.error((*at, "key"), "is empty", hint="Name the columns that identify a record.")
    for name in (*stream.columns, *stream.key):
        if name.lower() in RESERVED:
            hint = f"Name it otherwise: {column_of_key(name)}: {{type: VARCHAR, path: {name}}}."
            raise document.error((*at, "columns"), f"{name!r} is the engine's own", hint=hint)
    for name in stream.columns:
        problem = type_problem(stream.column(name).type)
        if problem:
            hint = did_you_mean(stream.column(name).type.upper(), COMMON)
            raise document.error((*at, "columns", name, "type"), problem, hint=hint)
    return stream.model_copy(update={"name": at[-1]})


def _drafts(path: Path) -> dict[str, Draft]:
    """Read all SQL files of a warehouse; one outside a kind's folder, or a name used twice, is a mistake."""
    drafts: dict[str, Draft] = {}
    folders = {kind.value: kind for kind in Kind}
    for file in sorted(path.rglob("*.sql")):
        place = file.relative_to(path).parent.as_posix()
        if place not in folders:
            hint = did_you_mean(place, folders) if place != "." else f"The folder is the kind: {', '.join(folders)}."
            raise DeclarationError(str(file), f"{place}/ is no folder of tables", hint=hint)
        draft = read_declaration(file, path.name, folders[place])
        other = drafts.setdefault(draft.table.name, draft)
        if other is not draft:
            raise DeclarationError(
                str(file), f"there is another table {draft.table.name!r} in {other.table.path}", hint="Rename one file."
            )
    return drafts
