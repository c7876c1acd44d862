"""An output of 6.2 MB: memory for it is made, filled as a kernel would, and dropped."""

from __future__ import annotations

from collections.abc import Callable

import ironcliw
import numpy as np
import numpy.typing as npt

from memory.work import malloc
from memory.work.clock import singly

Frame = npt.NDArray[np.uint8]
Make = Callable[[], Frame]

HEIGHT, WIDTH, CHANNELS = SHAPE = (1080, 1920, 3)
BYTES = HEIGHT * WIDTH * CHANNELS

FRESH, WARM = "numpy.empty, fresh pages", "numpy.empty, warm pages"

# Outputs of a program that collects some before it goes on: a batch, frames in flight.
TOGETHER = 8

can_tell_malloc = malloc.can_be_told


def pooled(rt: ironcliw.Runtime, *, zeroed: bool = False) -> Callable[[], Make]:
    """A pooled buffer seen as an array; it goes back when the array dies."""

    def make() -> Frame:
        return np.asarray(rt.pool.try_allocate(BYTES, zeroed=zeroed)).reshape(SHAPE)

    return lambda: make


def empty() -> Frame:
    return np.empty(SHAPE, np.uint8)


def fresh() -> Make:
    malloc.with_fresh_pages()
    return empty


def warm() -> Make:
    malloc.with_warm_pages()
    return empty


def one_by_one(prepare: Callable[[], Make], seconds: float) -> tuple[float, float | None]:
    """Microseconds and page faults of an output; no other is alive."""
    make = prepare()
    took, faults = singly(lambda: make().fill(7), seconds)
    return took * 1e6, faults


def eight(prepare: Callable[[], Make], seconds: float) -> tuple[float, float | None]:
    """The same of eight that are made, filled, and dropped together."""
    make = prepare()

    def batch() -> None:
        held = [make() for _ in range(TOGETHER)]
        for output in held:
            output.fill(7)

    took, faults = singly(batch, seconds)
    return took / TOGETHER * 1e6, None if faults is None else faults / TOGETHER
