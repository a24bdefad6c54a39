"""What `starberg new` writes: a warehouse that runs, and dimensions and facts over staging tables that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from starberg.etl.declarations import NAME, Draft, read_declaration
from starberg.etl.headers import DimensionHeader
from starberg.etl.model import PREFIXES, Kind
from starberg.etl.project import WAREHOUSE_FILE, shipped_warehouses
from starberg.etl.sql_body import output_name, star_of
from starberg.utils.did_you_mean import did_you_mean
from starberg.utils.errors import UsageError
from starberg.utils.settings_sources import PROJECT_FILE, find_project

_SKELETON = Path(__file__).parent / "skeleton"


def new_warehouse(project: Path, name: str) -> list[Path]:
    """Write `warehouses/<name>/` with a REST source, its sample records and a table of each kind; return the files.

    A folder outside any project gets a starberg.toml. UsageError if the name is taken or is no name.
    """
    if not NAME.match(name):
        raise _no_name(name, "warehouse", "sales")
    home = project / "warehouses" / name
    for taken in (home, shipped_warehouses() / name):
        if taken.exists():
            raise UsageError(f"there is a warehouse {name} in {taken}", hint="Choose another name.")
    files = {home / file.relative_to(_SKELETON): _text(file, name) for file in sorted(_SKELETON.rglob("*.*"))}
    if find_project(project.resolve()) is None:
        files = {project / PROJECT_FILE: "# Settings of this project; `starberg config` lists them.\n"} | files
    return _write(files)


def new_dimension(project: Path, name: str) -> list[Path]:
    """Write `<warehouse>.<dim_table>` over the staging table that fits its name best; return the file.

    UsageError if the name is taken or is none, or the warehouse has no staging table.
    """
    home, table = _place(project, name, Kind.DIMENSION)
    source, columns = _closest_staging(home, table)
    key = _key(table, columns)
    header = f"/*\nnatural_key: {key}\n*/"
    return _write({home / "dimensions" / f"{table}.sql": _select(header, columns, source)})


def new_fact(project: Path, name: str) -> list[Path]:
    """Write `<warehouse>.<fact_table>`, as `new_dimension`; it looks up each dimension whose natural key is there."""
    home, table = _place(project, name, Kind.FACT)
    source, columns = _closest_staging(home, table)
    grain = _key(table, columns)
    lookups = [
        f"  {draft.table.surrogate_key}: {draft.table.name}({', '.join(draft.table.header.natural_key)})\n"
        for draft in _drafts(home, Kind.DIMENSION)
        if isinstance(draft.table.header, DimensionHeader)
        and draft.table.header.natural_key
        and set(draft.table.header.natural_key) <= set(columns)
        and draft.table.header.natural_key != [grain]
    ]
    keys = "keys:\n" + "".join(lookups) if lookups else ""
    header = f"/*\ngrain: {grain}\n{keys}*/"
    return _write({home / "facts" / f"{table}.sql": _select(header, columns, source)})


def _text(file: Path, name: str) -> str:
    return file.read_text(encoding="utf-8").replace("__name__", name).replace("__NAME__", name.upper())


def _write(files: Mapping[Path, str]) -> list[Path]:
    """Write files that are not there yet: none of them if one is."""
    for path in files:
        if path.exists():
            raise UsageError(f"{path} is there already", hint="Choose another name, or edit it.")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    return list(files)


def _place(project: Path, name: str, kind: Kind) -> tuple[Path, str]:
    """Return the warehouse's folder and the table's name."""
    warehouse, _, table = name.partition(".")
    home = project / "warehouses" / warehouse
    prefix = PREFIXES[kind][0]
    if not (NAME.match(warehouse) and NAME.match(table) and table.startswith(PREFIXES[kind])):
        example = f"{warehouse}.{prefix}{table}" if table else f"sales.{prefix}orders"
        raise _no_name(name, kind.value.removesuffix("s"), example.lower())
    if not (home / WAREHOUSE_FILE).is_file():
        known = [path.parent.name for path in (project / "warehouses").glob(f"*/{WAREHOUSE_FILE}")]
        hint = did_you_mean(warehouse, known) or f"Write it first: starberg new warehouse {warehouse}"
        raise UsageError(f"there is no warehouse {warehouse} in {project / 'warehouses'}", hint=hint)
    return home, table


def _no_name(name: str, what: str, example: str) -> UsageError:
    hint = f"Lower-case letters, digits and _, such as {example}."
    return UsageError(f"{name!r} is no name for a {what}", hint=hint)


def _drafts(home: Path, kind: Kind) -> list[Draft]:
    return [read_declaration(file, home.name, kind) for file in sorted((home / kind.value).glob("*.sql"))]


def _closest_staging(home: Path, table: str) -> tuple[str, list[str]]:
    """Return the staging table whose name is most like a table's, with the columns it names."""
    staging = {draft.table.name: draft for draft in _drafts(home, Kind.STAGING)}
    if not staging:
        raise UsageError(f"{home.name} has no staging table", hint="Write one first, in staging/.")
    subject = table.partition("_")[2]
    name = max(sorted(staging), key=lambda other: SequenceMatcher(None, subject, other.partition("_")[2]).ratio())
    projections = staging[name].body.projections
    columns = [output_name(projection) for projection in projections if star_of(projection) is None]
    if not columns:
        raise UsageError(f"{name} names no columns", hint="List its columns instead of *.")
    return name, columns


def _key(table: str, columns: Sequence[str]) -> str:
    """Return the column that looks like a table's key: `store_id` for dim_store, else the first."""
    subject = table.partition("_")[2]
    wanted = (f"{subject}_id", f"{subject.removesuffix('s')}_id")
    return next((column for column in columns if column in wanted), columns[0])


def _select(header: str, columns: Sequence[str], source: str) -> str:
    listed = ",\n".join(f"    {column}" for column in columns)
    return f"{header}\nselect\n{listed}\nfrom {source}\n"
