"""Borrowed inputs, copies, results in arrays of one's own, and what a Buffer shares with whom."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import active, encoded, eventually, photograph

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPARE = ironcliw.Pipeline().resize((48, 32)).normalize(MEAN, STD)

NUMPY = int(np.__version__.split(".")[0])
"""Before 2 numpy speaks a DLPack before 1.0."""


def endless() -> np.ndarray:
    """An image that takes a worker long, in the memory of one row."""
    return np.broadcast_to(photograph(1, 2900), (60_000, 2900, 3))


def block(rt: ironcliw.Runtime) -> list[ironcliw.Call[np.ndarray]]:
    """Keeps every image worker busy for long."""
    kernel = np.full((7, 7), 0.02, np.float32)
    return [rt.images.convolve(endless(), kernel) for _ in range(4)]


def images(rt: ironcliw.Runtime) -> dict[str, Callable[..., ironcliw.Call[Any]]]:
    """Every call that takes an image, of the photograph's size or any other."""
    im = rt.images
    return {
        "encode": lambda x, **how: im.encode(x, "png", **how),
        "dominant_colors": im.dominant_colors,
        "edge_density": im.edge_density,
        "texture": im.texture,
        "spatial_layout": im.spatial_layout,
        **arrays(rt),
    }


def arrays(rt: ironcliw.Runtime) -> dict[str, Callable[..., ironcliw.Call[np.ndarray]]]:
    """Those whose result is an array."""
    im = rt.images
    return {
        "resize": lambda x, **how: im.resize(x, (40, 30), **how),
        "convert": lambda x, **how: im.convert(x, "gray", **how),
        "normalize": lambda x, **how: im.normalize(x, MEAN, STD, **how),
        "convolve": lambda x, **how: im.convolve(x, "gaussian_3x3", **how),
        "denoise": lambda x, **how: im.denoise(x, 0.5, **how),
        "sharpen": lambda x, **how: im.sharpen(x, 0.5, **how),
        "auto_process": im.auto_process,
        "run": lambda x, **how: im.run(PREPARE, [x, x[::-1]], **how),
    }


def model(rt: ironcliw.Runtime) -> ironcliw.LoadedModel:
    weights = np.random.default_rng(1).normal(0, 0.1, (8, 16)).astype(np.float32)
    return rt.inference.load(ironcliw.Model().linear(weights), "fp32").result()


# Inputs


