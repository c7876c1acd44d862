"""The systems of a run, and why some are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

from harness.progress import Progress

from awaits.rows import TASK, THREAD
from awaits.systems.face import System

# Of the native job in the rows about the lag.
JOB_SECONDS = 200e-6


class Cast(contextlib.ExitStack):
    """Makes the systems, ours first, and closes them at its end."""

    def __init__(self, without: Collection[str]) -> None:
        super().__init__()
        from awaits.systems.native import NativeSystem, steps_of
        from awaits.systems.ours import Ours

        self._without = without
        self.systems: dict[str, System] = {}
        self.missing: dict[str, str] = {}
        ours = Ours()
        self._enter(ours)
        self._ours, self.ours, self.workers = ours, ours.name, ours.workers
        ours.calibrate(JOB_SECONDS)
        self.job_seconds = ours.seconds_of_a_job()
        NativeSystem.steps = steps_of(self.job_seconds, ours.workers)

    def add_peers(self) -> None:
        """All that may run beside each other."""
        for name, make in self._peers().items():
            self._add(name, make)

    def add_ray(self, progress: Progress) -> System | None:
        """Once the others have been measured."""

        def ray() -> System:
            progress.begin("starting Ray")
            from awaits.systems.ray import Ray

            return Ray(self.workers)

        return self._add("ray", ray)

    def _peers(self) -> dict[str, Callable[[], System]]:
        from ironcliw_peers import TaskActor, ThreadActor

        from awaits.systems.executors import Executor, ToThread
        from awaits.systems.floors import Ceiling, Coroutine, DoneFuture, IdleLoop, QueuePingPong
        from awaits.systems.pyo3 import Pyo3

        def pykka() -> System:
            from awaits.systems.pykka import Pykka

            return Pykka(self.workers)

        return {
            THREAD: lambda: Pyo3(
                THREAD, "pyo3-async-runtimes, the actor on native threads", ThreadActor, self.workers
            ),
            TASK: lambda: Pyo3(
                TASK, "the same, the actor a task of its tokio runtime", TaskActor, self.workers
            ),
            "to_thread": lambda: ToThread(self.workers),
            "executor": lambda: Executor(self.workers),
            "pykka": pykka,
            "floor: coroutine": Coroutine,
            "floor: asyncio.Queue": QueuePingPong,
            "floor: done future": DoneFuture,
            "floor: no jobs": IdleLoop,
            "ceiling": lambda: Ceiling(self._ours.job_rate_max),
        }

    def _add(self, name: str, make: Callable[[], System]) -> System | None:
        if name in self._without:
            return None
        try:
            system = make()
        except ImportError as error:
            # Not every peer has a wheel for every Python.
            self.missing[name] = str(error)
            return None
        self._enter(system)
        return system

    def _enter(self, system: System) -> None:
        self.systems[system.name] = system
        self.callback(system.close)
