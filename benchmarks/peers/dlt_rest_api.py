"""Reads the catalogue with dlt's rest_api source into Parquet files in a folder.

    python dlt_rest_api.py URL FOLDER one|parallel FIRST_YEAR

`one` follows the list without filter page by page, as the documentation shows. `parallel` declares one resource for
each of eight ranges of release dates (a list with a filter shows 10,000 games at most), and lets dlt extract them in
eight threads. Nested lists stay JSON columns: as tables of their own, dlt's default, they take longer.
"""

import sys
from typing import Any

import dlt
from dlt.sources.rest_api import rest_api_source

MEMBERS = ["platforms", "stores", "genres", "tags"]


def spans(first: str) -> list[str]:
    """Eight ranges of release dates of about as many games each: the sample's games lie between 2015 and 2027."""
    starts = [f"{first}-01-01", "2017-07-01", "2019-03-01", "2020-10-01", "2022-04-01", "2023-08-01", "2025-01-01"]
    starts.append("2026-01-01")
    ends = [*starts[1:], "2199-12-31"]
    return [f"{start},{end}" for start, end in zip(starts, ends, strict=True)]


def resource(name: str, path: str, **params: str) -> dict[str, Any]:
    return {
        "name": name,
        "endpoint": {"path": path, "data_selector": "results", "params": {"page_size": "40", **params}},
    }


def main(url: str, folder: str, how: str, first: str) -> None:
    if how == "one":
        games = [resource("games", "games")]
    else:
        games = [resource(f"games_{n}", "games", dates=span) for n, span in enumerate(spans(first))]
    config = {
        "client": {
            "base_url": url,
            "auth": {"type": "api_key", "name": "key", "api_key": "sample-key", "location": "query"},
            "paginator": {"type": "json_link", "next_url_path": "next"},
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "append"},
        "resources": [*games, *(resource(name, name) for name in MEMBERS)],
    }
    source = rest_api_source(config, name="rawg", max_table_nesting=0, parallelized=how == "parallel")
    pipeline = dlt.pipeline("games", destination=dlt.destinations.filesystem(folder), dataset_name="games")
    pipeline.run(source, loader_file_format="parquet")
    counts = pipeline.last_trace.last_normalize_info.row_counts
    print(sum(rows for table, rows in counts.items() if table.startswith("games")))


main(*sys.argv[1:])
