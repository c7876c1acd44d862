"""What is measured of a build, in a process of its own. Prints its figures as JSON."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time

import ironcliw

# Awaits between two looks at the clock.
BATCH = 256
IN_FLIGHT = 64
# Small buffers that are alive, and their sizes, from a cache line to a page.
LIVE = 20_000
SMALLEST, LARGEST = 64, 4096
# Messages to an actor that wait at one time.
MESSAGES = 10_000


async def sequential(seconds: float) -> list[float]:
    """The median of an awaited ping, in µs."""
    clock, times = time.perf_counter, list[float]()
    async with ironcliw.Runtime() as rt:
        end = clock() + seconds
        while clock() < end or not times:
            begin = clock()
            for _ in range(BATCH):
                await rt.ping()
            times.append((clock() - begin) / BATCH)
    return [statistics.median(times) * 1e6]


async def burst(seconds: float) -> list[float]:
    """Awaited pings a second, so many in flight."""
    clock, count = time.perf_counter, 0
    async with ironcliw.Runtime() as rt:
        begin = clock()
        while clock() - begin < seconds:
            await asyncio.gather(*(rt.ping() for _ in range(IN_FLIGHT)))
            count += IN_FLIGHT
        return [count / (clock() - begin)]


async def buffers(seconds: float) -> list[float]:
    """Nanoseconds to replace the one of many live small buffers whose turn it is by one of another size;
    megabytes that the process held at most."""
    clock, sizes = time.perf_counter, random.Random(5)
    lengths = [int(SMALLEST * (LARGEST / SMALLEST) ** sizes.random()) for _ in range(LIVE)]
    async with ironcliw.Runtime() as rt:
        allocate = rt.pool.try_allocate
        held = [allocate(length, zeroed=False) for length in lengths]
        count, begin = 0, clock()
        while clock() - begin < seconds:
            sizes.shuffle(lengths)
            for which, length in enumerate(lengths):
                held[which] = allocate(length, zeroed=False)
            count += LIVE
        took = clock() - begin
        del held
    peak = ironcliw.allocator_stats()["resident_peak_bytes"]
    return [took / count * 1e9, (peak or 0) / 1e6]


class Echo(ironcliw.Actor):
    """Answers what it is told."""

    def on_message(self, message: int) -> int:
        return message


async def messages(seconds: float) -> list[float]:
    """Nanoseconds for a message to an actor in Python and its answer, many of which wait."""
    clock, count = time.perf_counter, 0
    async with ironcliw.Runtime() as rt:
        echo = await rt.spawn(Echo, name="echo", mailbox=MESSAGES)
        begin = clock()
        while clock() - begin < seconds:
            await asyncio.gather(*(echo.ask(number) for number in range(MESSAGES)))
            count += MESSAGES
        return [(clock() - begin) / count * 1e9]


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "which":
        print(json.dumps(ironcliw.allocator_stats()["name"]))
    else:
        works = {"sequential": sequential, "burst": burst, "buffers": buffers, "messages": messages}
        print(json.dumps(asyncio.run(works[what](float(sys.argv[2])))))
