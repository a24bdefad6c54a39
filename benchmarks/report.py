"""From measures to claims: ratios of what was measured side by side, and the page that holds them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.games import CHANGED, LATENCY_S, RATE_PER_S, Measure, Report, stage_seconds

MIB = 2**20
FULL_SIZE = 50_000
"""Games, as many as the wishes are for."""
_VERSIONS = ("starberg", "duckdb", "pyarrow", "pyiceberg", "requests")

_INTRODUCTION = """\
Written by `make bench`. Seconds hold for this machine and hour; compare ratios. The sample server shares the machine
with what is measured. `requests` in eight threads and the star by hand are floors: they check, compare, keep and record
nothing."""


@dataclass(frozen=True)
class Claim:
    """One line of the table: a ratio, what it is of, and whether what was asked for is met (None: nothing was)."""

    what: str
    ratio: str
    figures: str
    wanted: str = ""
    met: bool | None = None


def claims(report: Report) -> list[Claim]:
    """Return what the measures say."""
    return [*_limited(report), *_ingest(report), *_etl(report), *_reruns(report), *_start_up(report)]


def _limited(report: Report) -> Iterable[Claim]:
    for name in ("starberg", "requests, 8 threads", "requests, sequential"):
        if run := report.get("limited", name):
            share = run.requests / run.figures.wall_s / RATE_PER_S
            wanted, met = (">= 90 %", _met(report, share >= 0.9)) if name == "starberg" else ("", None)
            figures = f"{run.requests} requests in {run.figures.wall_s:.1f} s, start and landing included"
            yield Claim(f"{name}: share of a limit of {RATE_PER_S} requests/s", f"{share:.1%}", figures, wanted, met)


def _ingest(report: Report) -> Iterable[Claim]:
    ours = report.get("ingest", "starberg")
    if not ours:
        return
    for name in ("requests, sequential", "requests, 8 threads", "dlt rest_api", "dlt rest_api, parallelized"):
        if peer := report.get("ingest", name):
            ratio = _per_request(peer) / _per_request(ours)
            wanted, met = (">= 6 x", _met(report, ratio >= 6)) if name == "requests, sequential" else ("", None)
            figures = f"{1000 * _per_request(peer):.1f} ms a page : {1000 * _per_request(ours):.1f} ms"
            what = f"ingest, {1000 * LATENCY_S:.0f} ms a response: as fast as {name}"
            yield Claim(what, f"{ratio:.2f} x", figures, wanted, met)
    yield _memory(report, "ingest", ours)


def _etl(report: Report) -> Iterable[Claim]:
    ours = report.get("etl", "starberg")
    if not ours:
        return
    met = _met(report, ours.figures.wall_s <= 60)
    figures = f"{ours.figures.wall_s:.1f} s, {ours.figures.cpu_s:.1f} s of CPU"
    if ingest := report.get("ingest", "starberg"):
        share = ours.figures.wall_s / ingest.figures.wall_s
        yield Claim(f"etl of {report.games:,} games : their ingest", f"{share:.2f} x", figures, "<= 60 s", met)
    if peer := report.get("etl", "by hand"):
        yield _times("etl : the star by hand in DuckDB", ours, peer)
    yield _memory(report, "etl", ours)


def _reruns(report: Report) -> Iterable[Claim]:
    for group, label in {"nothing changed": "nothing changed", "some changed": f"{CHANGED} games changed"}.items():
        ours, peer = report.get(group, "starberg"), report.get(group, "by hand")
        first = [report.get("ingest", "starberg"), report.get("etl", "starberg")]
        if ours and all(first):
            cost = ours.figures.cpu_s / sum(run.figures.cpu_s for run in first if run)
            figures = f"{ours.figures.wall_s:.2f} s, {ours.figures.cpu_s:.2f} s of CPU, {ours.requests} requests"
            yield Claim(f"run, {label}: CPU of the first run", f"{cost:.1%}", figures)
        if ours and peer:
            yield _times(f"run, {label} : by hand", ours, peer)


def _start_up(report: Report) -> Iterable[Claim]:
    ours = report.get("start-up", "starberg --help")
    for name in ("python", "import requests, duckdb"):
        if ours and (peer := report.get("start-up", name)):
            yield _times(f"starberg --help : {name}", ours, peer)


def _times(what: str, ours: Measure, peer: Measure) -> Claim:
    figures = f"{ours.figures.wall_s:.2f} s : {peer.figures.wall_s:.2f} s; CPU {ours.figures.cpu_s:.2f} s : "
    return Claim(what, f"{ours.figures.wall_s / peer.figures.wall_s:.1f} x", f"{figures}{peer.figures.cpu_s:.2f} s")


def _memory(report: Report, what: str, run: Measure) -> Claim:
    share = run.figures.peak_rss / 2**30
    figures = f"{run.figures.peak_rss / MIB:.0f} MiB"
    return Claim(f"peak memory of {what} : 1 GiB", f"{share:.0%}", figures, "<= 1 GiB", _met(report, share <= 1))


def _met(report: Report, holds: bool) -> bool | None:
    """Judge a catalogue of the size the wish is for; of a small one starting up is most of the time."""
    return holds if report.games >= FULL_SIZE else None


def _per_request(run: Measure) -> float:
    return run.figures.wall_s / max(1, run.requests)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows as a Markdown table that also reads well as it is; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def claims_table(found: Sequence[Claim]) -> str:
    """Return the table of ratios."""
    said = {True: "yes", False: "NO", None: ""}
    head = ["what", "ratio", "wanted", "met", "figures"]
    return table([head, *([c.what, c.ratio, c.wanted, said[c.met], c.figures] for c in found)])


def page(report: Report, found: Sequence[Claim], load_before: float) -> str:
    """Return the page for people: machine, ratios, figures of each process, seconds inside the first ETL."""
    processes = [["", "process", "wall s", "CPU s", "peak MiB", "requests"]]
    for m in report.measures:
        f = m.figures
        cells = [f"{f.wall_s:.2f}", f"{f.cpu_s:.2f}", f"{f.peak_rss / MIB:.0f}", str(m.requests or "")]
        processes.append([m.group, m.name, *cells])
    inside = [["stage or kind of table", "seconds"]]
    inside += [[name, f"{s:.2f}"] for name, s in [*report.stages.items(), *stage_seconds(report.tables).items()]]
    parts = [
        "# What was measured",
        _INTRODUCTION,
        machine(load_before),
        f"## Ratios, {report.games:,} games",
        claims_table(found),
        "## Each process, from its start to its end",
        table(processes),
        "## Inside the first etl, from the run's own log",
        table(inside),
    ]
    return "\n\n".join(parts) + "\n"


def machine(load_before: float) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load average": f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after (its own work included)",
        "versions": ", ".join(f"{name} {version(name)}" for name in _VERSIONS) + "; peers: `benchmarks/peers/*.txt`",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
