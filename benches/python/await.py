"""Awaits a second with 64 in flight: an actor's answer through the bridge, against `asyncio.to_thread`.

Both do the same small work on another thread: add one to a number. Rounds alternate, so that whatever else
the machine does meets both. Prints a table and writes `target/bench/await.json`.

    python benches/python/await.py [--rounds 9] [--seconds 0.5]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import ironcliw

IN_FLIGHT = 64
Ask = Callable[[], Awaitable[object]]


async def rate(ask: Ask, seconds: float) -> float:
    """Awaits a second, in bursts of `IN_FLIGHT` by `gather` on the raw awaitables."""
    end = time.perf_counter() + seconds
    done = 0
    begin = time.perf_counter()
    while time.perf_counter() < end:
        await asyncio.gather(*[ask() for _ in range(IN_FLIGHT)])
        done += IN_FLIGHT
    return done / (time.perf_counter() - begin)


async def measure(rounds: int, seconds: float) -> dict[str, list[float]]:
    """The rates of each system, a value a round."""
    number = itertools.count()
    async with ironcliw.Runtime() as rt:
        systems: dict[str, Ask] = {
            "ironcliw": rt.ping,
            "asyncio.to_thread": lambda: asyncio.to_thread(next, number),
        }
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for ask in systems.values():
            await rate(ask, seconds / 5)
        for _ in range(rounds):
            for name, ask in systems.items():
                rates[name].append(await rate(ask, seconds))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    rates = asyncio.run(measure(arguments.rounds, arguments.seconds))
    rows = [
        {
            "name": "64 in flight",
            "system": name,
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "unit": "awaits/s",
        }
        for name, values in rates.items()
    ]
    ours, peer = (row["median"] for row in rows)
    goal = {"name": "64 in flight/asyncio.to_thread", "ours": ours, "peer": "asyncio.to_thread"}
    goal |= {"peer_median": peer, "ratio": ours / peer, "must": 1.0}
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    machine |= {"python": platform.python_version(), "system": platform.system()}
    for row in rows:
        spread = f"({row['min']:,.0f} to {row['max']:,.0f})"
        print(f"{row['system']:<20} {row['median']:>10,.0f} {spread} awaits/s")
    print(f"{'ratio':<20} {goal['ratio']:>10.1f}")
    out = Path("target/bench/await.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "rows": rows, "goals": [goal]}, indent=2) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
