"""The commands: each is one call of the lake (`entrypoints.lake.Lake`), whose answer the session prints."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from starberg.entrypoints.engine_commands import app as engine_app
from starberg.entrypoints.job_commands import Day, Force, JobKind, seconds
from starberg.entrypoints.job_commands import app as job_app
from starberg.entrypoints.session import Format, Globals, Session
from starberg.etl.results import Stage
from starberg.utils.errors import UsageError

app = typer.Typer(
    name="starberg",
    help="Declare a star schema, get a lakehouse: run, query and explain warehouses.",
    epilog="The options above may also stand after the command. Start with: starberg demo",
    pretty_exceptions_enable=False,
)


class Engine(StrEnum):
    """Who can answer a query."""

    DUCKDB = "duckdb"
    DREMIO = "dremio"
    TRINO = "trino"
    SPARK = "spark"


class Kind(StrEnum):
    """What `starberg new` can write."""

    WAREHOUSE = "warehouse"
    DIMENSION = "dimension"
    FACT = "fact"


Warehouse = Annotated[str, typer.Argument(metavar="WAREHOUSE", help="The warehouse.")]
OneWarehouse = Annotated[str | None, typer.Argument(metavar="WAREHOUSE", help="Only this warehouse.")]
Table = Annotated[str, typer.Argument(metavar="WAREHOUSE.TABLE", help="The table.")]
Source = Annotated[str | None, typer.Option(help="Only this source.")]
Full = Annotated[bool, typer.Option("--full", metavar="", help="Read every row of the sources, not only what changed.")]
AllowDeletes = Annotated[
    list[str] | None,
    typer.Option(metavar="TABLE", help="Let this run delete more rows of the table than its guard allows."),
]
NoRebuild = Annotated[
    bool, typer.Option("--no-rebuild", metavar="", help="Stop if a changed declaration needs a rebuild.")
]
Urls = Annotated[
    list[str] | None,
    typer.Option("--url", metavar="[SOURCE=]URL", help="postgresql://user:password@host/database; else as declared."),
]
Seed = Annotated[int, typer.Option(help="The same seed makes the same data.")]
Wait = Annotated[str, typer.Option(metavar="TIME", help="How long to wait for another run: 30s, 10m, 1h.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"starberg {version('starberg')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Folder of the lake, catalog and locks.")] = None,
    project: Annotated[Path | None, typer.Option(help="Folder with starberg.toml; else found upward.")] = None,
    env: Annotated[str | None, typer.Option(metavar="NAME", help="Environment: env.NAME of starberg.toml.")] = None,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Debug log, and the trace of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", metavar="", help="No progress; only warnings and errors.")] = False,
    json: Annotated[bool, typer.Option("--json", metavar="", help="Answer in JSON.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", metavar="", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Keep the global options for the command."""
    del version
    _session(ctx).globals = Globals(home, project, env, debug, quiet, json)


def _session(ctx: typer.Context) -> Session:
    assert isinstance(ctx.obj, Session)
    return ctx.obj


def _finish(session: Session, result: Any, *, failed: bool = False) -> None:
    """Print the answer; a failure without an error of its own is exit code 1."""
    session.answer(result)
    if failed:
        raise typer.Exit(1)


@app.command()
def demo(ctx: typer.Context, warehouse: Warehouse = "games") -> None:
    """Run a warehouse on its sample source and show what came out; needs no services."""
    session = _session(ctx)
    session.answer(session.lake.demo(warehouse))


@app.command()
def run(
    ctx: typer.Context,
    warehouse: Warehouse,
    source: Source = None,
    full: Full = False,
    allow_deletes: AllowDeletes = None,
    no_rebuild: NoRebuild = False,
    date: Day = None,
    force: Force = False,
    only: Annotated[JobKind | None, typer.Option(help="Only the jobs over these.", show_default="all jobs")] = None,
    stage: Annotated[
        Stage | None, typer.Option(help="Only this stage of the run --run-id.", show_default="all stages")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(metavar="ID", help="What the stages of one run have in common.", show_default=False)
    ] = None,
    wait: Wait = "10m",
) -> None:
    """Extract from the sources, build, check and publish: ingest and etl in one, or one stage after the other."""
    if stage or run_id:
        if not (stage and run_id):
            raise UsageError("--stage and --run-id belong together", hint="Stages: ingest, build, check, publish.")
        if date or force or only:
            hint = f"`starberg run-job {warehouse} …` runs jobs for a day."
            raise UsageError("stages are those of a whole run: no --date, --force or --only", hint=hint)
        how: dict[str, Any] = {"source": source, "full": full, "allow_deletes": allow_deletes or ()}
        session = _session(ctx)
        how |= {"rebuild": not no_rebuild, "wait_s": seconds(wait)}
        session.answer(session.lake.run_stage(warehouse, stage, run_id, **how))
        return
    _run(
        ctx,
        warehouse,
        source=source,
        full=full,
        allow_deletes=allow_deletes or (),
        rebuild=not no_rebuild,
        date=date and date.date(),
        force=force,
        only=only and only.value,
        wait_s=seconds(wait),
    )


