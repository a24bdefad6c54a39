"""Writes a PostgreSQL table to Parquet files in a folder with dlt's sql_database source, its fastest backend.

python dlt_postgres.py URL TABLE FOLDER
"""

import sys

import dlt
from dlt.sources.sql_database import sql_table


def main(url: str, table: str, folder: str) -> None:
    url = url.replace("postgresql://", "postgresql+psycopg2://")
    rows = sql_table(credentials=url, table=table, backend="connectorx")
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.filesystem(folder), dataset_name="bench")
    pipeline.run(rows, loader_file_format="parquet")


main(*sys.argv[1:])
