"""Spark: the engine for more than one machine.

DuckDB is its front: it binds every statement over views of the same tables, so that names, types and mistakes are
those of DuckDB's SQL; `sql` says the same to Spark, which computes; every column is cast to the type DuckDB gave it.
Temporary tables are Parquet files that both read, and lake tables are read by their metadata files. What is one
machine's work anyway (typing raw loads, control tables) is DuckDB's: `SparkEngine.local`.
"""
