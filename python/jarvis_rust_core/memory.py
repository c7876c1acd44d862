"""Pooled memory: plain buffers, tracked buffers, and arrays that share memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ironcliw import Buffer, InvalidInput
from ironcliw.types import PoolStats

from ._runtime import outside_loop, shared

Bytes = npt.NDArray[np.uint8]


class PooledBuffer:
    """Pooled bytes, zeroed when they are allocated; they go back when this and every view of it have died."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def size(self) -> int:
        """Bytes."""
        return self._buffer.nbytes

    def as_numpy(self) -> Bytes:
        """The bytes themselves, writable, 1-D."""
        return np.asarray(self._buffer)

    def __len__(self) -> int:
        return self._buffer.nbytes

    def __repr__(self) -> str:
        return f"<PooledBuffer of {self._buffer.nbytes} bytes>"


class RustMemoryPool:
    """The pool of this process. Every instance is a view of the same pool."""

    def allocate(self, n: int) -> PooledBuffer:
        """`n` zeroed bytes, 1 or more, or `PoolExhausted` (a `MemoryError`)."""
        return PooledBuffer(shared().pool.try_allocate(n))

    def stats(self) -> list[tuple[str, int]]:
        """`(name, value)` pairs: the pool's counters."""
        return [(name, value) for name, value in shared().pool.stats().items() if isinstance(value, int)]

    def __repr__(self) -> str:
        return f"<RustMemoryPool {dict(self.stats())}>"


class TrackedBuffer:
    """Pooled bytes that must be released; using them afterwards is a `ValueError`.

    One that merely dies gives its memory back, and `check_leaks` reports it.
    """

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def id(self) -> int:
        """The lease's id, never used twice in a process."""
        return self._buffer.id

    def len(self) -> int:
        """Bytes."""
        return self._buffer.nbytes

    def as_numpy(self) -> Bytes:
        """The bytes themselves, writable, 1-D."""
        return np.asarray(self._buffer)

    def release(self) -> None:
        """Gives the memory back as soon as no view of it is left."""
        self._buffer.release()

    def __len__(self) -> int:
        return self._buffer.nbytes

    def __repr__(self) -> str:
        state = ", released" if self._buffer.released else ""
        return f"<TrackedBuffer {self._buffer.id} of {self._buffer.nbytes} bytes{state}>"


class RustAdvancedMemoryPool:
    """The same pool, with a record of every lease that is taken here, and reports of what leaked."""

    def allocate(self, n: int) -> TrackedBuffer:
        """`n` zeroed bytes, 1 or more, or `PoolExhausted` (a `MemoryError`)."""
        return TrackedBuffer(shared().pool.try_allocate(n, tracked=True))

    def stats(self) -> PoolStats:
        """`total_active`, `total_allocated_bytes`, `memory_pressure` (`"Low"`, `"Medium"`, `"High"`,
        `"Critical"`) and `size_classes`, a list of dictionaries with `size`, `available`, `capacity` and
        `high_water_mark`."""
        return shared().pool.stats()

    def check_leaks(self) -> list[str]:
        """A line for each leak; empty when nothing leaked."""
        with outside_loop():
            return [report.message for report in shared().leaks.check().result()]

    def __repr__(self) -> str:
        stats = shared().pool.stats()
        return f"<RustAdvancedMemoryPool {stats['total_active']} active, {stats['memory_pressure']} pressure>"


class ZeroCopyArray:
    """Other shapes of an array's own memory."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"a numpy array is needed, not {type(array).__name__}")
        self._array = array

    @classmethod
    def from_numpy(cls, array: npt.NDArray[Any]) -> ZeroCopyArray:
        """Shares memory with `array`, whatever its dtype, shape and strides."""
        return cls(array)

    def as_numpy(self) -> npt.NDArray[Any]:
        """A view with the shape of the original."""
        return self._array.view()

    def as_numpy_2d(self, height: int, width: int) -> npt.NDArray[Any]:
        """A view as `(height, width)`."""
        return self._reshaped((height, width))

    def as_numpy_3d(self, height: int, width: int, channels: int) -> npt.NDArray[Any]:
        """A view as `(height, width, channels)`."""
        return self._reshaped((height, width, channels))

    def size(self) -> int:
        """Elements; bytes for an array of uint8."""
        return self._array.size

    def _reshaped(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        if min(shape) < 0 or np.prod(shape, dtype=object) != self._array.size:
            raise InvalidInput(f"{self._array.size} elements cannot be viewed as {shape}")
        view = self._array.reshape(shape)
        # reshape copies where no strides can express the shape; a copy's memory lies elsewhere.
        if self._array.size and not np.may_share_memory(view, self._array):
            raise InvalidInput(f"an array with strides {self._array.strides} cannot be viewed as {shape}")
        return view

    def __repr__(self) -> str:
        return f"<ZeroCopyArray {self._array.shape} {self._array.dtype}>"
