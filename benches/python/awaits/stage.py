"""The loops that are measured on: one of each kind, which lives as long as the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from awaits.systems.face import Face, System

T = TypeVar("T")


class Stage:
    """A loop, and the systems' faces on it. A context manager."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
        if kind == "uvloop":
            import uvloop

            self.new_loop = uvloop.new_event_loop
        self._runner = asyncio.Runner(loop_factory=self.new_loop)
        self._faces: dict[str, Face] = {}

    def face(self, system: System) -> Face:
        """Made on the loop's thread while it runs, once."""

        async def make() -> Face:
            return system.on(asyncio.get_running_loop())

        if system.name not in self._faces:
            self._faces[system.name] = self.run(make())
        return self._faces[system.name]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.close()
