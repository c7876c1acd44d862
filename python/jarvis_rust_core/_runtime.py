"""Where the synchronous API gets its runtime, and how it waits.

A runtime's threads do not survive `fork`, so a runtime that was made by another process is replaced, and
kept alive unused: closing it would wait for threads that are not there. Nothing is registered to run at
exit, for a runtime that dies unclosed is silent.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ironcliw import Runtime


class LazyRuntime:
    """A runtime that is made at its first use, once a process."""

    def __init__(self, make: Callable[[], Runtime]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._pid = 0
        self._of_other_processes: list[Runtime] = []

    def get(self) -> Runtime:
        pid = os.getpid()
        if self._runtime is None or self._pid != pid:
            if self._pid not in (0, pid):
                # A thread of the parent may have held the lock at the fork: nobody is left to open it.
                self._lock = threading.Lock()
            with self._lock:
                if self._runtime is None or self._pid != pid:
                    if self._runtime is not None:
                        self._of_other_processes.append(self._runtime)
                    self._runtime = self._make()
                    self._pid = pid
        return self._runtime


_shared = LazyRuntime(Runtime)


def shared() -> Runtime:
    """The runtime of this process."""
    return _shared.get()


@contextmanager
def outside_loop() -> Iterator[None]:
    """Calls made in here belong to no event loop, so that `result()` may block even in a coroutine."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
