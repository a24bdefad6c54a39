"""Writes a PostgreSQL table to a Parquet file (zstd) with DuckDB's own scanner, as its documentation shows.

python duckdb_postgres.py EXTENSION URL TABLE FILE
"""

import sys

import duckdb


def main(extension: str, url: str, table: str, file: str) -> None:
    connection = duckdb.connect()
    connection.load_extension(extension)
    connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
    connection.execute(f"COPY source.{table} TO '{file}' (FORMAT parquet, COMPRESSION zstd)")


main(*sys.argv[1:])
