"""Handles of buffers: parts without a copy, and every wrong use an error that is counted."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading

import ironcliw
import numpy as np
import pytest
from conftest import active, eventually


def misuse(rt: ironcliw.Runtime) -> dict[str, int]:
    return {kind: n for kind, n in rt.pool.stats()["misuse"].items() if n}  # type: ignore[misc]


def test_a_view_is_the_same_memory(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(100)
    view = buffer.view(10, 20)
    assert (view.id, view.offset, view.nbytes, len(view)) == (buffer.id, 10, 10, 10)
    np.asarray(view)[:] = 7
    memoryview(view)[0] = 8
    view[9] = 9
    view[1:3] = b"ab"
    assert bytes(buffer)[8:22] == bytes([0, 0, 8, 97, 98, 7, 7, 7, 7, 7, 7, 9, 0, 0])
    assert np.shares_memory(np.from_dlpack(view), np.asarray(buffer))
    inner = view.slice(2, 3)
    assert (inner.offset, bytes(inner)) == (12, bytes([98, 7, 7]))
    assert bytes(buffer.view()) == bytes(buffer) and buffer.view(5).nbytes == 95
    assert buffer.slice(100, 0).nbytes == 0 and bytes(buffer.view(100)) == b""
    assert repr(inner) == f"<ironcliw.BufferView of 3 bytes from 12 on of buffer {buffer.id}>"


def test_a_view_pins_its_buffer_and_outlives_its_release(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(4096)
    view = buffer.view(100, 200)
    np.asarray(view)[:] = 5
    assert buffer.views == 1 and buffer.release() is False and active(rt) == 1
    others = [rt.pool.try_allocate(4096) for _ in range(20)]
    assert bytes(view) == b"\5" * 100 and bytes(view.view(1, 2)) == b"\5"
    del others
    array = np.asarray(view)
    view.release()
    assert active(rt) == 1 and (array == 5).all()
    del array
    assert eventually(lambda: active(rt) == 0)
    assert view.released and "released" in repr(view)
    assert misuse(rt) == {}


def test_views_that_die_let_go(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    with buffer.view(0, 10) as view, view.view(2, 4) as inner:
        assert buffer.views == 2
    assert view.released and inner.released and buffer.views == 0
    buffer.view(0, 1)
    gc.collect()
    assert buffer.views == 0


def test_a_readonly_view_lets_nobody_write_and_does_not_hinder_freezing(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    view = buffer.view(readonly=True)
    assert view.readonly and view.view(1, 2).readonly and not buffer.readonly
    assert memoryview(view).readonly and not np.asarray(view).flags.writeable
    with pytest.raises(TypeError):
        view[0] = 1
    writable = buffer.view(0, 4)
    assert not writable.readonly
    kept = memoryview(view)
    buffer.freeze()
    assert writable.readonly and memoryview(writable).readonly
    kept.release()
    other = rt.pool.try_allocate(64)
    array = np.asarray(other.view(0, 4))
    with pytest.raises(ironcliw.InvalidInput, match="1 views that can write"):
        other.freeze()
    del array
    other.freeze()


def test_views_copy_and_pickle_by_value(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    buffer[10:14] = b"abcd"
    view = buffer.view(10, 14)
    twin = copy.deepcopy(view)
    assert isinstance(twin, ironcliw.Buffer) and bytes(twin) == b"abcd" and twin.id != view.id
    assert [pickle.loads(pickle.dumps(view, protocol)) for protocol in (2, 5)] == [bytearray(b"abcd")] * 2
    assert pickle.loads(pickle.dumps(buffer.view(10, 12, readonly=True))) == b"ab"


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 65), (65, 65), (10, 9), (-1, 5), (0, -1), (0, 2**63), (2**64, 2**65), (-(2**70), 5)],
)
def test_a_part_that_is_not_there_is_a_counted_error(rt: ironcliw.Runtime, start: int, stop: int) -> None:
    buffer = rt.pool.try_allocate(64)
    with pytest.raises(ironcliw.OutOfBounds, match="of 64") as caught:
        buffer.view(start, stop)
    assert isinstance(caught.value, IndexError) and isinstance(caught.value, ironcliw.InvalidInput)
    with pytest.raises(ironcliw.OutOfBounds):
        buffer.view(0, 64).view(start, stop)
    with pytest.raises(ironcliw.OutOfBounds):
        buffer.slice(start, 65 if start <= stop else -1)
    assert misuse(rt) == {"out_of_bounds": 3} and buffer.views == 0


def test_arguments_of_the_wrong_type_are_type_errors(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    for wrong in (1.5, "1", None, [1]):
        with pytest.raises(TypeError):
            buffer.slice(wrong, 1)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            rt.pool.release(wrong)  # type: ignore[arg-type]
    assert buffer.slice(np.int64(3), np.uint8(4)).nbytes == 4
    assert misuse(rt) == {}


def test_wrong_uses_are_errors_and_counted(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    view = buffer.view(0, 8)
    assert rt.pool.release(buffer) is False
    view.release()
    uses = [
        lambda: memoryview(buffer),
        lambda: np.asarray(buffer),
        lambda: buffer[0],
        lambda: buffer.view(0, 1),
        lambda: buffer.view(0, 100),
        lambda: buffer.freeze(),
        lambda: buffer.__enter__(),
        lambda: copy.copy(buffer),
        lambda: np.from_dlpack(buffer),
        lambda: pickle.dumps(buffer, 5),
        lambda: memoryview(view),
        lambda: view.view(0, 1),
        lambda: copy.copy(view),
        lambda: np.asarray(view),
        lambda: view.__enter__(),
    ]
    for number, use in enumerate(uses, 1):
        with pytest.raises((ironcliw.BufferReleased, BufferError)):
            use()
        assert misuse(rt) == {"use_after_release": number}, number
    for release in (buffer.release, view.release, lambda: rt.pool.release(buffer)):
        with pytest.raises(ironcliw.BufferReleased):
            release()
    assert misuse(rt) == {"use_after_release": len(uses), "double_release": 3}
    with rt.pool.try_allocate(64) as buffer:
        buffer.release()
    assert misuse(rt)["double_release"] == 3, "the end of a block is no second release"


def test_a_buffer_is_released_by_its_own_pool_only(rt: ironcliw.Runtime) -> None:
    with ironcliw.Runtime(memory_limit=1 << 20) as other:
        buffer = other.pool.try_allocate(64)
        with pytest.raises(ironcliw.ForeignBuffer) as caught:
            rt.pool.release(buffer)
        assert isinstance(caught.value, ironcliw.InvalidInput)
        assert not buffer.released and active(other) == 1
        assert misuse(rt) == {"foreign_release": 1} and misuse(other) == {}
        assert other.pool.release(buffer) is True


def test_a_buffer_may_be_released_after_its_runtime_has_closed() -> None:
    with ironcliw.Runtime() as rt:
        buffer = rt.pool.try_allocate(64)
    assert rt.pool.release(buffer) is True


def test_threads_that_release_the_same_buffer_release_it_once(rt: ironcliw.Runtime) -> None:
    outcomes: list[bool | type] = []
    for _ in range(50):
        buffer = rt.pool.try_allocate(64)
        start = threading.Barrier(4)

        def release(buffer: ironcliw.Buffer = buffer, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                outcomes.append(buffer.release())
            except ironcliw.BufferReleased as error:
                outcomes.append(type(error))

        threads = [threading.Thread(target=release) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count(True) == 50 and outcomes.count(ironcliw.BufferReleased) == 150
    assert misuse(rt) == {"double_release": 150} and active(rt) == 0


# Sizes


@pytest.mark.parametrize("n", [-1, 0, -(2**70), 2**63 - 1, 2**63, 2**64, 2**100])
def test_sizes_that_no_buffer_has_are_errors(rt: ironcliw.Runtime, n: int) -> None:
    for ask in (rt.pool.try_allocate, rt.pool.allocate):
        with pytest.raises(ironcliw.InvalidInput):
            ask(n)


@pytest.mark.parametrize("n", [1.5, None, "64", b"64", np.float64(2)])
def test_sizes_that_are_no_numbers_are_type_errors(rt: ironcliw.Runtime, n: object) -> None:
    for ask in (rt.pool.try_allocate, rt.pool.allocate):
        with pytest.raises(TypeError):
            ask(n)  # type: ignore[arg-type]


def test_any_integer_is_a_size(rt: ironcliw.Runtime) -> None:
    for n in (True, np.int64(64), np.uint8(65), np.int32(1 << 20)):
        assert rt.pool.try_allocate(n).nbytes == int(n)  # type: ignore[arg-type]


def test_buffers_around_the_edges_of_classes_are_as_long_as_asked(rt: ironcliw.Runtime) -> None:
    for edge in (64, 192, 256, 320, 4096, 1 << 16, 128 << 10, 2 << 20):
        for n in (edge - 1, edge, edge + 1):
            buffer = rt.pool.try_allocate(n)
            assert buffer.nbytes == n and not np.asarray(buffer).any()


@pytest.mark.skipif(sys.platform != "linux", reason="limits its address space")
def test_memory_that_the_system_refuses_is_an_error_and_the_program_goes_on() -> None:
    program = """
