"""An output of 6.2 MB: memory for it is made, filled as a kernel would, and dropped.

In a process of its own each, because malloc's habits are a process's: what one system has freed, the next
would find warm.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ironcliw
import numpy as np
import numpy.typing as npt
from harness import child

from memory.work import malloc
from memory.work.clock import singly

Frame = npt.NDArray[np.uint8]
Make = Callable[[], Frame]

HEIGHT, WIDTH, CHANNELS = SHAPE = (1080, 1920, 3)
BYTES = HEIGHT * WIDTH * CHANNELS

# Outputs of a program that collects some before it goes on: a batch, frames in flight.
TOGETHER = 8


@dataclass(frozen=True)
class Source:
    """Where memory comes from, and the environment of its process."""

    pooled: bool
    zeroed: bool = False
    environment: Mapping[str, str] | None = None


FRESH = "numpy.empty (fresh pages)"

SOURCES = {
    "ironcliw": Source(pooled=True),
    "ironcliw (zeroed)": Source(pooled=True, zeroed=True),
    "numpy.empty": Source(pooled=False),
    FRESH: Source(pooled=False, environment=malloc.FRESH_PAGES),
    "numpy.empty (fresh small pages)": Source(pooled=False, environment=malloc.FRESH_SMALL_PAGES),
    "numpy.empty (warm pages)": Source(pooled=False, environment=malloc.WARM_PAGES),
}


def outputs(system: str, together: int, seconds: float) -> tuple[float, float | None]:
    """Microseconds and page faults of an output, so many being made, filled and dropped together."""
    arguments = (system, str(together), str(seconds))
    took, faults = child.ask(__name__, *arguments, environment=SOURCES[system].environment)
    return took, faults


def measured(system: str, together: int, seconds: float) -> tuple[float, float | None]:
    """The same, in this process."""
    source = SOURCES[system]
    with contextlib.ExitStack() as stack:
        make = empty
        if source.pooled:
            make = pooled(stack.enter_context(ironcliw.Runtime()), zeroed=source.zeroed)
        once = batch(make, together)
        took, faults = singly(once, seconds)
    return took / together * 1e6, None if faults is None else faults / together


def pooled(rt: ironcliw.Runtime, *, zeroed: bool) -> Make:
    """A pooled buffer seen as an array; it goes back when the array dies."""
    allocate = rt.pool.try_allocate
    return lambda: np.asarray(allocate(BYTES, zeroed=zeroed)).reshape(SHAPE)


def empty() -> Frame:
    return np.empty(SHAPE, np.uint8)


def batch(make: Make, together: int) -> Callable[[], None]:
    def one() -> None:
        make().fill(7)

    def several() -> None:
        held = [make() for _ in range(together)]
        for output in held:
            output.fill(7)

    return one if together == 1 else several


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
