"""The pool, buffers and leak tracking, used wrongly: typed errors that can be read, and nothing hangs."""

from __future__ import annotations

import asyncio
import copy
import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import active
from ironcliw import testing

HUGE = 10**5000
"""Python refuses to write it: `str(HUGE)` is a ValueError."""


class Failing:
    """No number after all."""

    def __index__(self) -> int:
        raise LookupError("mine")

    def __float__(self) -> float:
        raise LookupError("mine")


# Arguments


def calls(rt: ironcliw.Runtime) -> dict[str, Callable[[Any], object]]:
    """All that takes an int."""
    buffer = rt.pool.try_allocate(64)
    view = buffer.view()
    return {
        "try_allocate": rt.pool.try_allocate,
        "allocate": rt.pool.allocate,
        "set_limit": rt.pool.set_limit,
        "reserve": lambda n: rt.pool.reserve("python", n),
        "cap": lambda n: rt.pool.reserve("python", 0, cap=n),
        "view": buffer.view,
        "view's end": lambda n: buffer.view(0, n),
        "slice": lambda n: view.slice(n, 1),
        "slice's length": lambda n: view.slice(0, n),
    }


@pytest.mark.parametrize("n", [HUGE, -HUGE], ids=["huge", "negative"])
def test_an_int_of_thousands_of_digits_is_refused_like_any_other(rt: ironcliw.Runtime, n: int) -> None:
    for name, call in calls(rt).items():
        with pytest.raises(ironcliw.InvalidInput) as caught:
            call(n)
        assert len(str(caught.value)) < 200, name
        assert isinstance(caught.value, ironcliw.OutOfBounds) == name.startswith(("view", "slice"))
    assert rt.pool.stats()["misuse"]["out_of_bounds"] == 4
    for limit in (n, {"plain": n}, {n: 1.0}):
        with pytest.raises(ironcliw.InvalidInput):
            rt.leaks.age_limit = limit  # type: ignore[assignment]


def test_an_error_of_the_arguments_own_passes_through(rt: ironcliw.Runtime) -> None:
    for call in calls(rt).values():
        with pytest.raises(LookupError, match="mine"):
            call(Failing())
    with pytest.raises(LookupError, match="mine"):
        rt.leaks.age_limit = Failing()  # type: ignore[assignment]


def test_a_wait_that_is_not_a_number_is_refused_and_does_not_last_for_ever(rt: ironcliw.Runtime) -> None:
    nan = float("nan")
    with rt.leaks.scope() as scope:
        held = rt.pool.try_allocate(100)
        for wait in (scope.assert_clean, lambda timeout: testing.assert_clean(rt, timeout=timeout)):
            with pytest.raises(ironcliw.InvalidInput, match="timeout must be a number of seconds"):
                wait(timeout=nan)
    held.release()
    for call in (lambda: rt.leaks.check(timeout=nan), lambda: rt.pool.allocate(64, timeout=nan)):
        with pytest.raises(ironcliw.InvalidInput, match="positive number of seconds"):
            call()


@pytest.mark.parametrize("spin", [1.0, 2.0**63, -1.0, float("nan")])
def test_a_spin_that_threads_would_not_end_for_is_refused(spin: float) -> None:
    with pytest.raises(ironcliw.InvalidInput, match="spin must be"):
        ironcliw.Runtime(spin=spin)


def test_a_name_may_be_any_text_that_is_unicode(rt: ironcliw.Runtime) -> None:
    for name in ("", "a\0b", "Größe/0", "x" * 100_000):
        with rt.pool.measure(name) as measure:
            assert measure.owner == name and measure.allocations == 0
        with rt.leaks.scope(owner=name, assert_clean=True) as scope:
            assert scope.owner == name and len(repr(scope)) < 200_000
    for ask in (rt.pool.measure, lambda name: rt.leaks.scope(owner=name)):
        with pytest.raises(UnicodeEncodeError):
            ask("\ud800")


