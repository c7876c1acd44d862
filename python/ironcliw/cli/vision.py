"""`ironcliw run`, the main job: real pictures through the five actors, while one of them crashes.

Every frame is a whole file, decoded on an image worker; of it a tile of the held-out part is cut (a view,
no copy), resized and normalised on an image worker, and classified by the INT8 network. Half-way the worker
`images/0` is made to panic. A frame that was in its hand is sent again; nothing else may be lost, and the
table at the end says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

import ironcliw
from ironcliw import testing

from .classifier import RECIPE, survey, trained
from .console import Complaint, Progress, table
from .heartbeat import Heartbeat
from .pictures import Grid, Picture, find_pictures

VICTIM = "images/0"
"""The actor that is made to panic."""

ATTEMPTS = 5
"""How often a frame is sent before it counts as lost; one crash should cost it one attempt."""

COMPARED = 2000
"""Frames whose input is kept for the float32 network, 12 KiB each."""

BATCH = 64
"""Frames that the float32 network takes at one time."""

SETTLE = 5.0
"""Seconds that a restart and the return of the last buffers may take after the last frame."""


@dataclass
class Outcome:
    """What became of the frames."""

    frames: int
    answered: int = 0
    correct: int = 0
    retries: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    inputs: list[npt.NDArray[np.float32]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """The INT8 network's answers to `inputs`."""
    failures: list[str] = field(default_factory=list)
    agreement: float = 0.0
    restarts: int = 0
    outstanding: int = 0
    leaks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """What all the frames share."""

    rt: ironcliw.Runtime
    pictures: list[Picture]
    grids: list[Grid]
    model: ironcliw.LoadedModel
    outcome: Outcome
    progress: Progress
    half_way: asyncio.Event = field(default_factory=asyncio.Event)
    prepare: ironcliw.Pipeline = field(default_factory=RECIPE.pipeline)

    async def lane(self, numbers: Iterator[int]) -> None:
        """Takes one frame after another, until there are none left; as many lanes as frames are in flight."""
        for number in numbers:
            begin = time.perf_counter()
            await self.frame(number)
            self.outcome.latencies.append(time.perf_counter() - begin)
            self.progress.advance()
            if 2 * self.progress.done >= self.outcome.frames:
                self.half_way.set()

    async def frame(self, number: int) -> None:
        """One frame, sent again if the actor that had it in hand panicked."""
        which = number % len(self.pictures)
        window = self.grids[which].held_out_window(np.random.default_rng((RECIPE.seed, number)))
        for attempt in range(ATTEMPTS):
            try:
                image = await self.rt.images.decode(self.pictures[which].data)
                tile = await self.rt.images.run(self.prepare, [window.of(image)])
                scores = await self.model(tile)
            except (ironcliw.ActorPanicked, ironcliw.ActorRestarting) as error:
                if attempt + 1 == ATTEMPTS:
                    self.outcome.failures.append(f"frame {number}: {error}")
                else:
                    self.outcome.retries += 1
            except ironcliw.Error as error:
                self.outcome.failures.append(f"frame {number}: {error}")
                return
            else:
                self.count(which, tile, int(scores.argmax()))
                return

    def count(self, which: int, tile: npt.NDArray[np.float32], answer: int) -> None:
        """Books the answer to a tile of picture `which`."""
        self.outcome.answered += 1
        self.outcome.correct += answer == which
        if len(self.outcome.inputs) < COMPARED:
            self.outcome.inputs.append(tile)
            self.outcome.answers.append(answer)


def run(
    folder: Path | None = None,
    *,
    frames: int = 2000,
    in_flight: int = 64,
    workers: int | None = None,
    endpoint: str | None = None,
) -> int:
    """Does the job and returns its exit code: 0 if every frame was answered and every buffer came back."""
    pictures = find_pictures(folder)
    try:
        runtime = ironcliw.Runtime(image_workers=workers, endpoint=endpoint)
    except (ironcliw.Error, OSError) as error:
        raise Complaint(str(error)) from error
    outcome, heartbeat = Outcome(frames), Heartbeat()
    with runtime as rt:
        if rt.endpoint_url is not None:
            print(f"endpoint: {rt.endpoint_url}")
        grids = survey(rt, pictures)
        print(f"pictures: {len(pictures)}, from {pictures[0].name} to {pictures[-1].name}")
        model = trained(rt, pictures, grids)
        asyncio.run(classify(rt, model, pictures, grids, outcome, in_flight, heartbeat))
    report(outcome, heartbeat)
    return verdict(outcome)