import resource, ironcliw
rt = ironcliw.Runtime(memory_limit=1 << 40, image_workers=1, scheduler_threads=1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), used + (256 << 20)))
for n in (64 << 20, 1 << 20, 100_000):
    held = []
    try:
        while True: held.append(rt.pool.try_allocate(n, zeroed=False))
    except MemoryError as error:
        assert isinstance(error, ironcliw.PoolExhausted), error
    assert len(held) > 1
    try: rt.pool.allocate(n).result()
    except ironcliw.PoolExhausted: pass
    del held
assert rt.ping().result(timeout=20) >= 1
assert rt.pool.try_allocate(64 << 20).nbytes == 64 << 20
rt.close().result(timeout=20)
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


def test_a_python_thread_that_ends_returns_what_its_cache_held(rt: ironcliw.Runtime) -> None:
    def lease_and_die(fails: bool) -> None:
        buffers = [rt.pool.try_allocate(50_000) for _ in range(10)]
        del buffers
        if fails:
            raise RuntimeError

    for turn in range(10):
        thread = threading.Thread(target=lease_and_die, args=(turn % 2 == 1,))
        hook, threading.excepthook = threading.excepthook, lambda _: None
        thread.start()
        thread.join()
        threading.excepthook = hook
    stats = rt.pool.stats()
    assert active(rt) == 0 and stats["allocations"] == 100
    assert stats["recycled"] >= 80, "dead threads kept what they had"
