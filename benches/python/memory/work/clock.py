"""How long something takes that is done again and again."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import repeat

from harness.faults import page_faults

# Times kept at most: the list is made beforehand, so that its growth causes no page fault.
TIMES_MAX = 4096
# Before it counts: pools fill, allocators learn.
WARM_UPS = 3
# Calls between two looks at the clock, where one takes less than a look.
BATCH = 256


def singly(once: Callable[[], object], seconds: float) -> tuple[float, float | None]:
    """The median of a call in seconds, and the page faults of the whole process for each."""
    clock = time.perf_counter
    times = [0.0] * TIMES_MAX
    for _ in range(WARM_UPS):
        once()
    count, before, end = 0, page_faults(), clock() + seconds
    while count < 1 or (clock() < end and count < TIMES_MAX):
        begin = clock()
        once()
        times[count] = clock() - begin
        count += 1
    caused = page_faults() - before
    return statistics.median(times[:count]), None if before < 0 else caused / count


def in_batches(once: Callable[[], object], seconds: float) -> float:
    """The mean of a call in seconds, the call of a Python function included."""
    clock = time.perf_counter
    for _ in repeat(None, BATCH):
        once()
    count, begin = 0, clock()
    while True:
        for _ in repeat(None, BATCH):
            once()
        count += BATCH
        if (elapsed := clock() - begin) >= seconds:
            return elapsed / count