async def classify(
    rt: ironcliw.Runtime,
    model: ironcliw.Model,
    pictures: list[Picture],
    grids: list[Grid],
    outcome: Outcome,
    in_flight: int,
    heartbeat: Heartbeat,
) -> None:
    """The timed part, then the comparison with float32 and the accounts."""
    restarts_before = rt.snapshot()["restarts"]
    int8 = await rt.inference.load(model, precision="int8", name="tiles-int8")
    with Progress("frames", outcome.frames, "frames") as progress:
        job = Job(rt, pictures, grids, int8, outcome, progress)
        crashing = asyncio.create_task(crash(rt, job.half_way))
        beating = asyncio.create_task(heartbeat.beat())
        numbers = iter(range(outcome.frames))
        begin = time.perf_counter()
        await asyncio.gather(*(job.lane(numbers) for _ in range(in_flight)))
        outcome.seconds = time.perf_counter() - begin
        beating.cancel()
        await crashing
    await int8.unload()
    await compare(rt, model, outcome)
    await settle(rt, outcome, restarts_before)


async def crash(rt: ironcliw.Runtime, moment: asyncio.Event) -> None:
    """Makes the victim panic when the moment has come."""
    await moment.wait()
    # The panic is the answer that was asked for.
    with contextlib.suppress(ironcliw.ActorPanicked):
        await testing.crash(rt, VICTIM)


async def compare(rt: ironcliw.Runtime, model: ironcliw.Model, outcome: Outcome) -> None:
    """The share of the kept frames to which the float32 network gives the answer of the INT8 one."""
    fp32 = await rt.inference.load(model, precision="fp32", name="tiles-fp32")
    same = 0
    for start in range(0, len(outcome.inputs), BATCH):
        scores = await fp32(np.concatenate(outcome.inputs[start : start + BATCH]))
        same += int((scores.argmax(axis=1) == outcome.answers[start : start + BATCH]).sum())
    outcome.agreement = same / max(len(outcome.inputs), 1)
    outcome.inputs.clear()
    await fp32.unload()


async def settle(rt: ironcliw.Runtime, outcome: Outcome, restarts_before: int) -> None:
    """Waits for the victim's restart and the last buffers' return, and writes the accounts."""
    deadline = time.perf_counter() + SETTLE
    while True:
        outcome.restarts = rt.snapshot()["restarts"] - restarts_before
        outcome.outstanding = rt.pool.stats()["total_active"]
        if (outcome.restarts and not outcome.outstanding) or time.perf_counter() > deadline:
            break
        await asyncio.sleep(0.01)
    outcome.leaks = [leak.message for leak in await rt.leaks.check()]


def report(outcome: Outcome, heartbeat: Heartbeat) -> None:
    """Prints the table."""
    p50, p99 = np.percentile(outcome.latencies, (50, 99)) * 1e3
    lags = np.maximum(heartbeat.lags or [0.0], 0.0) * 1e3
    table(
        [
            ("frames", f"{outcome.answered} of {outcome.frames}"),
            ("frames/s", f"{outcome.answered / outcome.seconds:.0f}"),
            ("latency p50 / p99", f"{p50:.1f} / {p99:.1f} ms"),
            ("loop lag p99 / max", f"{np.percentile(lags, 99):.2f} / {lags.max():.2f} ms"),
            ("accuracy", f"{outcome.correct / outcome.frames:.1%}"),
            ("float32 agreement", f"{outcome.agreement:.1%}"),
            ("restarts", str(outcome.restarts)),
            ("retries", str(outcome.retries)),
            ("buffers outstanding", str(outcome.outstanding)),
            ("leaks", str(len(outcome.leaks))),
        ]
    )


def verdict(outcome: Outcome) -> int:
    """The exit code, with the reasons if it is not 0."""
    wrong = [*outcome.failures, *outcome.leaks]
    if outcome.answered != outcome.frames:
        wrong.append(f"{outcome.frames - outcome.answered} frames were lost")
    if outcome.outstanding:
        wrong.append(f"{outcome.outstanding} buffers did not come back")
    if not outcome.restarts:
        wrong.append(f"{VICTIM} was made to panic, and was not restarted")
    for reason in wrong:
        print(f"ironcliw: {reason}", file=sys.stderr)
    return 1 if wrong else 0
