"""Systems that do the same work, measured in interleaved rounds.

Every round measures each cell once, in an order of its own, so that whatever else the machine does meets
all of them, and none always runs after the same other. A round before the first is thrown away: it faults
pages in and warms caches.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from harness.progress import Progress

# Of a round that is thrown away, against one that counts.
WARM_UP_SHARE = 0.25


class Better(Enum):
    """Which of two values wins."""

    HIGHER = "higher is better"
    LOWER = "lower is better"


@dataclass(frozen=True)
class Against:
    """At least this ratio to that system's median."""

    peer: str
    must: float


@dataclass(frozen=True)
class Limit:
    """An absolute value to reach: a ceiling where lower is better, a floor where higher is."""

    value: float


Goal = Against | Limit


@dataclass(frozen=True)
class Row:
    """One figure, of every system that has it."""

    name: str
    unit: str
    better: Better
    goals: Sequence[Goal] = ()


@dataclass(frozen=True)
class Cell:
    """One system's way to do a work. `measure` takes about as many seconds as it is told and returns a value
    for each of the work's rows, None for a row that does not apply to the system."""

    system: str
    measure: Callable[[float], Sequence[float | None]]


@dataclass(frozen=True)
class Work:
    """The same work, done by each system. One measurement may give several figures, a row each."""

    rows: Sequence[Row]
    # Of all systems that could be in it.
    names: Sequence[str]
    cells: Sequence[Cell]
    # Those of them that should be in it and are not, with the reason.
    missing: dict[str, str] = field(default_factory=dict)

    def without(self, systems: Collection[str]) -> Work:
        """The same work, of the others alone."""
        cells = [cell for cell in self.cells if cell.system not in systems]
        missing = {system: reason for system, reason in self.missing.items() if system not in systems}
        return Work(self.rows, self.names, cells, missing)


@dataclass(frozen=True)
class Spread:
    """The values of one system over the rounds."""

    median: float
    min: float
    max: float


@dataclass
class Outcome:
    """A row and what was measured, ours first if it was."""

    row: Row
    missing: dict[str, str]
    values: dict[str, list[float]] = field(default_factory=dict)

    def spreads(self) -> dict[str, Spread]:
        return {
            system: Spread(statistics.median(values), min(values), max(values))
            for system, values in self.values.items()
        }


def measure(works: Sequence[Work], rounds: int, seconds: float, progress: Progress) -> list[Outcome]:
    """An outcome for each row of each work."""
    outcomes = [[Outcome(row, work.missing) for row in work.rows] for work in works]
    cells = [(which, cell) for which, work in enumerate(works) for cell in work.cells]
    if not cells:
        return [outcome for rows in outcomes for outcome in rows]
    # What has been made until now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    for round in range(rounds + 1):
        order = cells.copy()
        random.Random(round).shuffle(order)
        progress.begin(f"round {round} of {rounds}" if round else "warming up", len(order))
        for which, cell in order:
            values = cell.measure(seconds if round else seconds * WARM_UP_SHARE)
            progress.advance(f"{works[which].rows[0].name}: {cell.system}")
            if round == 0:
                continue
            for outcome, value in zip(outcomes[which], values, strict=True):
                if value is not None:
                    outcome.values.setdefault(cell.system, []).append(value)
    for work, rows in zip(works, outcomes, strict=True):
        for outcome in rows:
            systems = [cell.system for cell in work.cells if cell.system in outcome.values]
            outcome.values = {system: outcome.values[system] for system in systems}
    return [outcome for rows in outcomes for outcome in rows]
