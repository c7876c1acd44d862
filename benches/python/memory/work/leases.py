"""Memory is asked for and given back, and not touched in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ironcliw
import numpy as np

from memory.work.clock import in_batches

Measure = Callable[[float], Sequence[float | None]]


def measured(once: Callable[[], object]) -> Measure:
    """In nanoseconds."""

    def measure(seconds: float) -> tuple[float]:
        return (in_batches(once, seconds) * 1e9,)

    return measure


def ours(rt: ironcliw.Runtime, size: int, *, zeroed: bool = False) -> Measure:
    allocate = rt.pool.try_allocate
    return measured(lambda: allocate(size, zeroed=zeroed).release())


def python(size: int) -> Measure:
    """Zeroed, as there is no other."""
    return measured(lambda: bytearray(size))


def numpy(size: int) -> Measure:
    empty, kind = np.empty, np.dtype(np.uint8)
    return measured(lambda: empty(size, kind))


def arrow(size: int) -> Measure:
    """Arrow's default pool."""

    def measure(seconds: float) -> Sequence[float | None]:
        import pyarrow  # type: ignore[import-untyped]

        allocate = pyarrow.allocate_buffer
        return measured(lambda: allocate(size))(seconds)

    return measure
