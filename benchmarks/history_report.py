"""From what `history.py` measured to claims and a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.history import FULL_SIZE, Change, Report
from benchmarks.measure import best
from benchmarks.report import MIB, Claim, claims_table, machine, table

_INTRODUCTION = """\
Written by `python -m benchmarks history`. Seconds hold for this machine and hour; compare ratios. By hand is a floor:
it knows no late change, keeps no raw data and no log, checks nothing. Other tools have native DuckDB files."""


def claims(report: Report) -> list[Claim]:
    """Return what the measures say."""
    return [*_by_hand(report), *_peers(report), *_written(report), *_scale(report)]


def _by_hand(report: Report) -> Iterable[Claim]:
    for place, (_, seconds) in report.by_hand.items():
        ours = _least(report.changes[place])
        spent = ours.dimension_s + ours.commit_s
        ratio = spent / seconds
        figures = f"{spent:.2f} s : {seconds:.2f} s"
        yield Claim(
            f"build and commit : by hand, {place}", f"{ratio:.2f} x", figures, "<= 3 x", _met(report, ratio <= 3)
        )
        whole = f"{ours.run_s:.2f} s : {seconds:.2f} s"
        yield Claim(f"the same with staging, checks and log, {place}", f"{ours.run_s / seconds:.2f} x", whole)


def _peers(report: Report) -> Iterable[Claim]:
    ours = _least(report.changes["embedded"]).figures
    fastest = min(report.peers.values(), key=lambda run: run.wall_s, default=None)
    for name, figures in report.peers.items():
        ratio = figures.wall_s / ours.wall_s
        wanted, met = (">= 2 x", _met(report, ratio >= 2)) if figures is fastest else ("", None)
        said = f"{figures.wall_s:.2f} s : {ours.wall_s:.2f} s; CPU {figures.cpu_s:.2f} s : {ours.cpu_s:.2f} s"
        yield Claim(f"whole process as fast as {name}", f"{ratio:.2f} x", said, wanted, met)


def _written(report: Report) -> Iterable[Claim]:
    for place, changes in report.changes.items():
        written = max(change.written for change in changes)
        allowed = 3 * report.changed_bytes + MIB
        figures = f"{written / MIB:.2f} MiB, the changed rows {report.changed_bytes / MIB:.2f} MiB"
        what = f"written : 3 x the changed rows + 1 MiB, {place}"
        yield Claim(what, f"{written / allowed:.2f} x", figures, "<= 1 x", _met(report, written <= allowed))


def _scale(report: Report) -> Iterable[Claim]:
    if many := report.changes.get("embedded, 4 times as many"):
        one, four = _least(report.changes["embedded"]).figures, _least(many).figures
        ratio = four.wall_s / one.wall_s
        figures = f"{four.wall_s:.2f} s : {one.wall_s:.2f} s; CPU {four.cpu_s:.2f} s : {one.cpu_s:.2f} s"
        yield Claim(
            "4 times the customers : as many", f"{ratio:.2f} x", figures, "<= 1.5 x", _met(report, ratio <= 1.5)
        )


def _least(changes: Sequence[Change]) -> Change:
    return min(changes, key=lambda change: change.figures.cpu_s)


def _met(report: Report, holds: bool) -> bool | None:
    return holds if report.members >= FULL_SIZE else None


def page(report: Report, found: Sequence[Claim], load_before: float) -> str:
    """Return the page for people: machine, ratios, figures of each process."""
    processes = [["", "process", "wall s", "CPU s", "peak MiB"]]
    runs = [(place, "first build", figures) for place, figures in report.first.items()]
    runs += [(p, "change set", best([c.figures for c in changes])) for p, changes in report.changes.items()]
    runs += [(place, "by hand", figures) for place, (figures, _) in report.by_hand.items()]
    runs += [("other tools", name, figures) for name, figures in report.peers.items()]
    for place, name, f in runs:
        processes.append([place, name, f"{f.wall_s:.2f}", f"{f.cpu_s:.2f}", f"{f.peak_rss / MIB:.0f}"])
    parts = [
        "# What was measured of dimensions with history",
        _INTRODUCTION,
        machine(load_before),
        f"## Ratios, {report.members:,} customers, a change set of 10,000 updates, 1,000 inserts, 100 deletes",
        claims_table(found),
        "## Each process, from its start to its end",
        table(processes),
    ]
    return "\n\n".join(parts) + "\n"
