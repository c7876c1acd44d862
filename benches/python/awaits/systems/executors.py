"""Threads of asyncio's own: `asyncio.to_thread`, and an executor with as many threads as ours has workers."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import ironcliw_peers

from awaits.systems.face import Face
from awaits.systems.native import NativeSystem


class ToThread(NativeSystem):
    name = "to_thread"
    about = "asyncio.to_thread of a native function, on the loop's default executor"

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        return Face(
            partial(asyncio.to_thread, ironcliw_peers.add_one, 1),
            job=partial(asyncio.to_thread, ironcliw_peers.spin, self.steps),
        )


class Executor(NativeSystem):
    name = "executor"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.about = f"loop.run_in_executor of a native function, on a ThreadPoolExecutor({workers})"
        self._pool = ThreadPoolExecutor(workers)

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        run = partial(loop.run_in_executor, self._pool)
        return Face(
            partial(run, ironcliw_peers.add_one, 1),
            job=partial(run, ironcliw_peers.spin, self.steps),
            frame_in=partial(run, ironcliw_peers.sum),
            frame_out=partial(run, ironcliw_peers.expand),
        )

    def close(self) -> None:
        self._pool.shutdown()
