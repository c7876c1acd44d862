"""What a lease costs more at each level of the leak tracker than at `disabled`."""

from __future__ import annotations

from collections.abc import Callable

import ironcliw
from ironcliw.types import LeakLevel

from memory.work.clock import in_batches

SIZE = 1 << 10
# Python's, below the lease: what a backtrace has to walk.
FRAMES = 16
# Turns of the levels in one measurement.
TURNS = 4

LEVELS: tuple[LeakLevel, ...] = ("disabled", "simple", "advanced", "paranoid")


def above_disabled(rt: ironcliw.Runtime, seconds: float) -> tuple[float, float, float]:
    """Of simple and advanced in nanoseconds, of paranoid in microseconds, by turns with `disabled`."""
    allocate, leaks = rt.pool.try_allocate, rt.leaks
    took = dict.fromkeys(LEVELS, 0.0)
    before: LeakLevel = leaks.level
    try:
        for _ in range(TURNS):
            for level in LEVELS:
                leaks.level = level
                took[level] += deep(
                    FRAMES,
                    lambda: in_batches(
                        lambda: allocate(SIZE, zeroed=False).release(), seconds / TURNS / len(LEVELS)
                    ),
                )
    finally:
        leaks.level = before
    simple, advanced, paranoid = ((took[level] - took["disabled"]) / TURNS for level in LEVELS[1:])
    return max(simple, 0.0) * 1e9, max(advanced, 0.0) * 1e9, max(paranoid, 0.0) * 1e6


def deep(frames: int, work: Callable[[], float]) -> float:
    """Does the work below so many frames."""
    return work() if frames == 0 else deep(frames - 1, work)
