"""`python -m benchmarks.postgres [--rows N] [--quick]`: a table of a real PostgreSQL into the raw zone, beside others.

The table is TPC-H's lineitem in columns and kinds of values, its rows drawn by PostgreSQL itself. Measured are its
first load, a full reading when nothing changed, and one after a few rows did; DuckDB's scanner writing the same table
to Parquet, in turns with our first load; and dlt in an environment of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.environments import PEERS, compile_ourselves, peer_python
from benchmarks.measure import Figures, ProcessFailed, clean_environment, measured
from benchmarks.report import MIB, Claim, claims_table, machine, table
from starberg.samples.embedded_postgres import EmbeddedPostgres

RESULTS = Path(__file__).with_name("RESULTS-postgres.md")
FULL_SIZE = 6_000_000
CHANGED = 1000
_REPEATS = 5
_FLOOR = "DuckDB's scanner"
_CREATE = """
CREATE TABLE lineitem (
  l_orderkey bigint, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int,
  l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
  l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL,
  l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
  l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL)"""
_FILL = """
INSERT INTO lineitem SELECT n / 4, (random() * 200000)::int, (random() * 10000)::int, n % 4 + 1, (random() * 50)::int,
  round((random() * 100000)::numeric, 2), round((random() * 0.1)::numeric, 2), round((random() * 0.08)::numeric, 2),
  (array['A', 'N', 'R'])[1 + n % 3], (array['O', 'F'])[1 + n % 2], day, day + 30, day + (random() * 30)::int,
  (array['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + n % 4],
  (array['AIR', 'MAIL', 'SHIP', 'TRUCK', 'RAIL'])[1 + n % 5], substr(md5(n::text) || md5((n + 1)::text), 1, 10 + n % 34)
FROM generate_series(0, {rows} - 1) n, LATERAL (SELECT date '1992-01-01' + (n::bigint * 7919 % 2500)::int AS day) d"""
_WAREHOUSE = {
    "sources": {
        "shop": {
            "kind": "postgres",
            "connection": {"url": "SHOP_URL"},
            "streams": {"lineitem": {"table": "public.lineitem", "key": ["l_orderkey", "l_linenumber"]}},
        }
    }
}


@dataclass
class Report:
    """What was measured, by name, in order; the runs of a name are alike."""

    rows: int
    runs: dict[str, list[Figures]] = field(default_factory=dict)

    def add(self, name: str, figures: Figures) -> None:
        """Keep a run and say so."""
        self.runs.setdefault(name, []).append(figures)
        said = f"  {name}: {figures.wall_s:.1f} s, {figures.cpu_s:.1f} s of CPU, {figures.peak_rss / MIB:.0f} MiB"
        print(said, file=sys.stderr, flush=True)

    def quickest(self, name: str) -> Figures:
        """Return the run that took the least time: much of it is the server's, whose CPU is not counted here."""
        return min(self.runs[name], key=lambda run: run.wall_s)


def run(rows: int, folder: Path, *, quick: bool) -> Report:
    """Measure everything; quick: without dlt."""
    report = Report(rows)
    if not quick:
        compile_ourselves()
    with EmbeddedPostgres(folder / "server", {"fsync": "off", "max_wal_size": "8GB"}) as server:
        _fill(server, rows)
        for number in range(_REPEATS):
            report.add(_FLOOR, _by_duckdb(server, folder))
            project = _project(folder / f"lake-{number}")
            report.add("first load", _ingest(server, project))
            if number < _REPEATS - 1:
                shutil.rmtree(project)
        report.add("full reading, nothing changed", _ingest(server, project))
        _execute(server, f"UPDATE lineitem SET l_comment = 'changed' WHERE l_orderkey < {CHANGED // 4}")
        report.add(f"full reading, {CHANGED} rows changed", _ingest(server, project))
        report.add("full reading, compared with the index", _ingest(server, project))
        if not quick:
            command = [peer_python("dlt_postgres"), str(PEERS / "dlt_postgres.py"), server.url(), "lineitem"]
            quiet = clean_environment(RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=str(folder / "dlt"))
            report.add("dlt", measured([*command, str(folder / "dlt-lake")], quiet, folder))
    return report


def claims(report: Report) -> Iterable[Claim]:
    """Return what the measures say."""
    ours, full = report.quickest("first load"), report.rows >= FULL_SIZE
    pairs = list(zip(report.runs[_FLOOR], report.runs["first load"], strict=True))
    speed = median(theirs.wall_s / own.wall_s for theirs, own in pairs)  # they ran in turns, in the same minute
    figures = ", ".join(f"{own.wall_s:.1f} s : {theirs.wall_s:.1f} s" for theirs, own in pairs)
    yield Claim(
        f"first load: speed of {_FLOOR}, median of {_REPEATS} pairs",
        f"{speed:.2f} x",
        figures,
        ">= 0.7 x",
        speed >= 0.7 if full else None,
    )
    peak = max(run.peak_rss for run in report.runs["first load"])
    met = peak <= 2**30 if full else None
    yield Claim(
        "peak memory of the first load : 1 GiB", f"{peak / 2**30:.0%}", f"{peak / MIB:.0f} MiB", "<= 1 GiB", met
    )
    for name in report.runs:
        if name not in ("first load", _FLOOR):
            other = report.quickest(name)
            figures = f"{other.wall_s:.1f} s : {ours.wall_s:.1f} s, {other.peak_rss / MIB:.0f} MiB"
            yield Claim(f"{name} : first load", f"{other.wall_s / ours.wall_s:.2f} x", figures)


def page(report: Report, found: list[Claim], load_before: float) -> str:
    """Return the page for people."""
    processes = [["process", "wall s", "CPU s", "peak MiB"]]
    for name, runs in report.runs.items():
        for figures in runs:
            cells = [f"{figures.wall_s:.1f}", f"{figures.cpu_s:.1f}", f"{figures.peak_rss / MIB:.0f}"]
            processes.append([name, *cells])
    introduction = (
        "Written by `make bench`. Seconds hold for this machine and hour; compare ratios. The server shares the "
        "machine, and its CPU is not counted. DuckDB's scanner is a floor: it checks, compares, keeps and records "
        "nothing."
    )
    parts = [
        "# What was measured of PostgreSQL",
        introduction,
        machine(load_before),
        f"## Ratios, {report.rows:,} rows of 16 columns",
        claims_table(found),
        "## Each process, from its start to its end",
        table(processes),
    ]
    return "\n\n".join(parts) + "\n"


def _fill(server: EmbeddedPostgres, rows: int) -> None:
    key = "ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber)"
    _execute(server, _CREATE, _FILL.format(rows=rows), key, "VACUUM ANALYZE lineitem", "CHECKPOINT")


def _execute(server: EmbeddedPostgres, *statements: str) -> None:
    connection = server.connect()
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def _by_duckdb(server: EmbeddedPostgres, folder: Path) -> Figures:
    import duckdb

    package = importlib.util.find_spec("duckdb_extension_postgres_scanner")
    assert package is not None
    assert package.origin is not None
    extension = Path(package.origin).parent / f"extensions/v{duckdb.__version__}/postgres_scanner.duckdb_extension"
    file = folder / "floor.parquet"
    command = [sys.executable, str(PEERS / "duckdb_postgres.py"), str(extension), server.url(), "lineitem", str(file)]
    figures = measured(command, clean_environment(), folder)
    file.unlink()
    return figures


def _project(folder: Path) -> Path:
    (folder / "warehouses/bench/staging").mkdir(parents=True)
    (folder / "starberg.toml").touch()
    (folder / "warehouses/bench/warehouse.yml").write_text(json.dumps(_WAREHOUSE))
    staging = "/*\nstream: shop.lineitem\n*/\nselect * from lineitem"
    (folder / "warehouses/bench/staging/stg_lineitem.sql").write_text(staging)
    return folder


def _ingest(server: EmbeddedPostgres, project: Path) -> Figures:
    environment = clean_environment(STARBERG_HOME=str(project / "home"), SHOP_URL=server.url())
    command = [str(Path(sys.executable).with_name("starberg")), "ingest", "bench"]
    return measured(command, environment, project)


def main() -> int:
    """Return 1 if a ratio is not what was wanted of it, or a process failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description=__doc__)
    parser.add_argument("--rows", type=int, default=FULL_SIZE, metavar="N", help="size of the table")
    parser.add_argument("--quick", action="store_true", help="no dlt, no RESULTS-postgres.md")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="starberg-bench-") as folder:
        try:
            report = run(given.rows, Path(folder), quick=given.quick)
        except ProcessFailed as failure:
            print(failure, file=sys.stderr)
            return 1
    found = list(claims(report))
    print(claims_table(found))
    if not given.quick:
        RESULTS.write_text(page(report, found, load_before))
    return 1 if any(claim.met is False for claim in found) else 0


if __name__ == "__main__":
    sys.exit(main())
