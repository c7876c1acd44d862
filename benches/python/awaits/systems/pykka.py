"""pykka: actors that are Python threads. Awaiting one of its futures blocks the loop until the answer is
there."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import Any

import ironcliw_peers
import pykka

from awaits.systems.face import Face
from awaits.systems.native import NativeSystem


class Adder(pykka.ThreadingActor):
    def on_receive(self, message: int) -> Any:
        return ironcliw_peers.add_one(message)


class Worker(pykka.ThreadingActor):
    def on_receive(self, message: tuple[Any, ...]) -> Any:
        function, argument = message
        return function(argument)


class Pykka(NativeSystem):
    name = "pykka"
    about = "ThreadingActor, await ref.ask(…, block=False), which blocks the loop: pykka has no other way"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._one: Any = Adder.start()
        self._several: list[Any] = [Worker.start() for _ in range(workers)]

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        turn = itertools.cycle(self._several)
        spin = (ironcliw_peers.spin, self.steps)
        return Face(
            partial(self._one.ask, 1, block=False),
            job=lambda: next(turn).ask(spin, block=False),
            frame_in=lambda frame: next(turn).ask((ironcliw_peers.sum, frame), block=False),
        )

    def close(self) -> None:
        for ref in [self._one, *self._several]:
            ref.stop()
