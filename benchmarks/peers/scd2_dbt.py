"""A dbt project with one snapshot: `python scd2_dbt.py prepare FOLDER CUSTOMERS.parquet` writes it with its source.

`python scd2_dbt.py change FOLDER CHANGES.parquet` is what the application does to the source; then `dbt snapshot`.
"""

import sys
from pathlib import Path

import duckdb

FILES = {
    "dbt_project.yml": "name: crm\nversion: '1.0'\nprofile: crm\nsnapshot-paths: [snapshots]\nflags: "
    "{send_anonymous_usage_stats: false}\n",
    "profiles.yml": "crm:\n  target: dev\n  outputs:\n    dev: {type: duckdb, path: crm.duckdb, threads: 2}\n",
    "snapshots/dim_customer.yml": "snapshots:\n  - name: dim_customer\n    relation: source('app', 'customers')\n"
    "    config:\n      unique_key: customer_id\n      strategy: timestamp\n      updated_at: updated_at\n"
    "      hard_deletes: invalidate\n",
    "snapshots/app.yml": "sources:\n  - name: app\n    schema: main\n    tables:\n      - name: customers\n",
}


def source(folder):
    return duckdb.connect(f"{folder}/crm.duckdb")


def change(con, changes):
    """Apply a change set to the source's own table."""
    con.execute(f"DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM '{changes}')")
    con.execute(f"INSERT INTO customers BY NAME SELECT * EXCLUDE (op) FROM '{changes}' WHERE op = 'U'")


what, folder, file = sys.argv[1:]
if what == "prepare":
    for name, text in FILES.items():
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_text(text)
    source(folder).execute(f"CREATE TABLE customers AS FROM '{file}'")
else:
    change(source(folder), file)
