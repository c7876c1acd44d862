"""How long something takes that is done again and again."""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Callable
from itertools import repeat

from harness.faults import page_faults

# Times kept at most, in an array that is made beforehand: objects of their own would cause page faults.
TIMES_MAX = 4096
# Before it counts, pools fill, allocators learn, and threads touch their stacks: twice as long as the
# measurement, but no longer than a process that has just begun takes to come to rest.
WARM_UP_SECONDS_MAX = 0.3
# Calls between two looks at the clock, where one takes less than a look.
BATCH = 256


def singly(once: Callable[[], object], seconds: float) -> tuple[float, float | None]:
    """The median of a call in seconds, and the page faults of the whole process for each."""
    clock = time.perf_counter
    times = no_times()
    warm = clock() + warm_up(seconds)
    once()
    while clock() < warm:
        once()
    count, before, end = 0, page_faults(), clock() + seconds
    while count < 1 or (clock() < end and count < TIMES_MAX):
        begin = clock()
        once()
        times[count] = clock() - begin
        count += 1
    caused = page_faults() - before
    return statistics.median(times[:count]), None if before < 0 else caused / count


def warm_up(seconds: float) -> float:
    """How long, for a measurement of so many seconds."""
    return min(seconds * 2, WARM_UP_SECONDS_MAX)


def no_times() -> array[float]:
    """Room for all times, touched already."""
    return array("d", bytes(TIMES_MAX * array("d").itemsize))


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
