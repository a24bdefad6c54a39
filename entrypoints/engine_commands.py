"""The commands over other engines: `dremio setup`, `trino setup`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from starberg.entrypoints.session import Session

app = typer.Typer()
dremio = typer.Typer(help="Dremio over this lake.")
trino = typer.Typer(help="Trino over this lake.")
app.add_typer(dremio, name="dremio")
app.add_typer(trino, name="trino")

_Warehouse = Annotated[str | None, typer.Option(help="Only its views and functions.", show_default="all")]


@dremio.command("setup")
def setup_dremio(
    ctx: typer.Context,
    warehouse: _Warehouse = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Write the sources anew: a secret of theirs has changed.")
    ] = False,
) -> None:
    """Register catalog and object store, make views and functions, check that a table answers. May be repeated."""
    from starberg.entrypoints.bootstrap import dremio_setup

    session = _session(ctx)
    _finish(session, dremio_setup(session.settings, session.lake, warehouse, force=force))


@trino.command("setup")
def setup_trino(ctx: typer.Context, warehouse: _Warehouse = None) -> None:
    """Make the views where Trino can hold them, check that a table answers. May be repeated."""
    from starberg.entrypoints.bootstrap import trino_setup

    session = _session(ctx)
    _finish(session, trino_setup(session.settings, session.lake, warehouse))


def _finish(session: Session, steps: list[dict[str, Any]]) -> None:
    """Print the steps; a table that does not answer is exit code 1, a view that cannot be made is not."""
    session.answer(steps)
    if steps[-1]["done"] != "answered":
        raise typer.Exit(1)


def _session(ctx: typer.Context) -> Session:
    assert isinstance(ctx.obj, Session)
    return ctx.obj
