"""`starberg demo`: a warehouse on a sample source that is started for it."""

from __future__ import annotations

import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starberg.samples.demos import DEMOS, Demo
from starberg.utils.errors import UsageError

if TYPE_CHECKING:
    from starberg.entrypoints.lake import Lake


_SHOWN = 15


def run_demo(lake: Lake, warehouse: str) -> dict[str, Any]:
    """Run, let the source change if it can, run again; return all that, the tables, the answers, what to type next."""
    if warehouse not in DEMOS:
        raise UsageError(f"there is no demo of {warehouse}", hint=f"There are: {', '.join(DEMOS)}.")
    demo = DEMOS[warehouse]
    with demo.source(lake.home / "demo" / warehouse) as scene:
        there = lake.reopen(scene.variables)
        shown: dict[str, Any] = {"run": there.run(warehouse)}
        if scene.change:
            shown |= {"changes": scene.change(), "run_after_changes": there.run(warehouse)}
    shown["tables"] = [{"table": row["table"], "rows": row["rows"]} for row in lake.tables(warehouse)]
    shown["answers"] = {question: _answer(lake, warehouse, sql) for question, sql in demo.questions.items()}
    return shown | {"next": _next(lake, demo)}


def _answer(lake: Lake, warehouse: str, sql: str) -> list[dict[str, Any]]:
    """Return the first rows of an answer."""
    result = lake.query(sql, warehouse=warehouse)
    return [dict(zip(result.columns, row, strict=True)) for row in islice(result.rows, _SHOWN)]


def _next(lake: Lake, demo: Demo) -> list[str]:
    """Return commands to type next, which work on this lake."""
    elsewhere = lake.home.resolve() != (Path.cwd() / ".starberg").resolve()
    option = f" --home {shlex.quote(str(lake.home))}" if elsewhere else ""
    return [f"starberg{option} {command}" for command in demo.next]
