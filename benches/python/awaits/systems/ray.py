"""Ray: actors in processes of their own. Its daemons would disturb the others: it is measured after them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from typing import Any

# Otherwise Ray says so on stdout each time it starts.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from awaits.systems.face import Face
from awaits.systems.native import NativeSystem


class Worker:
    """In a process of its own, where the peers' extension is imported again."""

    def add(self, number: int) -> int:
        return number + 1

    def spin(self, steps: int) -> int:
        import ironcliw_peers

        return ironcliw_peers.spin(steps)

    def sum(self, frame: Any) -> int:
        import ironcliw_peers

        return ironcliw_peers.sum(frame)


class Ray(NativeSystem):
    name = "ray"
    about = "actors of one CPU each, await actor.method.remote(…), in processes of their own; measured last"
    in_this_process = False

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
        remote: Any = ray.remote(num_cpus=1)(Worker)
        self._actors: list[Any] = [remote.remote() for _ in range(workers)]
        ray.get([actor.spin.remote(1) for actor in self._actors])

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        add, turn = self._actors[0].add, itertools.cycle(self._actors)
        return Face(
            lambda: add.remote(1),
            job=lambda: next(turn).spin.remote(self.steps),
            frame_in=lambda frame: next(turn).sum.remote(frame),
        )

    def close(self) -> None:
        ray.shutdown()
