"""The peer that does the same work: an actor in Rust behind pyo3-async-runtimes, in its two forms."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from awaits.systems.face import Face
from awaits.systems.native import NativeSystem


class Pyo3(NativeSystem):
    """Either form; `actor` is a class of `ironcliw_peers`."""

    def __init__(self, name: str, about: str, actor: Any, workers: int) -> None:
        super().__init__(workers)
        self.name, self.about = name, about
        # The small requests have an actor of one thread, as ours have; the jobs as many as ours has workers.
        self._one, self._several = actor(1), actor(workers)

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        return Face(
            partial(self._one.add, 1),
            many=self._one.add_many,
            job=partial(self._several.spin, self.steps),
            frame_in=self._several.sum,
            frame_out=self._several.expand,
        )
