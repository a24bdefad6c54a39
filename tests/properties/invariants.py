"""What must hold of any star schema, as plain SQL over published tables: each SELECT must return no row."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from starberg.engines.duckdb import DuckDBEngine
from starberg.entrypoints.lake import Lake
from starberg.etl.control_tables import TABLES
from starberg.storage.iceberg_tables import read_table
from starberg.storage.raw_chain import RawStream

SURROGATE_UNIQUE = "SELECT {key}, count(*) FROM {dim} GROUP BY {key} HAVING count(*) > 1 OR {key} IS NULL"
NATURAL_UNIQUE = "SELECT {nk}, count(*) FROM {dim} GROUP BY {nk} HAVING count(*) > 1"
UNKNOWN_MEMBER = "SELECT count(*) FROM {dim} WHERE {key} = 0 AND {nk} IS NULL HAVING count(*) <> 1"
DELETED_AND_INFERRED = "SELECT {key} FROM {dim} WHERE is_deleted AND is_inferred"
REFERENCE_EXISTS = "SELECT f.{fk}, count(*) FROM {fact} f ANTI JOIN {dim} d ON d.{key} = f.{fk} GROUP BY 1"
REFERENCE_SET = "SELECT * FROM {fact} WHERE {fk} IS NULL"
REFERENCE_RIGHT = (
    "SELECT f.{fk} FROM {fact} f JOIN {dim} d ON d.{nk} = f.{own} WHERE d.{key} <> f.{fk} AND d.{key} <> 0"
)
GRAIN_UNIQUE = "SELECT {grain}, count(*) FROM {fact} GROUP BY ALL HAVING count(*) > 1"
GRAIN_SET = "SELECT * FROM {fact} WHERE {grain_null}"
WEIGHTS = "SELECT {group} FROM {fact} GROUP BY {group} HAVING abs(sum(weight) - 1) > 1e-9"
ROWS_OF_PUBLISHED_RUNS = (
    "SELECT DISTINCT t._run_id FROM {table} t "
    "ANTI JOIN (FROM etl_runs WHERE status = 'SUCCESS') r ON r.run_id = t._run_id"
)
RUNS_ONCE = "SELECT run_id FROM etl_runs GROUP BY run_id HAVING count(*) > 1"


def broken(engine: DuckDBEngine, lake: Lake, kit: ModuleType) -> Iterator[str]:
    """Yield what is broken, with the rows that show it."""
    for name, sql in _questions(kit):
        if rows := engine.rows(sql):
            yield f"{name}: {rows[:3]}"
    yield from _unreadable(engine, lake, kit)
    yield from _unaccounted(engine, lake, kit)


def _questions(kit: ModuleType) -> Iterator[tuple[str, str]]:
    for dim, natural in kit.DIMENSIONS.items():
        names = {"dim": dim, "nk": natural, "key": _key(dim)}
        for question in (SURROGATE_UNIQUE, NATURAL_UNIQUE, UNKNOWN_MEMBER, DELETED_AND_INFERRED):
            yield dim, question.format(**names)
    for fact, grain in kit.GRAINS.items():
        null = " OR ".join(f"{column} IS NULL" for column in grain)
        yield f"{fact} grain", GRAIN_UNIQUE.format(fact=fact, grain=", ".join(grain))
        yield f"{fact} grain", GRAIN_SET.format(fact=fact, grain_null=null)
        for column, dim in kit.KEYS.get(fact, {}).items():
            names = {"fact": fact, "fk": column, "dim": dim, "nk": kit.DIMENSIONS[dim], "key": _key(dim)}
            yield f"{fact}.{column} exists", REFERENCE_EXISTS.format(**names)
            yield f"{fact}.{column} is set", REFERENCE_SET.format(**names)
            if dim != "dim_date":
                yield f"{fact}.{column} is right", REFERENCE_RIGHT.format(**names, own=f"{column[:-4]}_id")
        yield f"{fact} runs", ROWS_OF_PUBLISHED_RUNS.format(table=fact)
    for bridge, group in kit.WEIGHTED.items():
        yield f"{bridge} weights", WEIGHTS.format(fact=bridge, group=group)
    yield "etl_runs", RUNS_ONCE


def _unreadable(engine: DuckDBEngine, lake: Lake, kit: ModuleType) -> Iterator[str]:
    """Every table can be read, and has the rows its metadata says."""
    for name, location in lake.catalog.state().tables.items():
        [(rows,)] = engine.rows(f"SELECT count(*) FROM {name.split('.')[1]}")
        said = read_table(lake.store, name, location).facts()["rows"]
        if rows != said:
            yield f"{name} has {rows} rows, its metadata says {said}"
    missing = {f"{kit.NAME}.{name}" for name in TABLES} - set(lake.catalog.state().tables)
    if missing:
        yield f"control tables are missing: {missing}"


def _unaccounted(engine: DuckDBEngine, lake: Lake, kit: ModuleType) -> Iterator[str]:
    """Rows in = changed + unchanged + duplicates; what is published is the last load of each chain."""
    marks = {
        (source, stream): seq
        for source, stream, seq in engine.rows("SELECT source, stream, load_seq FROM high_water_mark")
    }
    for source in lake.warehouses[kit.NAME].sources.values():
        for stream in source.streams:
            loads = RawStream(lake.store, kit.NAME, source.name, stream).loads()
            for load in loads:
                if load.fetched != load.changed + load.unchanged + load.duplicates:
                    yield f"load {load.seq} of {stream}: {load}"
                if load.rows != load.changed + load.deleted:
                    yield f"load {load.seq} of {stream} has {load.rows} rows: {load}"
            last = loads[-1].seq if loads else None
            if marks.get((source.name, stream)) != last:
                yield f"{stream}: published {marks.get((source.name, stream))} of {last} loads"


def _key(dim: str) -> str:
    return f"{dim.removeprefix('dim_')}_key"