def test_a_stream_that_refuses_a_report_says_so(rt: ironcliw.Runtime) -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        rt.leaks.report(stream=Full())  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        rt.leaks.report(stream="path")  # type: ignore[arg-type]


def test_a_report_keeps_no_more_of_a_text_than_people_read() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("ä" * 1_000_000)
        rt.pool.try_allocate(100, tracked=True).touch("ö" * 1_000_000)

    with ironcliw.Runtime(leak_level="paranoid") as rt:
        asyncio.run(main())
        (report,) = rt.leaks.check().result(timeout=10)
        assert report.task == "ä" * 128
        assert [touch["hint"] for touch in report.touches] == ["ö" * 128]


# Objects


def objects(rt: ironcliw.Runtime) -> list[object]:
    return [rt, rt.pool, rt.leaks, rt.pool.measure(), rt.leaks.scope(), rt.pool.pressure(), rt.leaks.report()]


def test_what_belongs_to_a_runtime_is_neither_pickled_nor_copied(rt: ironcliw.Runtime) -> None:
    for each in objects(rt):
        for way in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                way(each)


def test_nothing_of_it_is_made_or_derived_from_by_hand(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    for each in [*objects(rt)[1:], buffer, buffer.view()]:
        kind = type(each)
        if kind is ironcliw.LeakScope:
            continue  # in Python, with nothing to protect
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})
        with pytest.raises(AttributeError):
            each.something = 1  # type: ignore[attr-defined]


