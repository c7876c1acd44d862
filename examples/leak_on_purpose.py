"""Leaks in four ways on purpose, finds itself, and prints the report: `python examples/leak_on_purpose.py`.

1. A buffer that has to be released is forgotten.
2. A buffer is put into a list and kept for longer than it should be.
3. A block of code ends, and a buffer that was leased within it is still out.
4. A cache grows and grows.

Exits with 0 if all four were found where they are.
"""

from __future__ import annotations

import asyncio
import time

import ironcliw

KEPT: list[ironcliw.Buffer] = []
CACHE: dict[int, ironcliw.Buffer] = {}


def forget(rt: ironcliw.Runtime) -> None:
    """Nobody calls `release()`, and nobody has the buffer any more."""
    rt.pool.try_allocate(9000, tracked=True)


def hoard(rt: ironcliw.Runtime) -> None:
    """Still in a list, long after its use."""
    KEPT.append(rt.pool.try_allocate(100_000, tracked=True))


def detect(rt: ironcliw.Runtime, frames: int) -> None:
    """Each frame is let go of, except that every third one is kept for a debugger that never comes."""
    for number in range(frames):
        frame = rt.pool.try_allocate(6_220_800, zeroed=False)
        if number % 3 == 0:
            KEPT.append(frame)


async def serve(rt: ironcliw.Runtime, until: float) -> None:
    """Requests that come and go, and a cache that has no limit."""
    request = 0
    while time.monotonic() < until:
        work = [rt.pool.try_allocate(20_000) for _ in range(5)]
        CACHE[request] = rt.pool.try_allocate(32_768)
        request += 1
        await asyncio.sleep(0.002)
        del work


async def main() -> None:
    async with ironcliw.Runtime(leak_growth=(4, 0.2), leak_age={"tracked": 0.5}) as rt:
        for _ in range(3):
            forget(rt)
        hoard(rt)

        with rt.leaks.scope() as scope:
            detect(rt, frames=6)
        try:
            scope.assert_clean()
        except ironcliw.LeakError as error:
            print(f"The scope says:\n\n{error}")
            (out,) = error.reports
            assert out.kind == "still_out" and out.equal == 2 and out.bytes == 2 * 6_220_800
        else:
            raise AssertionError("the scope found nothing")

        found: dict[str, ironcliw.LeakReport] = {}
        deadline = time.monotonic() + 60
        while {"dropped_unreleased", "too_old", "growing"} - found.keys():
            assert time.monotonic() < deadline, f"found only {sorted(found)}"
            await serve(rt, until=time.monotonic() + 0.5)
            found = {report.kind: report for report in await rt.leaks.check()}
        print("The runtime says:\n")
        print(rt.leaks.report())

        forgotten, hoarded, grown = found["dropped_unreleased"], found["too_old"], found["growing"]
        assert (
            forgotten.equal == 3 and forgotten.bytes == 27_000 and "leak_on_purpose.py" in str(forgotten.site)
        )
        assert hoarded.equal == 1 and hoarded.age > 0.5 and "leak_on_purpose.py" in str(hoarded.site)
        assert grown.class_size == 32_768 and grown.owner == "python" and grown.counts == sorted(grown.counts)
        print("Found: three forgotten, one hoarded, two out of a scope, and a cache that grows.")

        KEPT.clear()
        CACHE.clear()


asyncio.run(main())