@app.command()
def ingest(
    ctx: typer.Context,
    warehouse: Warehouse,
    source: Source = None,
    full: Full = False,
    wait: Wait = "10m",
) -> None:
    """Extract from the sources into the raw zone, and no more."""
    _run(ctx, warehouse, etl=False, source=source, full=full, wait_s=seconds(wait))


@app.command()
def etl(
    ctx: typer.Context,
    warehouse: Warehouse,
    allow_deletes: AllowDeletes = None,
    no_rebuild: NoRebuild = False,
    wait: Wait = "10m",
) -> None:
    """Build, check and publish what is in the raw zone."""
    _run(ctx, warehouse, ingest=False, allow_deletes=allow_deletes or (), rebuild=not no_rebuild, wait_s=seconds(wait))


def _run(ctx: typer.Context, warehouse: str, **how: Any) -> None:
    session = _session(ctx)
    result = session.lake.run(warehouse, **how)
    _finish(session, result, failed=result.status == "FAILED")


@app.command()
def query(
    ctx: typer.Context,
    sql: Annotated[str | None, typer.Argument(metavar="SQL", help="Without it: a prompt, or stdin.")] = None,
    warehouse: Annotated[str | None, typer.Option(help="Warehouse whose tables need no prefix.")] = None,
    at: Annotated[str | None, typer.Option(metavar="STATE", help="A run id, tag or UTC time.")] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="How to print the rows; with --json json.", show_default="table")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Who answers: the same SQL, translated.")] = Engine.DUCKDB,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows to a .parquet or .csv file instead.")
    ] = None,
) -> None:
    """Run SQL (DuckDB's dialect) over all warehouses, each query on one state of the lake."""
    from starberg.entrypoints.export import check_output
    from starberg.entrypoints.prompt import Queries

    session = _session(ctx)
    if output is not None:
        if format is not None or (sql is None and sys.stdin.isatty()):
            raise UsageError("--output takes one question, and its name says the format", hint="Leave out --format.")
        check_output(output)
    form = format or (Format.JSON if session.globals.json else Format.TABLE)
    queries = Queries(session, warehouse, at, form, engine=engine.value, output=output)
    if sql is not None:
        queries.run(sql)
    elif sys.stdin.isatty():
        queries.converse()
    else:
        queries.run_stdin()


@app.command()
def tables(ctx: typer.Context, warehouse: OneWarehouse = None) -> None:
    """List the tables with rows, files, bytes, share of deleted rows, last change."""
    session = _session(ctx)
    session.answer(session.lake.tables(warehouse))


@app.command()
def status(
    ctx: typer.Context,
    warehouse: OneWarehouse = None,
    limit: Annotated[int, typer.Option(min=1, help="How many runs.")] = 20,
) -> None:
    """List the last runs, those under way too."""
    session = _session(ctx)
    runs = session.lake.status(warehouse, limit=limit)
    if session.globals.json:
        session.answer(runs)
        return
    # A table has no room for tables; --json tells the counts of each.
    runs = [{name: value for name, value in run.items() if name not in ("tables", "jobs")} for run in runs]
    jobs = session.lake.jobs(warehouse)
    session.answer({"jobs": jobs, "runs": runs} if jobs else runs)


@app.command()
def check(
    ctx: typer.Context,
    live: Annotated[
        bool, typer.Option("--live", metavar="", help="Only whether the scheduler is alive; asks no service.")
    ] = False,
) -> None:
    """Test what starberg needs: catalog, storage, sources, rights; exit code 1 if something is not well."""
    session = _session(ctx)
    found = [session.lake.live()] if live else session.lake.check()
    _finish(session, found, failed=not all(item["ok"] for item in found))


@app.command()
def config(ctx: typer.Context) -> None:
    """Show each setting and where it came from, secrets masked."""
    session = _session(ctx)
    session.answer([vars(line) for line in session.settings.shown()])


