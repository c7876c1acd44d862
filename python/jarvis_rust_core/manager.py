"""A runtime of one's own for CPU-bound Python and native work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ironcliw import InvalidInput, Runtime
from ironcliw.types import SchedulerStats

from ._runtime import LazyRuntime, outside_loop

T = TypeVar("T")


class RustRuntimeManager:
    """A work-stealing pool of `worker_threads` threads (one a core unless told), pinned to cores if asked.

    Its threads start here and end when it dies.
    """

    def __init__(self, worker_threads: int | None = None, enable_cpu_affinity: bool = True) -> None:
        if worker_threads is not None and worker_threads < 1:
            raise InvalidInput(f"worker_threads is 1 or more, not {worker_threads}")

        def make() -> Runtime:
            # Only the scheduler is used here: the other parts stay as small as they can be.
            return Runtime(
                workers=1, image_workers=1, scheduler_threads=worker_threads, pin=enable_cpu_affinity
            )

        self._runtime = LazyRuntime(make)
        self._runtime.get()

    def run_cpu_task(self, task: Callable[[], T]) -> T:
        """Calls `task()` on a thread of the pool and waits for its result; what it raises passes through."""
        with outside_loop():
            return self._runtime.get().scheduler.run(task).result()

    def stats(self) -> SchedulerStats:
        """`active_tasks`, `total_spawned`, `total_completed`, `active_workers` and `queue_depth`."""
        return self._runtime.get().scheduler.stats()

    def __repr__(self) -> str:
        return f"<RustRuntimeManager {self.stats()}>"
