"""Actors written in Python in a row, under one rule: `python examples/supervised_pipeline.py`.

    Camera ◀── Preparer ◀── Analyst ◀── Recorder        each asks the one before it

The camera's frames are JPEGs. The preparer has the runtime's image workers decode, shrink and normalise
them; the analyst follows the brightest spot; the recorder keeps what was found. Two frames are damaged. Each
costs the preparer its life, and by the group's rule, rest-for-one, those behind it are made anew as well:
what they know came through it. The camera, in front of it, goes on where it was.
"""

import asyncio
import collections
import logging
import time
from dataclasses import dataclass, field

import ironcliw
import numpy as np
import numpy.typing as npt

FRAMES = 60
DAMAGED = {20, 41}
SIZE = (64, 48)


@dataclass
class Findings:
    """What outlives a crash: it is made outside of the actors, and given to whoever needs it."""

    spots: dict[int, tuple[int, int]] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class Stage(ironcliw.Actor):
    """What every stage does about its own life: it says so."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def on_restart(self, reason: BaseException | None) -> None:
        why = f"{type(reason).__name__}: {reason}" if reason else "for its neighbour's sake"
        self.findings.log.append(f"{self.context.name} restarted, {why}")


class Camera(Stage):
    """Shows a bright spot that moves over a dim room."""

    def on_start(self) -> None:
        y, x = np.mgrid[0:240, 0:320]
        self.room = (40 + 20 * np.sin(x / 25) + 20 * np.cos(y / 20)).astype(np.uint8)
        self.frames = 0

    async def on_message(self, message: object) -> tuple[int, bytes] | None:
        if self.frames == FRAMES:
            return None
        number, self.frames = self.frames, self.frames + 1
        frame = np.repeat(self.room[:, :, None], 3, axis=2)
        x, y = 10 + 5 * number, 120 + int(75 * np.sin(number / 6))
        frame[y - 6 : y + 6, x - 6 : x + 6] = 255
        jpeg = await self.context.runtime.images.encode(frame, "jpeg")
        return number, jpeg[: len(jpeg) // 3] if number in DAMAGED else jpeg


class Preparer(Stage):
    """Decodes, shrinks and normalises, on the runtime's image workers."""

    def __init__(self, findings: Findings, camera: ironcliw.ActorRef) -> None:
        super().__init__(findings)
        self.camera = camera
        self.recipe = ironcliw.Pipeline().resize(SIZE).normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    async def on_message(self, message: object) -> tuple[int, npt.NDArray[np.float32]] | None:
        taken = await self.camera.ask("frame", timeout=20.0)
        if taken is None:
            return None
        number, jpeg = taken
        images = self.context.runtime.images
        try:
            decoded = await images.decode(jpeg)
        except ironcliw.DecodeError:
            self.findings.lost.append(number)
            raise  # not ours to repair: the supervisor knows what to do
        return number, (await images.run(self.recipe, [decoded]))[0]


class Analyst(Stage):
    """Finds the brightest spot, and smooths its way over the last frames."""

    def __init__(self, findings: Findings, preparer: ironcliw.ActorRef) -> None:
        super().__init__(findings)
        self.preparer = preparer
        self.recent: collections.deque[tuple[int, int]] = collections.deque(maxlen=3)

    async def on_message(self, message: object) -> tuple[int, tuple[int, int]] | None:
        prepared = await self.preparer.ask("frame", timeout=20.0)
        if prepared is None:
            return None
        number, image = prepared
        y, x = np.unravel_index(int(image.sum(axis=0).argmax()), image.shape[1:])
        self.recent.append((int(x), int(y)))
        middle = np.mean(self.recent, axis=0).round().astype(int)
        return number, (int(middle[0]), int(middle[1]))


class Recorder(Stage):
    """Asks for frame after frame, and tells the world when there are no more."""

    def __init__(self, findings: Findings, analyst: ironcliw.ActorRef, done: asyncio.Event) -> None:
        super().__init__(findings)
        self.analyst = analyst
        self.done = done

    def on_start(self) -> None:
        self.context.ref.tell("next")

    async def on_message(self, message: object) -> None:
        try:
            found = await self.analyst.ask("spot", timeout=20.0)
        except (ironcliw.ActorPanicked, ironcliw.ActorRestarting):
            return  # it is being made anew, and so are we
        if found is None:
            self.done.set()
            return
        number, spot = found
        self.findings.spots[number] = spot
        self.context.ref.tell("next")


async def main() -> None:
    began = time.perf_counter()
    findings, done = Findings(), asyncio.Event()
    async with ironcliw.Runtime() as rt:
        quickly = (0.0, 0.02)
        async with rt.supervisor("pipeline", strategy="rest_for_one", max_restarts=5, within=10.0) as group:
            camera = await group.spawn(Camera, findings, name="camera", backoff=quickly)
            preparer = await group.spawn(Preparer, findings, camera, name="preparer", backoff=quickly)
            analyst = await group.spawn(Analyst, findings, preparer, name="analyst", backoff=quickly)
            await group.spawn(Recorder, findings, analyst, done, name="recorder", backoff=quickly)
            await asyncio.wait_for(done.wait(), 60.0)
            status = group.status()
        leaks = await rt.leaks.check()

    print(f"{len(findings.spots)} of {FRAMES} frames analysed, lost {findings.lost}")
    for line in findings.log:
        print("  ", line)
    print("   the spot went from", findings.spots[0], "to", findings.spots[FRAMES - 1])
    print(f"group: {status['restarts']} restarts; it bears {status['budget_left']} more failures")
    print(f"leaks: {leaks}; {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    # What crashes here does so on purpose. Without this the log tells of each crash, with its traceback.
    logging.getLogger("ironcliw").setLevel(logging.CRITICAL)
    asyncio.run(main())
