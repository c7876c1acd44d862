"""Scopes of `rt.leaks`: what is leased within one must be back when it ends."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, final

from ironcliw._native import LeakReport, _describe_leaks, _Scope
from ironcliw.errors import InvalidInput, LeakError

__all__ = ["LeakScope"]

_POLL = 0.002
"""Seconds between two looks at what is on its way out."""


@final
class LeakScope:
    """`with rt.leaks.scope() as s:` or `async with`: the leases that begin within and are live at its end.

    It sees all leases of the runtime, on every thread, so also those of tasks that happen to run at the same
    time; with `owner` only one owner's. It is exact at every leak level: it compares the pool's lease table
    at both ends. While it is open every lease is recorded, so that reports know where; the level stays what
    it is. Scopes nest and overlap. Each is entered once.
    """

    def __init__(self, scope: _Scope, assert_clean: bool) -> None:
        self._scope = scope
        self._assert_clean = assert_clean

    @property
    def owner(self) -> str | None:
        """Whose leases it looks at; None if everybody's."""
        return self._scope.owner

    def check(self) -> list[LeakReport]:
        """The leases that began within and are out now, of the kind `still_out`, and tracked buffers that
        died within without a release. After its end: what was out then and still is."""
        return self._scope.check()

    def assert_clean(self, *, timeout: float = 1.0) -> None:
        """Raises `LeakError`, an `AssertionError`, if `check()` finds something.

        What is on its way out, such as what a worker drops just after it has answered, gets `timeout`
        seconds; and Python's garbage collector runs once, as a buffer in a reference cycle is out until then.
        In a coroutine, await `wait_clean` instead: an event loop holds the result of the last await until its
        next turn.
        """
        for pause in self._pauses(timeout):
            time.sleep(pause)

    async def wait_clean(self, *, timeout: float = 1.0) -> None:  # noqa: ASYNC109
        """As `assert_clean`, and the event loop goes on meanwhile."""
        await asyncio.sleep(0)
        for pause in self._pauses(timeout):
            await asyncio.sleep(pause)

    def _pauses(self, timeout: float) -> Iterator[float]:
        """How long to wait before the next look, until it is clean or the time is over."""
        until = time.monotonic() + timeout
        if math.isnan(until):
            raise InvalidInput(f"timeout must be a number of seconds, not {timeout}")
        if self._scope.is_clean():
            return
        gc.collect()
        while not self._scope.is_clean():
            if time.monotonic() >= until:
                reports = self._scope.check()
                if reports:
                    raise LeakError(_describe_leaks(reports), reports)
                return
            yield _POLL

    def __enter__(self) -> Self:
        self._scope.begin()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._scope.end()
        # What failed holds on to its frames, and is worth more than what they hold.
        if self._assert_clean and exc_type is None:
            self.assert_clean()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._scope.end()
        if self._assert_clean and exc_type is None:
            await self.wait_clean()

    def __repr__(self) -> str:
        of = f" of {self.owner}" if self.owner is not None else ""
        return f"<ironcliw.LeakScope{of}, {self._scope.state}>"
