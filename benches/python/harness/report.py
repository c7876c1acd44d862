"""The table that a benchmark prints and the JSON that it leaves in `target/bench/`, as the Rust ones do."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.rounds import Against, Better, Goal, Outcome


@dataclass(frozen=True)
class Judged:
    """A goal, and how near ours came."""

    peer: str
    peer_median: float
    ratio: float
    must: float

    @property
    def met(self) -> bool:
        return self.ratio >= self.must

    def verdict(self) -> str:
        return f"{self.must:>6.2f} {'met' if self.met else 'NOT met'}"


def ratio(better: Better, ours: float, peer: float) -> float:
    """Above one, ours is better. Nothing against nothing, as page faults may be, is level."""
    above, below = (ours, peer) if better is Better.HIGHER else (peer, ours)
    if below == 0.0:
        return 1.0 if above == 0.0 else float("inf")
    return above / below


def judge(outcome: Outcome, ours: str) -> list[Judged]:
    """The goals that this run has the figures for."""
    spreads = outcome.spreads()
    if ours not in spreads:
        return []

    def judged(goal: Goal) -> Judged | None:
        if isinstance(goal, Against):
            if goal.peer not in spreads:
                return None
            peer, value, must = goal.peer, spreads[goal.peer].median, goal.must
        else:
            peer, value, must = "limit", goal.value, 1.0
        return Judged(peer, value, ratio(outcome.row.better, spreads[ours].median, value), must)

    return [found for goal in outcome.row.goals if (found := judged(goal)) is not None]


def digits(value: float) -> str:
    """Three digits that say something, whatever the size."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def print_row(outcome: Outcome, ours: str) -> None:
    """A line for each system, ours first, one for a limit, and one for each that could not be measured."""
    row, spreads = outcome.row, outcome.spreads()
    goals = {goal.peer: goal for goal in judge(outcome, ours)}
    names = [*spreads, *outcome.missing, "limit"]
    width = max(len(name) for name in names)
    print(f"\n{row.name}, {row.unit} ({row.better.value})")
    print(f"  {'system':<{width}} {'median':>10} {'min':>10} {'max':>10} {'ratio':>8} {'must':>6}")
    for system, spread in spreads.items():
        values = f"{digits(spread.median):>10} {digits(spread.min):>10} {digits(spread.max):>10}"
        against = ""
        if system != ours and ours in spreads:
            against = digits(ratio(row.better, spreads[ours].median, spread.median))
        verdict = goals[system].verdict() if system in goals else ""
        print(f"  {system:<{width}} {values} {against:>8} {verdict}".rstrip())
    if "limit" in goals:
        limit = goals["limit"]
        value = digits(limit.peer_median)
        print(f"  {'limit':<{width}} {value:>10} {'':>21} {digits(limit.ratio):>8} {limit.verdict()}")
    for system, reason in outcome.missing.items():
        print(f"  {system:<{width}} not measured: {reason}")


def machine(packages: Iterable[str]) -> dict[str, object]:
    """What the figures were measured on, and with which packages of the peers."""
    found: dict[str, object] = {"cpu": cpu(), "cores": cores(), "system": platform.system().lower()}
    found["python"] = platform.python_version()
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu() -> str:
    """Its name, where the system tells."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name"))
    return next(models, platform.machine())


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(
    area: str,
    machine: dict[str, object],
    outcomes: Sequence[Outcome],
    ours: str,
    *,
    keep_others: bool = False,
) -> Path:
    """Writes `target/bench/<area>.json` below the current folder and returns its path. With `keep_others`,
    rows of other names that are there already stay: those of the Rust half of the benchmark."""
    rows = [
        {
            "name": outcome.row.name,
            "system": system,
            "median": spread.median,
            "min": spread.min,
            "max": spread.max,
            "unit": outcome.row.unit,
        }
        for outcome in outcomes
        for system, spread in outcome.spreads().items()
    ]
    goals = [
        {
            "name": f"{outcome.row.name}/{goal.peer}",
            "ours": outcome.spreads()[ours].median,
            "peer": goal.peer,
            "peer_median": goal.peer_median,
            "ratio": finite(goal.ratio),
            "must": goal.must,
        }
        for outcome in outcomes
        for goal in judge(outcome, ours)
    ]
    path = Path("target/bench") / f"{area}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine, "rows": rows, "goals": goals}
    if keep_others and path.exists():
        report = merged(json.loads(path.read_text()), report, {outcome.row.name for outcome in outcomes})
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def merged(earlier: dict[str, Any], report: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The report, and what an earlier one says of rows that are not among these names."""
    rows = [row for row in earlier["rows"] if row["name"] not in names]
    goals = [goal for goal in earlier["goals"] if goal["name"].rpartition("/")[0] not in names]
    return {
        "machine": {**earlier["machine"], **report["machine"]},
        "rows": rows + report["rows"],
        "goals": goals + report["goals"],
    }


def print_goals(path: Path) -> None:
    """A line for each goal of a report, whoever measured it."""
    goals = json.loads(path.read_text())["goals"]
    names = [goal["name"].rpartition("/")[0] for goal in goals]
    width = max((len(name) for name in names), default=0)
    for name, goal in zip(names, goals, strict=True):
        met = "met" if goal["ratio"] >= goal["must"] else "NOT met"
        values = f"{digits(goal['ours']):>9} {digits(goal['peer_median']):>9} {digits(goal['ratio']):>8}"
        print(f"  {name:<{width}} {values} {goal['must']:>6.2f} {met:<7} {goal['peer']}")


def finite(value: float) -> float:
    """JSON has no infinity."""
    return min(value, 1e9)