def test_handles_are_compared_by_identity_and_may_be_referred_to_weakly(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    view, other = buffer.view(), buffer.view()
    assert buffer == buffer and view != other and view != buffer and buffer != bytes(buffer)
    assert len({buffer, view, other}) == 3
    gone: list[object] = []
    references = [weakref.ref(each, gone.append) for each in (view, buffer)]
    del view, other, buffer
    assert [reference() for reference in references] == [None, None] and len(gone) == 2
    assert active(rt) == 0


def test_a_buffer_in_a_cycle_comes_back_and_a_finalizer_may_use_it(rt: ironcliw.Runtime) -> None:
    seen: list[object] = []

    class Holder:
        def __init__(self) -> None:
            self.buffer = rt.pool.try_allocate(64)
            self.view = self.buffer.view(0, 8)
            self.itself = self

        def __del__(self) -> None:
            seen.append(bytes(self.view))
            self.view.release()
            self.buffer.release()
            with pytest.raises(ironcliw.BufferReleased):
                self.buffer.view()

    for _ in range(10):
        Holder()
    gc.collect()
    assert seen == [bytes(8)] * 10 and active(rt) == 0


def test_a_leak_error_reaches_another_process(rt: ironcliw.Runtime) -> None:
    with rt.leaks.scope() as scope:
        held = rt.pool.try_allocate(100)
    with pytest.raises(ironcliw.LeakError) as caught:
        scope.assert_clean(timeout=0.01)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert type(twin) is ironcliw.LeakError and str(twin) == str(caught.value)
    assert twin.reports == [] and len(caught.value.reports) == 1
    held.release()


def test_a_copy_of_a_leak_error_has_its_reports_and_notes(rt: ironcliw.Runtime) -> None:
    with rt.leaks.scope() as scope:
        held = rt.pool.try_allocate(100)
    with pytest.raises(ironcliw.LeakError) as caught:
        scope.assert_clean(timeout=0.01)
    caught.value.add_note("while the cache was filled")
    for copied in (copy.copy, copy.deepcopy):
        twin = copied(caught.value)
        assert type(twin) is ironcliw.LeakError and str(twin) == str(caught.value)
        assert twin.reports == caught.value.reports and len(twin.reports) == 1
        assert twin.__notes__ == ["while the cache was filled"]
    assert twin.reports is not caught.value.reports and twin.__notes__ is not caught.value.__notes__
    assert pickle.loads(pickle.dumps(caught.value)).__notes__ == ["while the cache was filled"]
    held.release()


# The end


def test_after_the_close_what_needs_the_runtime_says_so_and_what_is_known_is_told() -> None:
    with ironcliw.Runtime(image_workers=1) as rt:
        pool, leaks = rt.pool, rt.leaks
        buffer, levels = pool.try_allocate(64), pool.pressure()
        scope, measure = leaks.scope(), pool.measure()
    for refused in (
        lambda: pool.try_allocate(64),
        lambda: pool.allocate(64),
        lambda: pool.allocate(1 << 20),
        lambda: pool.allocate(64, timeout=1),
        pool.trim,
        lambda: pool.set_limit(1 << 20),
        lambda: pool.reserve("python", 64),
        pool.measure,
        pool.pressure,
        lambda: setattr(pool, "refuses_under_pressure", True),
        lambda: setattr(pool, "watches_system", True),
        leaks.check,
        leaks.report,
        leaks.scope,
        lambda: scope.__enter__(),
    ):
        with pytest.raises(ironcliw.RuntimeClosed):
            refused()
    assert pool.stats()["total_active"] == 1 and leaks.counts() == {"python": {64: 1}}
    assert pool.limit > 0 and pool.pressure_level == "Low" and pool.snapshot().totals.live == 1
    with measure:
        assert buffer.release()
    assert measure.releases == 1
    for each in (rt, pool, leaks, levels, scope, measure, buffer):
        assert repr(each)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_leaves_a_scope_and_is_refused_what_it_has_no_threads_for() -> None:
    program = """
import os, signal, sys, threading, warnings, ironcliw
warnings.simplefilter("ignore")
rt = ironcliw.Runtime(image_workers=1)
over = threading.Event()

def look():
    while not over.is_set(): rt.leaks.age_limit = 300.0; rt.leaks.report(); rt.leaks.check().result()

thread = threading.Thread(target=look); thread.start()

def child():
    signal.alarm(20)
    for use in (lambda: rt.leaks.age_limit, lambda: setattr(rt.leaks, "age_limit", 1.0), rt.leaks.report,
                open_scope.check, open_scope.assert_clean, rt.leaks.scope, rt.pool.snapshot):
        try: use()
        except ironcliw.RuntimeClosed: continue
        raise AssertionError(use)
    rt.leaks.level = "paranoid"
    repr(rt.leaks), rt.leaks.counts(), rt.leaks.level

codes = set()
for _ in range(30):
    with rt.leaks.scope() as open_scope:
        pid = os.fork()
        if pid == 0:
            try: child()
            except BaseException as error: print(repr(error)); os._exit(1)
    if pid == 0: os._exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
thread.join()
print(codes)
rt.close().result()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "{0}\n"), done.stdout + done.stderr


# Protocols


class Raw(ctypes.Structure):
    """`Py_buffer`."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    )


SIMPLE, WRITABLE, FORMAT, ND, STRIDES, FULL_RO, FULL = 0, 1, 4, 8, 0x18, 0x11C, 0x11D


def filled(object_: object, flags: int) -> Raw:
    raw = Raw(obj=1)
    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = [ctypes.py_object, ctypes.POINTER(Raw), ctypes.c_int]
    try:
        get(object_, ctypes.byref(raw), flags)
    except BaseException:
        assert not raw.obj, "after an error there is no object to let go of"
        raise
    return raw


def let_go(raw: Raw) -> None:
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))


