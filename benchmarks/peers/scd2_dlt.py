"""dlt's scd2 from a DuckDB table to another DuckDB file: `prepare` and `change` as in scd2_dbt.py, and `run`.

Rows go as Arrow tables with their hash computed in DuckDB, which is its fastest way.
"""

import sys
from pathlib import Path

import duckdb

what, folder, file = sys.argv[1:]
Path(folder).mkdir(parents=True, exist_ok=True)
con = duckdb.connect(f"{folder}/source.duckdb")
if what == "prepare":
    con.execute(f"CREATE TABLE customers AS FROM '{file}'")
elif what == "change":
    con.execute(f"DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM '{file}')")
    con.execute(f"INSERT INTO customers BY NAME SELECT * EXCLUDE (op) FROM '{file}' WHERE op = 'U'")
else:
    import dlt

    @dlt.resource(
        name="dim_customer",
        write_disposition={"disposition": "merge", "strategy": "scd2", "row_version_column_name": "row_hash"},
    )
    def customers():
        yield from con.execute("SELECT *, md5(c::VARCHAR) AS row_hash FROM customers c").to_arrow_reader(100_000)

    pipeline = dlt.pipeline(
        "crm", destination=dlt.destinations.duckdb(f"{folder}/lake.duckdb"), dataset_name="crm", pipelines_dir=folder
    )
    pipeline.run(customers())
