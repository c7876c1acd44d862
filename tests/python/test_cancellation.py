"""A cancel, a timeout and a dropped call reach work that waits and work that runs.

The work here would take minutes to hours; that a test ends at all is the assertion.
"""

from __future__ import annotations

import asyncio
import gc
import time
import urllib.request
from collections.abc import Callable, Iterator

import ironcliw
import numpy as np
import pytest
from conftest import active, encoded, eventually, photograph

SMALL = ironcliw.Pipeline().resize((8, 8))


@pytest.fixture
def one() -> Iterator[ironcliw.Runtime]:
    """A runtime with one image worker, which ends with nothing outstanding."""
    with ironcliw.Runtime(image_workers=1, endpoint="127.0.0.1:0") as runtime:
        yield runtime
        gc.collect()
        assert eventually(lambda: active(runtime) == 0), runtime.leaks.counts()
        assert runtime.leaks.check().result(timeout=10) == []


def endless(channels: int = 3) -> np.ndarray:
    """As many pixels as an image may have, in the memory of one row."""
    return np.broadcast_to(photograph(1, 2900)[:, :, :channels], (60_000, 2900, channels))


def metric(rt: ironcliw.Runtime, name: str) -> float:
    """The sum of a metric's samples."""
    with urllib.request.urlopen(f"{rt.endpoint_url}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"ironcliw_{name}"))


def worker(rt: ironcliw.Runtime) -> dict[str, object]:
    return next(actor for actor in rt.snapshot()["actors"] if actor["path"] == "images/0")  # type: ignore[return-value]


def jobs(rt: ironcliw.Runtime) -> dict[str, Callable[..., ironcliw.Call[object]]]:
    im = rt.images
    return {
        "denoise": lambda **how: im.denoise(endless(), 0.5, **how),
        "convolve": lambda **how: im.convolve(endless(), np.full((7, 7), 0.02), **how),
        "auto_process": lambda **how: im.auto_process(endless(), **how),
        "convert": lambda **how: im.convert(endless(), "gray", **how),
        "normalize": lambda **how: im.normalize(endless(), [0.5] * 3, [0.5] * 3, **how),
        "resize": lambda **how: im.resize(endless(), (64, 2000), **how),
        "texture": lambda **how: im.texture(endless(), **how),
        "dominant_colors": lambda **how: im.dominant_colors(endless(), **how),
        "encode": lambda **how: im.encode(endless(), "jpeg", **how),
        "run": lambda **how: im.run(SMALL, [endless()] * 5000, **how),
    }


# Known before there is a runtime.
NAMES = [
    "denoise",
    "convolve",
    "auto_process",
    "convert",
    "normalize",
    "resize",
    "texture",
    "dominant_colors",
    "encode",
    "run",
]


@pytest.mark.parametrize("name", NAMES)
def test_cancelling_stops_a_running_job_and_the_worker_goes_on(
    one: ironcliw.Runtime, photo: np.ndarray, name: str
) -> None:
    async def main() -> None:
        call = jobs(one)[name]()
        await asyncio.sleep(0.02)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(call.released(), 60)
        assert (await one.images.resize(photo, (4, 3))).shape == (3, 4, 3)

    asyncio.run(main())
    assert metric(one, "images_cancelled") + float(str(worker(one)["skipped"])) == 1
    assert metric(one, "images_errors") == 0


def test_a_timeout_stops_a_running_job(one: ironcliw.Runtime, photo: np.ndarray) -> None:
    call = one.images.convolve(endless(), np.full((7, 7), 0.02), timeout=0.05)
    with pytest.raises(ironcliw.DeadlineExceeded):
        call.result(timeout=60)
    call.released().result(timeout=60)
    one.images.resize(photo, (4, 3)).result(timeout=60)
    assert eventually(lambda: metric(one, "images_cancelled") == 1)


def test_dropping_a_call_stops_its_job(one: ironcliw.Runtime, photo: np.ndarray) -> None:
    call = one.images.denoise(endless(), 0.5)
    released = call.released()
    time.sleep(0.02)
    del call
    gc.collect()
    released.result(timeout=60)
    one.images.resize(photo, (4, 3)).result(timeout=60)


def test_asyncio_timeout_and_a_cancelled_task_reach_the_job(one: ironcliw.Runtime, photo: np.ndarray) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await one.images.denoise(endless(), 0.5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.images.denoise(endless(), 0.5), 0.05)
        task = asyncio.create_task(one.images.denoise(endless(), 0.5))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(one.images.denoise(endless(), 0.5))
                await asyncio.sleep(0.05)
                raise RuntimeError("the group ends")
        await asyncio.wait_for(one.images.resize(photo, (4, 3)), 60)

    asyncio.run(main())


def test_queued_work_is_skipped_and_its_inputs_let_go(one: ironcliw.Runtime, photo: np.ndarray) -> None:
    blocking = one.images.texture(endless())
    queued = [one.images.denoise(photo, 0.5) for _ in range(50)]
    assert all(call.cancel() for call in queued)
    blocking.cancel()
    for call in queued:
        call.released().result(timeout=60)
    one.images.resize(photo, (4, 3)).result(timeout=60)
    assert float(str(worker(one)["skipped"])) >= 50


def test_a_large_file_is_not_decoded_to_its_end(one: ironcliw.Runtime, photo: np.ndarray) -> None:
    wide = np.tile(photo, (40, 40, 1))
    for data in (encoded(wide, "PNG", compress_level=1), encoded(wide, "JPEG", quality=90)):
        before = metric(one, "images_cancelled") + float(str(worker(one)["skipped"]))
        calls = [one.images.decode(data) for _ in range(8)]
        time.sleep(0.01)
        for call in calls:
            call.cancel()
        for call in calls:
            call.released().result(timeout=60)
        assert eventually(
            lambda before=before: (
                metric(one, "images_cancelled") + float(str(worker(one)["skipped"])) > before
            )
        )
    one.images.resize(photo, (4, 3)).result(timeout=60)


def test_an_inference_stops_between_its_layers(one: ironcliw.Runtime) -> None:
    weights = np.random.default_rng(1).normal(0, 0.02, (1024, 1024)).astype(np.float32)
    network = ironcliw.Model()
    for _ in range(100):
        network.linear(weights)
    model = one.inference.load(network, "int8").result(timeout=120)
    batch = np.ones((20_000, 1024), np.float32)
    for end in ("cancel", "timeout", "drop"):
        call = model(batch, timeout=0.05 if end == "timeout" else None)
        released = call.released()
        time.sleep(0.05)
        if end == "cancel":
            call.cancel()
        del call
        gc.collect()
        released.result(timeout=60)
    assert model(batch[:1]).result(timeout=60).shape == (1, 1024)
    assert metric(one, "inference_cancelled") == 3
    model.unload().result(timeout=60)


def test_a_snapshot_that_nobody_waits_for_is_not_taken(one: ironcliw.Runtime) -> None:
    frame = photograph(600, 800)
    allocations = one.pool.stats()["allocations"]
    blockers = [one.scheduler.run(time.sleep, 0.2) for _ in range(4)]
    call = one.images.denoise(frame, 0.5, copy=True)
    call.cancel()
    call.copied().result(timeout=60)
    for blocker in blockers:
        blocker.result(timeout=60)
    assert one.pool.stats()["allocations"] == allocations


def test_what_was_finished_before_the_cancel_stays(one: ironcliw.Runtime, photo: np.ndarray) -> None:
    call = one.images.resize(photo, (4, 3))
    assert eventually(call.done)
    assert not call.cancel() and not call.cancelled()
    assert call.result().shape == (3, 4, 3)