@pytest.mark.parametrize("flags", [SIMPLE, WRITABLE, FORMAT, ND, STRIDES, FULL_RO, FULL])
@pytest.mark.parametrize("n", [0, 1, 40])
def test_the_buffer_protocol_gives_what_the_flags_ask_for(rt: ironcliw.Runtime, flags: int, n: int) -> None:
    buffer = rt.pool.try_allocate(40)
    for each in (buffer, buffer.view(40 - n)):
        raw = filled(each, flags)
        assert (raw.len, raw.itemsize, raw.readonly, raw.ndim) == (len(each), 1, 0, 1)
        assert raw.buf and not raw.suboffsets
        assert raw.format == (b"B" if flags & FORMAT else None)
        assert bool(raw.shape) == bool(flags & ND) and (not raw.shape or raw.shape[0] == len(each))
        has_strides = flags & STRIDES == STRIDES
        assert bool(raw.strides) == has_strides and (not has_strides or raw.strides[0] == 1)
        let_go(raw)
    del each
    assert buffer.views == 0


def test_a_writable_view_of_what_is_read_only_is_a_buffer_error(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(40)
    for each in (buffer.view(readonly=True), buffer.freeze(), buffer.view()):
        for flags in (WRITABLE, FULL):
            with pytest.raises(BufferError, match="writable"):
                filled(each, flags)
        raw = filled(each, FULL_RO)
        assert raw.readonly == 1
        let_go(raw)
        del each
    assert buffer.views == 0
    buffer.release()
    with pytest.raises(ironcliw.BufferReleased):
        filled(buffer, SIMPLE)


def test_threads_that_view_and_release_one_view_neither_hang_nor_lose_count(
    rt: ironcliw.Runtime,
) -> None:
    for _ in range(50):
        buffer = rt.pool.try_allocate(64)
        view = buffer.view()
        start = threading.Barrier(3)

        def use(view: ironcliw.BufferView = view, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                while True:
                    memoryview(view).release()
            except ironcliw.BufferReleased:
                pass

        threads = [threading.Thread(target=use) for _ in range(2)]
        for thread in threads:
            thread.start()
        start.wait()
        view.release()
        for thread in threads:
            thread.join()
        assert buffer.views == 0 and buffer.release() is True


@pytest.mark.parametrize("dtype", ["uint8", np.uint8, np.dtype("u1"), None])
def test_a_dtype_that_is_bytes_needs_no_copy_however_it_is_written(rt: ironcliw.Runtime, dtype: Any) -> None:
    buffer = rt.pool.try_allocate(40)
    array = buffer.__array__(dtype, copy=False)
    assert np.shares_memory(array, np.asarray(buffer))
    assert not np.shares_memory(buffer.__array__(dtype, copy=True), array)
    with pytest.raises(ironcliw.InvalidInput, match="needs a copy"):
        buffer.__array__("float32", copy=False)
    with pytest.raises(TypeError):
        buffer.__array__("no dtype")
    assert buffer.view(40).__array__(dtype).shape == (0,)


def test_dlpack_speaks_both_versions_and_says_what_it_gives(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(40)
    for version, name in ((None, "dltensor"), ((0, 8), "dltensor"), ((1, 0), "dltensor_versioned")):
        assert f'"{name}"' in repr(buffer.__dlpack__(max_version=version))
    assert '"dltensor_versioned"' in repr(buffer.__dlpack__(max_version=(2, 5)))
    assert buffer.__dlpack_device__() == (1, 0) and buffer.__dlpack__(dl_device=(1, 0)) is not None
    assert np.from_dlpack(buffer.view(40)).shape == (0,)
    for options in ({"dl_device": (2, 0)}, {"max_version": "1"}, {"max_version": (-1, 0)}, {"copy": 1}):
        with pytest.raises((BufferError, TypeError, OverflowError)):
            buffer.__dlpack__(**options)  # type: ignore[arg-type]
    with pytest.raises(ironcliw.InvalidInput, match="stream"):
        buffer.__dlpack__(stream=1)
    gc.collect()
    assert buffer.views == 0, "a capsule that nobody took lets go"
    buffer.freeze()
    with pytest.raises(BufferError, match="read-only"):
        buffer.__dlpack__()
    # A copy is its owner's to write to.
    assert '"dltensor"' in repr(buffer.__dlpack__(copy=True))