def test_an_input_lives_as_long_as_a_worker_reads_it(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    for end in (lambda call: call.cancel(), lambda call: None):
        blocking = block(rt)
        frame = photo.copy()
        alive = weakref.ref(frame)
        call = rt.images.denoise(frame, 0.5)
        released = call.released()
        del frame
        end(call)
        del call
        gc.collect()
        while alive() is not None:
            assert not blocking[0].done() or eventually(released.done)
            for one in blocking:
                one.cancel()
            released.result(timeout=60)
            rt.ping().result()  # any call hands back what workers are done with
        released.result(timeout=60)


def test_a_call_that_was_awaited_has_released_its_inputs(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    async def main() -> None:
        frame = photo.copy()
        alive = weakref.ref(frame)
        call = rt.images.resize(frame, (10, 10))
        await call
        assert call.copied().done() and call.released().done()
        del frame
        assert alive() is None

    asyncio.run(main())


def test_a_call_that_borrows_nothing_has_nothing_to_release(rt: ironcliw.Runtime) -> None:
    call = rt.ping()
    assert call.copied().result(timeout=10) is None and call.released().result(timeout=10) is None


# Copies


def test_after_copied_the_input_may_be_written_to(rt: ironcliw.Runtime) -> None:
    before = photograph(600, 800)
    for name, call in images(rt).items():
        expected = call(before).result()
        frame = before.copy()
        blocking = block(rt)  # every worker is busy
        pending = call(frame, copy=True)
        pending.copied().result(timeout=60)
        assert not pending.done(), name
        frame[:] = 0
        for one in blocking:
            one.cancel()
        result = pending.result(timeout=60)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(result, expected, name)
        else:
            assert result == expected, name
        pending.released().result(timeout=60)


def test_a_file_and_a_models_input_can_be_copied_as_well(rt: ironcliw.Runtime) -> None:
    photo = photograph(400, 500)
    data = bytearray(encoded(photo, "PNG"))
    call = rt.images.decode(data, copy=True)
    call.copied().result(timeout=60)
    data[:] = bytes(len(data))
    assert (call.result(timeout=60) == photo).all()

    loaded = model(rt)
    batch = np.random.default_rng(2).normal(size=(5000, 32)).astype(np.float32)[:, ::2]
    expected = loaded(batch).result(timeout=60)
    frame = batch.copy()
    answer = loaded(frame, copy=True)
    answer.copied().result(timeout=60)
    frame[:] = np.nan
    np.testing.assert_array_equal(answer.result(timeout=60), expected)


def test_a_small_input_is_copied_before_the_call_returns(rt: ironcliw.Runtime) -> None:
    frame = photograph(40, 50)
    expected = rt.images.denoise(frame, 1.0).result()
    call = rt.images.denoise(frame, 1.0, copy=True)
    assert call.copied().done()
    frame[:] = 0
    np.testing.assert_array_equal(call.result(timeout=60), expected)


def test_copied_is_awaitable_and_comes_although_the_call_ends_early(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        frame = photograph(600, 800)
        for timeout, end in ((None, True), (1e-6, False)):
            call = rt.images.denoise(frame, 0.5, copy=True, timeout=timeout)
            if end:
                call.cancel()
            await asyncio.wait_for(asyncio.gather(call.copied(), call.copied(), call.released()), 60)

    asyncio.run(main())


def test_a_copy_that_finds_no_memory_is_an_error_of_the_await() -> None:
    with ironcliw.Runtime(memory_limit=1 << 20) as rt:
        call = rt.images.texture(photograph(900, 800), copy=True)
        with pytest.raises(ironcliw.PoolExhausted):
            call.result(timeout=60)
        call.copied().result(timeout=60)


def test_a_function_on_the_schedulers_threads_can_ask_for_copies() -> None:
    with ironcliw.Runtime(scheduler_threads=1) as rt:
        frame = photograph(600, 800)

        def work() -> tuple[int, ...]:
            return rt.images.resize(frame, (20, 10), copy=True).result(timeout=60).shape

        assert rt.scheduler.run(work).result(timeout=60) == (10, 20, 3)


# Results in the caller's arrays


def test_out_is_written_and_returned(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    for name, call in arrays(rt).items():
        for image in (photo, photo[::-1, ::2], photo[:, :, 0], photo[:, :, :1]):
            if (image.ndim == 2 or image.shape[2] == 1) and name in ("normalize", "run"):
                continue  # their mean and deviation are of three channels
            expected = call(image).result()
            out = np.empty_like(expected)
            assert call(image, out=out).result(timeout=60) is out, name
            np.testing.assert_array_equal(out, expected, name)
    data = encoded(photo, "PNG")
    out = np.empty_like(photo)
    assert rt.images.decode(data, out=out).result() is out and (out == photo).all()
    del expected
    assert active(rt) == 0


def test_a_models_output_can_go_to_out(rt: ironcliw.Runtime) -> None:
    loaded = model(rt)
    for count in (3, 40_000):  # the second is split over the scheduler's threads
        batch = np.random.default_rng(2).normal(size=(count, 16)).astype(np.float32)
        expected = loaded(batch).result()
        out = np.empty((count, 8), np.float32)
        assert loaded(batch, out=out).result() is out
        np.testing.assert_array_equal(out, expected)
    with pytest.raises(ironcliw.InvalidInput, match=r"shape \(3, 8\)"):
        loaded(batch[:3], out=np.empty((3, 9), np.float32))


def test_a_batch_in_parallel_goes_to_out(rt: ironcliw.Runtime) -> None:
    frames = [photograph(480, 640 + n) for n in range(8)]
    expected = rt.images.run(PREPARE, frames).result()
    out = np.empty((8, 3, 32, 48), np.float32)
    assert rt.images.run(PREPARE, frames, out=out).result() is out
    np.testing.assert_array_equal(out, expected)


def test_out_may_be_a_buffer_of_the_pool(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    with rt.pool.try_allocate(30 * 40 * 3) as buffer:
        out = np.asarray(buffer).reshape(30, 40, 3)
        rt.images.resize(photo, (40, 30), out=out).result()
        np.testing.assert_array_equal(out, rt.images.resize(photo, (40, 30)).result())
        del out


def test_an_out_that_does_not_fit_is_refused_at_once(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    good = np.zeros((30, 40, 3), np.uint8)
    readonly = good.copy()
    readonly.flags.writeable = False
    for out, message in (
        (np.zeros((40, 30, 3), np.uint8), r"shape \(30, 40, 3\), not \(40, 30, 3\)"),
        (np.zeros((30, 40), np.uint8), "shape"),
        (good.astype(np.int8), "dtype uint8, not int8"),
        (np.zeros((30, 80, 3), np.uint8)[:, ::2], "contiguous"),
        (readonly, "writeable"),
    ):
        with pytest.raises(ironcliw.InvalidInput, match=message):
            rt.images.resize(photo, (40, 30), out=out)
    with pytest.raises(TypeError, match="out must be a numpy array, not bytearray"):
        rt.images.resize(photo, (40, 30), out=bytearray(3600))  # type: ignore[arg-type]
    unaligned = np.zeros(3 * 120 * 160 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(3, 120, 160)
    with pytest.raises(ironcliw.InvalidInput, match="aligned"):
        rt.images.normalize(photo, MEAN, STD, out=unaligned)
    swapped = np.zeros((3, 120, 160), np.dtype(np.float32).newbyteorder())
    with pytest.raises(ironcliw.InvalidInput, match="dtype float32"):
        rt.images.normalize(photo, MEAN, STD, out=swapped)


def test_what_a_file_holds_is_held_against_out_by_the_await(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    data = encoded(photo, "PNG")
    turned = np.zeros((160, 120, 3), np.uint8)  # as many bytes
    call = rt.images.decode(data, out=turned)
    with pytest.raises(ironcliw.InvalidInput, match="160x120 pixels, not 120x160"):
        call.result()
    with pytest.raises(ironcliw.InvalidInput, match=r"\(H, W, 3\)"):
        rt.images.decode(data, out=turned[:, :, 0].copy())
    with pytest.raises(ironcliw.DecodeError):
        rt.images.decode(data[:-100], out=np.zeros_like(photo)).result()


def test_an_out_that_overlaps_an_input_is_refused(rt: ironcliw.Runtime) -> None:
    sheet = np.zeros((300, 100, 3), np.uint8)
    top, middle = sheet[:100], sheet[50:150]
    for image, out in (
        (top, top),
        (top, middle),
        (middle, top),
        (top[::-1], middle),
        (sheet[::2][:100], top),
    ):
        with pytest.raises(ironcliw.InvalidInput, match="overlaps an input"):
            rt.images.denoise(image, 0.5, out=out)
    with pytest.raises(ironcliw.InvalidInput, match="overlaps an input"):
        rt.images.run(ironcliw.Pipeline(), [sheet[200:]], out=sheet[None, 200:])
    # Neighbours that share no byte are no overlap, even between each other's rows.
    rt.images.denoise(top, 0.5, out=sheet[100:200]).result()
    row = np.zeros((1, 100, 3), np.uint8)
    rt.images.denoise(sheet[::300], 0.5, out=row).result()
    rt.images.denoise(sheet[::2][:1], 0.5, out=sheet[1:2]).result()
    odd = sheet[1::2]
    assert odd[:1].flags.c_contiguous
    rt.images.resize(sheet[::2], (100, 1), out=odd[10:11]).result()
    memory = np.zeros(64, np.float32)
    loaded = rt.inference.load(ironcliw.Model().relu(), "fp32").result()
    with pytest.raises(ironcliw.InvalidInput, match="overlaps an input"):
        loaded(memory[:32].reshape(4, 8), out=memory[16:48].reshape(4, 8))


def test_with_a_copy_out_may_be_the_input(rt: ironcliw.Runtime) -> None:
    for frame in (photograph(40, 50), photograph(600, 800)):
        expected = rt.images.denoise(frame, 1.0).result()
        assert rt.images.denoise(frame, 1.0, copy=True, out=frame).result(timeout=60) is frame
        np.testing.assert_array_equal(frame, expected)


def test_no_two_calls_in_flight_share_an_out(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    frame = endless()
    out = np.empty((60_000, 2900), np.uint8)  # not touched beyond what is written
    call = rt.images.convert(frame, "gray", out=out)
    with pytest.raises(ironcliw.InvalidInput, match="out of another call"):
        rt.images.convert(frame[1:], "gray", out=out[1:])
    with pytest.raises(ironcliw.InvalidInput, match="input is the out of another call"):
        rt.images.texture(out[500:600])
    call.cancel()
    call.released().result(timeout=60)
    small = out[:120, :160].copy()
    assert rt.images.convert(photo, "gray", out=small).result() is small
    rt.images.convert(frame[:2], "gray", out=out[:2]).result()


def test_out_lives_until_the_worker_is_done_with_it(rt: ironcliw.Runtime) -> None:
    out = np.empty((60_000, 2900), np.uint8)
    alive = weakref.ref(out)
    call = rt.images.convert(endless(), "gray", out=out)
    released = call.released()
    del out
    assert alive() is not None
    call.cancel()
    del call
    gc.collect()
    released.result(timeout=60)
    # Any call hands back what workers are done with.
    assert eventually(lambda: rt.ping().result() > 0 and alive() is None)


# Buffers


def test_numpy_takes_a_buffer_by_dlpack_and_gives_results_by_it(
    rt: ironcliw.Runtime, photo: np.ndarray
) -> None:
    buffer = rt.pool.try_allocate(1000)
    array = np.from_dlpack(buffer)
    assert array.shape == (1000,) and array.dtype == np.uint8
    buffer[3] = 7
    assert array[3] == 7 and buffer.views == 1
    # numpy 1 takes everything by DLPack for read-only.
    if NUMPY >= 2:
        array[3] = 8
        assert buffer[3] == 8
    assert buffer.release() is False and active(rt) == 1
    assert array[4] == 0
    del array
    assert active(rt) == 0

    result = rt.images.resize(photo, (40, 30)).result()
    view = np.from_dlpack(result)
    assert np.shares_memory(view, result)
    assert rt.images.texture(view).result() == rt.images.texture(result).result()
    out = np.from_dlpack(np.empty_like(photo))
    if out.flags.writeable:
        assert rt.images.denoise(photo, 0.5, out=out).result() is out


def test_a_dlpack_capsule_has_both_forms_and_cleans_up(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(100)
    assert buffer.__dlpack_device__() == (1, 0)
    old, new = buffer.__dlpack__(), buffer.__dlpack__(max_version=(1, 3), dl_device=(1, 0))
    assert '"dltensor"' in repr(old) and '"dltensor_versioned"' in repr(new)
    assert buffer.views == 2
    del old, new  # never consumed
    assert buffer.views == 0
    twin = buffer.__dlpack__(max_version=(1, 0), copy=True)
    assert buffer.views == 0 and active(rt) == 2
    del twin
    assert active(rt) == 1
    with pytest.raises(BufferError, match="device"):
        buffer.__dlpack__(dl_device=(2, 0))
    with pytest.raises(ironcliw.InvalidInput, match="stream"):
        buffer.__dlpack__(stream=1)  # type: ignore[arg-type]
    buffer.release()
    with pytest.raises(ironcliw.BufferReleased):
        buffer.__dlpack__()


def test_a_consumer_of_before_dlpack_1_0_gets_the_old_form(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(10)

    class Old:
        def __dlpack__(self, **_: object) -> object:
            return buffer.__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return buffer.__dlpack_device__()

    array = np.from_dlpack(Old())
    buffer[2] = 5
    assert array.tolist() == [0, 0, 5, 0, 0, 0, 0, 0, 0, 0] and buffer.views == 1
    del array
    assert buffer.views == 0


def test_a_capsule_may_die_on_another_thread(rt: ironcliw.Runtime) -> None:
    held = [np.from_dlpack(rt.pool.try_allocate(1000))]
    assert active(rt) == 1
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert eventually(lambda: active(rt) == 0)


def test_a_frozen_buffer_has_read_only_views(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(16)
    view = memoryview(buffer)
    with pytest.raises(ironcliw.InvalidInput, match="1 views that can write"):
        buffer.freeze()
    view[0] = 9
    view.release()
    assert buffer.freeze() is buffer and buffer.readonly and "read-only" in repr(buffer)
    assert buffer.freeze() is buffer
    assert memoryview(buffer).readonly and not np.asarray(buffer).flags.writeable
    if NUMPY >= 2:
        assert not np.from_dlpack(buffer).flags.writeable
    else:
        with pytest.raises(BufferError, match="read-only"):
            np.from_dlpack(buffer)
    assert buffer[0] == 9
    with pytest.raises(TypeError, match="read-only"):
        buffer[0] = 1
    with pytest.raises(BufferError, match="read-only"):
        buffer.__dlpack__()
    twin = copy.copy(buffer)
    assert not twin.readonly and bytes(twin) == bytes(buffer)
    gc.collect()
    assert buffer.release()
    with pytest.raises(ironcliw.BufferReleased):
        buffer.freeze()


def test_a_slice_is_a_memoryview_of_the_same_bytes(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(100)
    part = buffer[10:20]
    assert isinstance(part, memoryview) and len(part) == 10
    part[:] = bytes(range(10))
    buffer[0], buffer[1:3] = 5, b"ab"
    assert buffer[12] == 2 and buffer[-1] == 0 and bytes(buffer[:3]) == b"\x05ab"
    assert bytes(buffer)[10:20] == bytes(range(10)) and len(bytes(buffer)) == len(buffer)
    with pytest.raises(IndexError):
        buffer[100]
    assert buffer.views == 1 and buffer.release() is False
    assert part[3] == 3 and "its last view" in repr(buffer)
    with pytest.raises(ironcliw.BufferReleased):
        buffer[0]
    part.release()
    assert active(rt) == 0


def test_release_says_whether_memory_went_back(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(100)
    array, view = np.asarray(buffer), memoryview(buffer)
    assert buffer.views == 2
    assert buffer.release() is False and "its 2 views" in repr(buffer)
    del array, view
    assert eventually(lambda: active(rt) == 0)
    assert rt.pool.try_allocate(100).release() is True


def test_buffers_and_results_are_pickled_and_copied_by_value(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    buffer = rt.pool.try_allocate(64)
    buffer[:4] = b"abcd"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps(buffer, protocol))
        assert type(loaded) is bytearray and loaded == bytes(buffer)
    apart: list[pickle.PickleBuffer] = []
    small = pickle.dumps(buffer, 5, buffer_callback=apart.append)
    assert pickle.loads(small, buffers=apart) == bytes(buffer)
    del apart
    for twin in (copy.copy(buffer), copy.deepcopy(buffer), copy.deepcopy([buffer])[0]):
        assert isinstance(twin, ironcliw.Buffer) and twin.id != buffer.id and bytes(twin) == bytes(buffer)
        twin[0] = 0
        assert buffer[0] == ord("a")
    gc.collect()
    assert type(pickle.loads(pickle.dumps(buffer.freeze()))) is bytes
    assert buffer != copy.copy(buffer) and len({buffer, buffer}) == 1

    result = rt.images.normalize(photo, MEAN, STD).result()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)), result)
    np.testing.assert_array_equal(copy.deepcopy(result), result)