@app.command()
def compile(ctx: typer.Context, table: Table) -> None:  # noqa: A001 - the command's name
    """Print the SQL a table's declaration becomes."""
    session = _session(ctx)
    session.answer(session.lake.compile(table))


@app.command()
def explain(
    ctx: typer.Context,
    table: Table,
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="The row's key, column by column.")],
) -> None:
    """Show where a row comes from: its versions, the SQL, the raw record, the run and its checks."""
    session = _session(ctx)
    session.answer(session.lake.explain(table, key))


@app.command()
def rebuild(
    ctx: typer.Context,
    warehouse: Warehouse,
    table: Annotated[list[str] | None, typer.Argument(metavar="TABLE...", help="Only these tables.")] = None,
    wait: Wait = "10m",
) -> None:
    """Build tables anew from the raw zone, check and publish."""
    session = _session(ctx)
    result = session.lake.rebuild(warehouse, table or (), wait_s=seconds(wait))
    _finish(session, result, failed=result.status == "FAILED")


@app.command()
def restate(
    ctx: typer.Context,
    warehouse: Warehouse,
    since: Annotated[datetime, typer.Option("--from", metavar="DAY", formats=["%Y-%m-%d"], help="The first day.")],
    until: Annotated[datetime, typer.Option("--to", metavar="DAY", formats=["%Y-%m-%d"], help="The last day.")],
    table: Annotated[list[str] | None, typer.Argument(metavar="TABLE...", help="Only these dimensions.")] = None,
    wait: Wait = "10m",
) -> None:
    """Derive again from the raw zone the history of all keys that changed in a range of days, check and publish."""
    session = _session(ctx)
    days = since.date(), until.date()
    result = session.lake.restate(warehouse, *days, table or (), wait_s=seconds(wait))
    _finish(session, result, failed=result.status == "FAILED")


@app.command()
def seed(
    ctx: typer.Context,
    warehouse: Warehouse,
    url: Urls = None,
    people: Annotated[
        int | None, typer.Option("--customers", "--users", min=1, help="How many people.", show_default="the usual")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=7300, help="How many days of their past.", show_default="the usual")
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="Where the past ends.", show_default="today"),
    ] = None,
    seed: Seed = 7,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Drop tables of these names first.")] = False,
) -> None:
    """Fill a PostgreSQL of yours with the sample data that a warehouse reads."""
    session = _session(ctx)
    session.keep_secret(url or ())
    end = until.date() if until else None
    how = {"people": people, "days": days, "until": end, "seed": seed, "replace": yes}
    session.answer(session.lake.seed(warehouse, url or (), **how))


@app.command()
def mutate(
    ctx: typer.Context,
    warehouse: Warehouse,
    url: Urls = None,
    transactions: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Seed = 7,
    sessions: Annotated[int, typer.Option(min=1, max=64, help="How many at once; with 1 a seed repeats itself.")] = 4,
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="A day to live (UTC).", show_default="now"),
    ] = None,
) -> None:
    """Let the applications behind the sample data live on: sales, moves, price changes, deletions."""
    session = _session(ctx)
    session.keep_secret(url or ())
    how = {"transactions": transactions, "seed": seed, "sessions": sessions, "day": day.date() if day else None}
    session.answer(session.lake.mutate(warehouse, url or (), **how))


@app.command()
def verify(ctx: typer.Context, warehouse: Warehouse, wait: Wait = "10m") -> None:
    """Build anew on a branch and compare with what is published; exit code 1 if a row differs."""
    session = _session(ctx)
    result = session.lake.verify(warehouse, wait_s=seconds(wait))
    _finish(session, result, failed=not result.equal)


@app.command()
def maintain(
    ctx: typer.Context,
    warehouse: OneWarehouse = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what would be done.")] = False,
    wait: Wait = "10m",
) -> None:
    """Fold deletes and small files of the tables, and drop old tags, dead branches and files nobody can look up."""
    session = _session(ctx)
    results = session.lake.maintain(warehouse, dry_run=dry_run, wait_s=seconds(wait))
    for result in [results] if session.globals.json or not results else results:
        session.answer(result)


@app.command()
def new(
    ctx: typer.Context,
    kind: Annotated[Kind, typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="WAREHOUSE, or WAREHOUSE.TABLE.")],
) -> None:
    """Write a declaration that runs, to be edited, into the project."""
    session = _session(ctx)
    session.answer(session.lake.new(kind.value, name))


app.add_typer(job_app)
app.add_typer(engine_app)
