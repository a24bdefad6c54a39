"""A SQLMesh project with one model of kind SCD_TYPE_2_BY_TIME: `prepare` and `change` as in scd2_dbt.py.

Then `sqlmesh plan --auto-apply` the first time, `sqlmesh run --ignore-cron` after changes.
"""

import sys
from pathlib import Path

import duckdb

FILES = {
    "config.yaml": "gateways:\n  local:\n    connection: {type: duckdb, database: crm.duckdb}\n"
    "default_gateway: local\nmodel_defaults: {dialect: duckdb, start: 2026-01-01}\n",
    "external_models.yaml": "- name: crm.main.customers\n",
    "models/dim_customer.sql": """MODEL (
  name main_dim.dim_customer,
  kind SCD_TYPE_2_BY_TIME (unique_key customer_id, updated_at_name updated_at, invalidate_hard_deletes true),
  cron '@daily'
);
SELECT customer_id, first_name, last_name, email, phone, street, city, postal_code, country, segment, credit_limit,
  updated_at
FROM crm.main.customers
""",
}

what, folder, file = sys.argv[1:]
con = duckdb.connect(f"{folder}/crm.duckdb") if what == "change" else None
if what == "prepare":
    for name, text in FILES.items():
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_text(text)
    duckdb.connect(f"{folder}/crm.duckdb").execute(f"CREATE TABLE customers AS FROM '{file}'")
else:
    con.execute(f"DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM '{file}')")
    con.execute(f"INSERT INTO customers BY NAME SELECT * EXCLUDE (op) FROM '{file}' WHERE op = 'U'")
