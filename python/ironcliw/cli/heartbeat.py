"""How long an event loop keeps its tasks waiting, measured from inside."""

from __future__ import annotations

import asyncio
import time

PERIOD = 0.001
"""Seconds between beats: shorter than the shortest stall worth seeing."""


class Heartbeat:
    """A task that sleeps for a millisecond, again and again, and notes by how much it wakes late."""

    def __init__(self) -> None:
        self.lags: list[float] = []

    async def beat(self) -> None:
        """Runs until it is cancelled."""
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(PERIOD)
            self.lags.append(time.perf_counter() - begin - PERIOD)
