"""The contract of the native module. Everything here is imported from `ironcliw`, except what starts with
`_`.

Rules that hold everywhere:

* A method that returns a `Call` has already queued its work when it returns. Bad arguments are raised by
  the call itself, not by the await: `TypeError` for a wrong kind of object, `InvalidInput` (a `ValueError`)
  for a wrong value, `ModelError` for a model, `RuntimeClosed` after `close()`.
* An image is a numpy array of uint8: `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`, of any strides, not
  empty. Other shapes and dtypes are `InvalidInput`.
* Inputs are borrowed without a copy, and kept alive. Do not write to one before the call is done, or, with
  `copy=True`, before `await call.copied()` is: the work is then done on a copy, which another thread takes.
* `out` is the array that the result is written to and that the await returns: of exactly the result's shape
  and dtype, C-contiguous, aligned, writeable; it may overlap no input (unless `copy=True`) and be the `out`
  of no other call in flight. What does not fit is `InvalidInput`. Leave it alone until the call is done, or,
  after a cancel or a timeout, until `await call.released()` is. A call that fails leaves anything in it.
* An array that comes back is C-contiguous, aligned and writable, and views a pooled buffer, which returns
  to the pool when the array's last view dies.
* `timeout` is in seconds; when it has passed, the call raises `DeadlineExceeded`. Zero, negative and NaN are
  `InvalidInput`.
"""

import builtins
from asyncio import TimerHandle
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextvars import Context
from types import GenericAlias, TracebackType
from typing import Any, Generic, Protocol, Self, SupportsIndex, TypeVar, TypeVarTuple, final, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer as BytesLike
from typing_extensions import CapsuleType

from ironcliw.actor import Actor, Backoff
from ironcliw.leaks import LeakScope
from ironcliw.memory import PoolSnapshot
from ironcliw.types import (
    ActorStatus,
    AgeLimits,
    AllocatorStats,
    BuildInfo,
    Format,
    Frame,
    GrowthSite,
    LeakKind,
    LeakLevel,
    LeakTotal,
    LoopChoice,
    Mode,
    Overflow,
    PoolStats,
    Precision,
    Pressure,
    Priority,
    Remaining,
    Restart,
    SchedulerStats,
    Snapshot,
    SpatialLayout,
    Status,
    Strategy,
    SupervisorSnapshot,
    Texture,
    Touch,
)

_S = TypeVar("_S")
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

_Image = npt.NDArray[np.uint8]
_Float = npt.NDArray[np.float32]

class _Writable(Protocol):
    def write(self, text: str, /) -> object: ...

__all__ = [
    "ActorContext",
    "ActorRef",
    "Buffer",
    "BufferView",
    "Call",
    "Images",
    "Inference",
    "Job",
    "LeakReport",
    "LeakTable",
    "Leaks",
    "LoadedModel",
    "Measure",
    "Model",
    "Pipeline",
    "Pool",
    "Runtime",
    "Scheduler",
    "Supervisor",
    "TakenSnapshot",
    "_Scope",
    "__version__",
    "_build_info",
    "_describe_leaks",
    "_set_log_levels",
    "allocator_stats",
    "current_job",
]

__version__: str

@final
class Call(Generic[_T_co]):
    """Work that is under way: awaitable, and a future to `asyncio` (`gather`, `wait`, `wait_for`, `shield`).

    It belongs to the loop that ran when it was made, else to the first loop that awaits it. It may be
    awaited again after it is done. One that is never awaited is silent. Cancelling it, a timeout that passes,
    and dropping it make its actor skip the work; work that has begun stops soon.
    """

    _asyncio_future_blocking: bool
    def __await__(self) -> Generator[Any, None, _T_co]: ...
    def __iter__(self) -> Generator[Any, None, _T_co]: ...
    def result(self, timeout: float | None = None) -> _T_co:
        """Waits for the result without holding the GIL; Ctrl-C interrupts it.

        Raises what the work raised, `DeadlineExceeded` when `timeout` seconds have passed (the work goes on),
        `asyncio.CancelledError` when it was cancelled, and `asyncio.InvalidStateError` when it is pending
        and this thread runs its loop, which could never end.
        """

    def exception(self) -> BaseException | None:
        """What the work raised. `asyncio.InvalidStateError` while it is pending."""

    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def cancel(self, msg: Any | None = None) -> bool:
        """Whether it was still pending, and is cancelled now."""

    def copied(self) -> Call[None]:
        """Done when the work reads its inputs no more, and you may write to them.

        With `copy=True` that is soon, when the copy has been taken; else when the work is over."""

    def released(self) -> Call[None]:
        """Done when the work touches no memory of yours any more, neither its inputs nor `out`.

        An awaited result says as much; after a cancel or a timeout the work may take a moment to stop.
        """

    def get_loop(self) -> Any:
        """The loop it belongs to; `RuntimeError` if it has none yet."""

    def add_done_callback(self, fn: Callable[[Self], object], *, context: Context | None = None) -> None: ...
    def remove_done_callback(self, fn: Callable[[Self], object]) -> int: ...
    # The coroutine's side, by which `create_task` and `TaskGroup` take a call.
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    def send(self, _value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> GenericAlias: ...

@final
class Runtime:
    """Threads, actors and the five subsystems. `with` and `async with` close it at the end.

    `workers`: arbiter threads of the control plane. `image_workers`: image actors, a thread each.
    `scheduler_threads`: threads of the work-stealing pool. Each defaults by the cores that this process may
    use.
    `pin`: keep threads on cores of their own. `niceness`: of the computing threads, 0 to 19, where the
    system has it; above 0 the event loop, which they serve, goes first. `spin`: seconds for which a thread
    without work looks for more before it sleeps, at most 0.1; 0 turns that off, for awaits too.
    `memory_limit`: the most bytes that the pool holds. `memory_watermarks`: shares of it; when more than the
    first is held, idle memory goes back to the system until no more than the second is, and leases go on.
    `purge_after`: seconds after which memory that was of no use goes back; `None`: it stays.
    `memory_reservations`: bytes that are kept for an owner, as `Pool.reserve` keeps them. `leak_age`: seconds
    after which a lease is too old, None for never, or one of these by kind. `leak_growth`: in so many windows
    of so many seconds the live leases of a class must have risen to be called growing; None is never.
    `endpoint`: `"127.0.0.1:0"` to serve the supervision endpoint.
    """

    def __new__(
        cls,
        *,
        workers: int | None = None,
        image_workers: int | None = None,
        scheduler_threads: int | None = None,
        pin: bool = True,
        niceness: int = 10,
        spin: float = 75e-6,
        memory_limit: int | None = None,
        memory_watermarks: tuple[float, float] | None = (0.8, 0.7),
        purge_after: float | None = 10.0,
        memory_reservations: Mapping[str, int] | None = None,
        leak_level: LeakLevel = "simple",
        leak_age: float | AgeLimits | None = 300.0,
        leak_growth: tuple[int, float] | None = (6, 10.0),
        endpoint: str | None = None,
    ) -> Self: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def leaks(self) -> Leaks: ...
    @property
    def images(self) -> Images: ...
    @property
    def inference(self) -> Inference: ...
    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def closed(self) -> bool: ...
    @property
    def endpoint_url(self) -> str | None:
        """`http://127.0.0.1:<port>`, or None if there is no endpoint."""

    def ping(self, *, timeout: float | None = None) -> Call[int]:
        """Asks an actor for the number of pings it has answered, this one included."""

    def ping_many(self, n: int, *, timeout: float | None = None) -> Call[list[int]]:
        """`n` pings behind one awaitable: the numbers, in order. The first error ends it."""

    def snapshot(self) -> Snapshot:
        """The whole tree, at once, through no mailbox. Answers after `close()` too."""

    def status(self) -> Status: ...
    def close(self, timeout: float = 10.0) -> Call[None]:
        """Stops the actors, draining their mailboxes for at most `timeout` seconds. Calling it again is
        harmless.

        Calls in flight then raise `ActorStopped`; arrays and buffers stay valid until they die.
        """

    def spawn(
        self,
        cls: type[Actor],
        /,
        *args: Any,
        name: str | None = None,
        kwargs: dict[str, Any] | None = None,
        restart: Restart = "permanent",
        backoff: tuple[float, float] | Backoff | None = None,
        mailbox: int = 64,
        overflow: Overflow = "block",
        shutdown: float = 5.0,
        stuck_after: float | None = 30.0,
        loop: LoopChoice = "current",
        supervisor: Supervisor | None = None,
    ) -> Call[ActorRef]:
        """Starts an actor written in Python: an instance of `cls(*args, **kwargs)` under supervision. Its
        reference, once `on_start` is done.

        Raises `StartFailed` with the exception of `__init__` or a hook as its `__cause__`, and
        `InvalidInput` for a name that a sibling has. `name`: the end of its path, by default its class's and
        a number. `restart`: whether it is made anew after any end (`"permanent"`), after a crash
        (`"transient"`) or never (`"temporary"`). `backoff`: how long to wait before that, `(min, max)` in
        seconds or a `Backoff`; by default 50 ms doubling to 10 s, with jitter. `mailbox`: messages that may
        wait. `overflow`: what a full one does. `shutdown`: seconds that the message in hand gets when the
        actor is stopped. `stuck_after`: seconds for which a handler may hold the loop before the actor is
        reported as stuck. `loop`: handlers run on the event loop that runs here, or on one of the actor's
        own in a thread of its own, which ends with it. `supervisor`: a group; else the one of all that name
        none.
        """

    def supervisor(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 5,
        within: float = 10.0,
        restart: Restart = "temporary",
        supervisor: Supervisor | None = None,
    ) -> Supervisor:
        """Describes a group of actors; `async with` starts it, and stops it at the end.

        `strategy`: which of them are restarted when one fails: that one, all, or that one and those that
        were spawned after it. More than `max_restarts` in any `within` seconds, and the group gives up: it
        stops its actors in reverse order. `restart`: whether it is then started again, which counts as a
        failure to the supervisor above it.
        """

    def supervision_events(self, to: ActorRef) -> Call[None]:
        """Has `to` asked with each supervision event from now on, a dictionary as in `Snapshot`'s `events`,
        until it has stopped. What happens to `to` itself is left out."""

    def _crash(self, path: str) -> Call[None]:
        """Makes the actor at `path` panic while it handles a message; the call raises `ActorPanicked`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...
    def __aenter__(self) -> Awaitable[Self]: ...
    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> Awaitable[None]: ...

@final
class Pool:
    """Recycled buffers in size classes: `rt.pool`."""

    def allocate(self, n: int, *, zeroed: bool = True, timeout: float | None = None) -> Call[Buffer]:
        """`n` bytes, 1 or more; without a `timeout`, `PoolExhausted` (a `MemoryError`) if there is no room.

        With one it waits for room, first come first served, and raises `DeadlineExceeded` when the time is
        over; what can never fit is `PoolExhausted` at once.
        """

    def try_allocate(self, n: int, *, zeroed: bool = True, tracked: bool = False) -> Buffer:
        """`n` bytes at once, or `PoolExhausted`.

        A `tracked` buffer must be released: one that merely dies gives its memory back, and is reported as
        a leak.
        """

    def release(self, buffer: Buffer) -> bool:
        """`buffer.release()`; `ForeignBuffer` if it is of another runtime's pool."""

    def stats(self) -> PoolStats: ...
    def snapshot(self) -> PoolSnapshot:
        """Who holds what, exact by owner and class, with the recorded leases and the last ten minutes: to be
        printed, drawn (`to_html`, `to_flamegraph`, `to_chrome_trace`), compared or kept in a file."""

    def trim(self) -> Call[int]:
        """Gives idle memory back to the system; the number of bytes."""

    @property
    def limit(self) -> int:
        """The most bytes that the pool holds, leased and idle."""

    def set_limit(self, n: int) -> Call[int]:
        """Changes the limit; the number of bytes that went back to the system for it.

        Leases beyond it are given up as they end. Less than is reserved is `InvalidInput`.
        """

    def reserve(self, owner: str, n: int, *, cap: int | None = None) -> None:
        """Keeps `n` bytes for an owner, so that no other can starve it: whatever the others lease, it can
        lease so much. Beyond, it takes from the common room, up to `cap`.

        `"images"` stands for `images/0`, `images/1` and so on; the owner of what Python leases is `"python"`.
        Asking again changes it, and `0` without a cap ends it. More than the limit holds is `InvalidInput`.
        """

    def measure(self, owner: str | None = None) -> Measure:
        """`with rt.pool.measure() as m:` counts what is leased and returned within the block, by an owner (or
        all whose name begins with it and a slash) or by everybody.

        Measurements may overlap and nest. Each is exact, also with several threads: while one is open, every
        lease and release takes a lock.
        """

    def tell_pressure(self, to: ActorRef) -> Call[None]:
        """Has `to` told a `MemoryPressure` whenever the level changes, until the actor has stopped."""

    def pressure(self) -> AsyncIterator[Pressure]:
        """The level of memory pressure, then every change of it: `async for level in rt.pool.pressure()`.

        Who is slow gets the latest level. It ends when the runtime closes. There may be any number of them,
        on any loop; one is given up by dropping it.
        """

    @property
    def pressure_level(self) -> Pressure: ...
    @property
    def refuses_under_pressure(self) -> bool:
        """Whether leases that need new memory are `PoolExhausted` while the machine or the control group is
        critically short of it. True unless set."""

    @refuses_under_pressure.setter
    def refuses_under_pressure(self, refuses: bool) -> None: ...
    @property
    def watches_system(self) -> bool:
        """Whether the level is that of the machine and the control group as well, or of the pool's own
        occupancy alone. True unless set; it holds from the next look on, within a tenth of a second."""

    @watches_system.setter
    def watches_system(self, watches: bool) -> None: ...

@final
class TakenSnapshot:
    """What a `PoolSnapshot` is made of."""

    def to_json(self) -> bytes: ...

@final
class Measure:
    """What `Pool.measure` counts, so far or within its block. Bytes are those of whole blocks."""

    @property
    def owner(self) -> str | None: ...
    @property
    def allocations(self) -> int: ...
    @property
    def allocated_bytes(self) -> int: ...
    @property
    def fresh(self) -> int:
        """Of the allocations, those that needed new memory from the system."""

    @property
    def recycled(self) -> int: ...
    @property
    def failures(self) -> int:
        """Allocations refused."""

    @property
    def releases(self) -> int: ...
    @property
    def released_bytes(self) -> int: ...
    @property
    def live_bytes(self) -> int:
        """Bytes leased, those from before the block included."""

    @property
    def live_count(self) -> int: ...
    @property
    def peak_bytes(self) -> int:
        """By how much the most that was leased at a time exceeded what was leased before the block."""

    @property
    def peak_count(self) -> int: ...
    @property
    def peak_live_bytes(self) -> int:
        """The most that was leased at a time, what was leased before the block included."""

    @property
    def peak_live_count(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

@final
class Buffer:
    """A lease of pooled memory: writable bytes that `memoryview`, `numpy.asarray` and DLPack
    (`numpy.from_dlpack`, `torch.from_dlpack`) view without a copy (uint8, 1-D).

    It goes back to the pool when it is released or dies, but not before its last view has died. Any use after
    `release()` raises `BufferReleased`, except `id`, `nbytes`, `len()`, `released`, `readonly`, `views`,
    `repr()` and `release()` of a context's end.

    Buffers are equal and hash by identity; compare `memoryview`s for equal bytes. `copy.copy` makes another
    lease with the same bytes. Pickling is by value: what is unpickled is a `bytearray`, or `bytes` if the
    buffer was frozen, since a lease belongs to a pool of this process.
    """

    @property
    def id(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def released(self) -> bool: ...
    @property
    def readonly(self) -> bool:
        """Whether it was frozen."""

    @property
    def views(self) -> int:
        """Views of it that live: memoryviews, arrays (slices of an array count with it), DLPack tensors."""

    def release(self) -> bool:
        """Gives it back: True if its memory went back at once, False if it will when its last view dies.

        A second call raises `BufferReleased`."""

    def touch(self, hint: str | None = None) -> None:
        """Notes in its lease's record that it was used here, for what `hint` says: leak reports show the last
        eight such notes. Costs next to nothing unless it was leased at `advanced` (one in 128, and tracked
        ones) or `paranoid`.

        Views, `freeze()`, being sent to an actor and being given to a job are noted by themselves."""

    def hand_over(self) -> Self:
        """Says that the actor which leased it gives it away: it is no leftover should that actor crash.

        What an actor answers with, and a buffer that it sends, is handed over without a word."""

    def freeze(self) -> Self:
        """Makes it read-only, for good, and returns it: later views cannot write.

        `InvalidInput` while views live that can."""

    def view(
        self, start: SupportsIndex | None = None, stop: SupportsIndex | None = None, *, readonly: bool = False
    ) -> BufferView:
        """The bytes from `start` up to `stop`, without a copy.

        Where the buffer does not have them all: `OutOfBounds`, not a shorter view."""

    def slice(self, offset: SupportsIndex, nbytes: SupportsIndex, *, readonly: bool = False) -> BufferView:
        """`view(offset, offset + nbytes)`."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: builtins.slice, /) -> memoryview:
        """A slice is a `memoryview`: the same memory, no lease of its own."""

    @overload
    def __setitem__(self, index: SupportsIndex, value: int, /) -> None: ...
    @overload
    def __setitem__(self, index: builtins.slice, value: BytesLike, /) -> None: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: Any, /) -> Self: ...
    def __reduce_ex__(
        self, protocol: SupportsIndex, /
    ) -> tuple[type[bytes] | type[bytearray], tuple[Any]]: ...
    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """As the buffer protocol. numpy asks here when that failed, and so hears of `BufferReleased`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

@final
class BufferView:
    """A part of a buffer: the same memory, bytes like a `Buffer`'s, and a view that pins it.

    Its buffer's memory goes back when this was released or died as well. It may be used after its buffer's
    release, and not after its own. A view that is `readonly` lets nobody write through it.
    """

    @property
    def id(self) -> int:
        """Of the buffer."""

    @property
    def offset(self) -> int:
        """Where it begins in the buffer."""

    @property
    def nbytes(self) -> int: ...
    @property
    def released(self) -> bool: ...
    @property
    def readonly(self) -> bool:
        """Whether it, or its buffer, lets nobody write."""

    def view(
        self, start: SupportsIndex | None = None, stop: SupportsIndex | None = None, *, readonly: bool = False
    ) -> BufferView:
        """A part of this part."""

    def slice(self, offset: SupportsIndex, nbytes: SupportsIndex, *, readonly: bool = False) -> BufferView:
        """`view(offset, offset + nbytes)`."""

    def touch(self, hint: str | None = None) -> None:
        """As `Buffer.touch`."""

    def release(self) -> None:
        """Lets go of the buffer. A second call raises `BufferReleased`."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: builtins.slice, /) -> memoryview: ...
    @overload
    def __setitem__(self, index: SupportsIndex, value: int, /) -> None: ...
    @overload
    def __setitem__(self, index: builtins.slice, value: BytesLike, /) -> None: ...
    def __copy__(self) -> Buffer: ...
    def __deepcopy__(self, memo: Any, /) -> Buffer: ...
    def __reduce_ex__(
        self, protocol: SupportsIndex, /
    ) -> tuple[type[bytes] | type[bytearray], tuple[Any]]: ...
    def __dlpack__(
        self,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

@final
class LeakReport:
    """One finding of `rt.leaks.check()`; equal ones are merged. `str()` is the message."""

    @property
    def kind(self) -> LeakKind: ...
    @property
    def bytes(self) -> int: ...
    @property
    def class_size(self) -> int:
        """Bytes of one block of their size class; 0 stands for blocks larger than any class."""

    @property
    def owner(self) -> str: ...
    @property
    def incarnation(self) -> int | None:
        """Which instance of the owner crashed, from 0, if they outlived one."""

    @property
    def site(self) -> str | None:
        """Where it was leased, `file.py:line`, if that lease carried a record."""

    @property
    def task(self) -> str | None:
        """The name of the asyncio task that leased the first of them, if one did and it carried a record."""

    @property
    def frames(self) -> list[Frame]:
        """The calls that led to the first of them, the innermost first: Python's, then those of Rust and C.
        Empty below `advanced`."""

    @property
    def touches(self) -> list[Touch]:
        """The last eight things that were done with the first of them, the newest first. Empty below
        `advanced`."""

    @property
    def touches_dropped(self) -> int:
        """How often it was touched before that."""

    @property
    def age(self) -> float:
        """Seconds since the lease."""

    @property
    def equal(self) -> int:
        """How many leases this report stands for, 1 or more; of growth, by how many they became more."""

    @property
    def counts(self) -> list[int]:
        """The fewest that lived in each of the last windows, the oldest first, if they grow."""

    @property
    def sites(self) -> list[GrowthSite]:
        """Where those that live and have a record were leased, if they grow: the five places where most began
        since then, most first. `frames`, `task` and `touches` are then of the newest at the first place."""

    @property
    def message(self) -> str: ...

@final
class LeakTable:
    """What `rt.leaks.report()` answers: `str()` is the table, of at most 110 columns, and a notebook
    shows it as HTML."""

    @property
    def leaks(self) -> list[LeakReport]: ...
    @property
    def totals(self) -> list[LeakTotal]:
        """What lives, by owner and size class: exact."""

    @property
    def level(self) -> LeakLevel: ...
    def _repr_html_(self) -> str: ...

@final
class Leaks:
    """The ledger of every lease: `rt.leaks`."""

    level: LeakLevel
    @property
    def age_limit(self) -> AgeLimits:
        """After how many seconds a lease is too old, by its kind; set it to seconds or None for all kinds,
        or to a dictionary for one."""

    @age_limit.setter
    def age_limit(self, limit: float | AgeLimits | None) -> None: ...
    def check(self, *, timeout: float | None = None) -> Call[list[LeakReport]]:
        """Tracked buffers that died without a release, recorded leases that live longer than they should,
        those that outlive their owner's crash, and classes that grow.

        Empty when nothing leaked; a buffer that is in use for a while is no leak.
        """

    def report(self, *, stream: _Writable | None = None) -> LeakTable:
        """All that is known, at once, as a table for people, which is also written to `stream`."""

    def scope(self, *, owner: str | None = None, assert_clean: bool = False) -> LeakScope:
        """A `with` or `async with` block at the end of which everything leased within must be back, or all of
        one owner's. With `assert_clean` the end raises `LeakError` if something is not; without, ask it."""

    def counts(self) -> dict[str, dict[int, int]]:
        """Live leases at once: owner -> size class in bytes -> number. Exact at every level; zeros are left
        out."""

@final
class Pipeline:
    """Steps over one image, run in one go by `rt.images.run`. Each method returns the pipeline itself."""

    def __new__(cls) -> Self: ...
    def resize(self, size: tuple[int, int], /) -> Self:
        """To `(width, height)`."""

    def convert(self, mode: Mode, /) -> Self: ...
    def normalize(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """Last step: float32 `(C, H, W)`."""

@final
class Images:
    """Image work on threads of its own: `rt.images`."""

    def decode(
        self,
        data: BytesLike,
        *,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """JPEG or PNG to `(H, W, 3)`. Truncated or lying data raise `DecodeError`.

        That the image has another size than `out` only the await can say."""

    def encode(
        self,
        image: _Image,
        format: Format,
        quality: int = 90,
        *,
        copy: bool = False,
        timeout: float | None = None,
    ) -> Call[bytes]:
        """`quality`: 1 to 100, of a JPEG."""

    def resize(
        self,
        image: _Image,
        size: tuple[int, int],
        *,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """To `(width, height)`, bilinear and antialiased."""

    def convert(
        self,
        image: _Image,
        mode: Mode,
        *,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """Gray is `(H, W)` by 0.299/0.587/0.114; to rgba adds an opaque alpha, from rgba drops it."""

    def normalize(
        self,
        image: _Image,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        copy: bool = False,
        out: _Float | None = None,
        timeout: float | None = None,
    ) -> Call[_Float]:
        """`(x / 255 - mean) / std`, float32 `(C, H, W)`; a mean and a deviation a channel."""

    def convolve(
        self,
        image: _Image,
        kernel: str | npt.NDArray[Any],
        *,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """With a kernel by name (`"gaussian_3x3"`, …) or of 1x1, 3x3, 5x5 or 7x7 finite weights.

        A correlation; edges are mirrored without repeating the border pixel, as OpenCV does by default;
        results are rounded and clamped.
        """

    def denoise(
        self,
        image: _Image,
        strength: float,
        *,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """`strength`: 0 (nothing) to 1."""

    def sharpen(
        self,
        image: _Image,
        amount: float,
        *,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """`image + amount * (image - gaussian_3x3(image))`; `amount` 0 to 10."""

    def auto_process(
        self,
        image: _Image,
        *,
        denoise_strength: float = ...,
        sharpen_amount: float = ...,
        copy: bool = False,
        out: _Image | None = None,
        timeout: float | None = None,
    ) -> Call[_Image]:
        """A mild denoise, then a mild sharpen."""

    def dominant_colors(
        self, image: _Image, n: int = 5, *, copy: bool = False, timeout: float | None = None
    ) -> Call[list[tuple[int, int, int]]]:
        """At most `n` colours as `(r, g, b)`, the most frequent first."""

    def edge_density(self, image: _Image, *, copy: bool = False, timeout: float | None = None) -> Call[float]:
        """The share of pixels that lie on an edge, 0 to 1."""

    def texture(
        self, image: _Image, *, copy: bool = False, timeout: float | None = None
    ) -> Call[Texture]: ...
    def spatial_layout(
        self, image: _Image, *, copy: bool = False, timeout: float | None = None
    ) -> Call[SpatialLayout]: ...
    def map(
        self, method: str, images: Iterable[_Image] | Iterable[BytesLike], /, *args: Any, **options: Any
    ) -> Call[list[Any]]:
        """Every image through the method of this name, with the same other arguments, behind one awaitable:
        the results, in order. The first error ends it.

        `await rt.images.map("resize", frames, (224, 224), timeout=1.0)`. The results may be of different
        shapes; `run` makes one array of results that are alike.
        """

    def run(
        self,
        pipeline: Pipeline,
        images: Sequence[_Image | BytesLike],
        *,
        copy: bool = False,
        out: npt.NDArray[Any] | None = None,
        timeout: float | None = None,
    ) -> Call[npt.NDArray[Any]]:
        """Every image through the pipeline, stacked: `(n, …)`. The results must be of one shape.

        An image may also be the bytes of a JPEG or PNG file, which is decoded to RGB on the way: of many
        files that wait, only as many lie decoded in memory as are worked on. `DecodeError` at once if its
        header is wrong, and by the await if the rest is.
        """

@final
class Model:
    """Describes a network; `rt.inference.load` turns it into one that runs. Each method returns the model
    itself.

    Weights are laid out as PyTorch's, in float32 or float64 of any strides, and are copied. What does not
    fit raises `ModelError` at once, or at `load` if it takes the layers before to know.
    """

    def __new__(cls) -> Self: ...
    def linear(self, weights: npt.NDArray[Any], bias: npt.NDArray[Any] | None = None) -> Self:
        """`weights` `(out, in)`, over the last axis."""

    def conv2d(
        self,
        weights: npt.NDArray[Any],
        bias: npt.NDArray[Any] | None = None,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
    ) -> Self:
        """`weights` `(out, in / groups, kh, kw)`, over `(N, C, H, W)`."""

    def relu(self) -> Self: ...
    def relu6(self) -> Self: ...
    def hard_swish(self) -> Self: ...
    def sigmoid(self) -> Self: ...
    def gelu(self) -> Self: ...
    def softmax(self) -> Self:
        """Over the last axis."""

    def max_pool2d(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> Self:
        """`stride` defaults to the kernel."""

    def avg_pool2d(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> Self:
        """`stride` defaults to the kernel; padding counts as zeros."""

    def global_avg_pool(self) -> Self:
        """`(N, C, H, W)` to `(N, C, 1, 1)`."""

    def flatten(self) -> Self:
        """`(N, …)` to `(N, product)`."""

    def batch_norm2d(
        self,
        gamma: npt.NDArray[Any],
        beta: npt.NDArray[Any],
        mean: npt.NDArray[Any],
        var: npt.NDArray[Any],
        eps: float = 1e-5,
    ) -> Self: ...
    def residual(self, model: Model) -> Self:
        """`x + model(x)`; the inner model keeps the shape."""

    def __len__(self) -> int:
        """The number of layers."""

@final
class LoadedModel:
    """A model in the inference actors' hands: `await model(x)`. Safe to call from any task and thread."""

    def __call__(
        self,
        x: _Float,
        *,
        copy: bool = False,
        out: _Float | None = None,
        timeout: float | None = None,
    ) -> Call[_Float]:
        """`x` is float32 of any strides, borrowed: `(N, C, H, W)` for a model that starts with a
        convolution, any rank whose last axis is `in` for one that starts with `linear`. Another shape or
        dtype raises `ModelError`."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> Precision: ...
    @property
    def weight_bytes(self) -> int: ...
    def unload(self) -> Call[None]:
        """Frees the weights; later calls raise `ModelError`. A model that dies is unloaded, too."""

@final
class Inference:
    """Quantized models on threads of their own: `rt.inference`."""

    def load(
        self,
        model: Model,
        precision: Precision = "int8",
        *,
        name: str | None = None,
        replicas: int = 1,
        simd: bool = True,
        timeout: float | None = None,
    ) -> Call[LoadedModel]:
        """Packs the weights. `replicas`: how many inferences may run at once. `simd=False` takes the
        portable path."""

    def quantize(self, weights: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
        """Flat, row-major, one symmetric scale: `round(w * 127 / max|w|)`; zeros for zeros.

        NaN and infinity are `InvalidInput`."""

def allocator_stats() -> AllocatorStats:
    """What the allocator of the native module and the system say of memory now; also without a runtime."""

def _build_info() -> BuildInfo: ...
def _set_log_levels(levels: Sequence[tuple[str, int]]) -> None:
    """The level from which on each logger takes records. For `ironcliw._logs`."""

def current_job() -> Job:
    """The job whose function this thread runs.

    Outside of one it is an idle job: never cancelled, and nobody hears its progress. So a function that
    asks may be called directly as well.
    """

@final
class Job:
    """A call of `rt.scheduler.run` or `map`, as its function sees it: `ironcliw.current_job()`.

    A function that runs cannot be interrupted; one that takes long asks `cancelled` or `check()` now and
    then.
    """

    @property
    def name(self) -> str | None: ...
    @property
    def pool(self) -> str: ...
    @property
    def priority(self) -> Priority: ...
    @property
    def cancelled(self) -> bool:
        """Nobody wants the result: the call was cancelled or its timeout has passed, another item of the
        `map` failed, or the interpreter exits. A call that was merely dropped is wanted still."""

    @property
    def remaining(self) -> float | None:
        """Seconds until the timeout; None without one."""

    def check(self) -> None:
        """Raises if `cancelled`: `DeadlineExceeded` after the timeout, else `asyncio.CancelledError`."""

    def progress(self, done: Any, total: Any = None) -> None:
        """Tells the call's `progress` callback. Cheap in an inner loop: the newest report is passed on, at
        most once in 50 ms, and the last one before the result. In the function of a `map`, whose items are
        counted for it, leave it alone."""

@final
class Scheduler:
    """Work-stealing pools of threads for Python functions: `rt.scheduler`.

    The threads hold the GIL while Python code runs. Functions that release it (numpy, zlib, files) run in
    parallel; pure Python takes turns with the event loop, and is better off in processes.
    """

    def run(
        self,
        fn: Callable[[*_Ts], _T],
        /,
        *args: *_Ts,
        priority: Priority = "normal",
        timeout: float | None = None,
        name: str | None = None,
        progress: Callable[[Any, Any], object] | bool | None = None,
        pool: str | None = None,
    ) -> Call[_T]:
        """Calls `fn(*args)` on a thread of the pool, in a copy of the caller's context; what it raises
        passes through unchanged. For keyword arguments use `functools.partial`.

        Cancelled, or past its `timeout`, it is skipped if it has not begun; if it has, `current_job()`
        tells it. `progress(done, total)` hears what the function reports to `current_job().progress`, on
        the event loop's thread if one runs here, else on the function's; with `True` it is a bar on
        standard error, if that is a terminal. Called on a thread of the same pool, `fn` is run at once.
        """

    def map(
        self,
        fn: Callable[[_S], _T],
        iterable: Iterable[_S],
        /,
        *,
        chunk: int | None = None,
        priority: Priority = "normal",
        timeout: float | None = None,
        name: str | None = None,
        progress: Callable[[int, int], object] | bool | None = None,
        pool: str | None = None,
    ) -> Call[list[_T]]:
        """Calls `fn` with each item and gives the results in the order of the items.

        `chunk` items are one job; unless told, there are four jobs a thread. The first exception is the
        call's, and the items not begun are skipped. `progress` hears how many items are done, of how many.
        """

    def create_pool(
        self,
        name: str,
        *,
        threads: int | None = None,
        pin: bool | None = None,
        cores: Sequence[int] | None = None,
        niceness: int | None = None,
        queue: int | None = None,
    ) -> Call[None]:
        """A pool with threads of its own, one for each allowed core unless told, for `pool=name` of `run`
        and `map`.

        `queue`: jobs that may wait before another is refused with `MailboxFull`. A name that is taken is
        `InvalidInput`.
        """

    def resize_pool(self, name: str, threads: int) -> Call[None]:
        """Another number of threads, while it works. What runs ends where it is; nothing is lost or run
        twice."""

    def remove_pool(self, name: str, *, remaining: Remaining = "run") -> Call[None]:
        """Takes no more jobs; those that wait are run, or with `"refuse"` raise `ActorStopped`. Does not
        wait for it."""

    def stats(self) -> SchedulerStats:
        """Of the default pool in short and of every pool in full, at once."""

@final
class ActorRef:
    """How an actor written in Python is reached: from any task, loop and thread of the process.

    It stays valid while the actor restarts, and does not keep it running. Two are equal if they are the same
    actor's.
    """

    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_alive(self) -> bool:
        """Whether it may still take messages: it runs, starts or restarts."""

    def ask(self, message: Any, /, *, timeout: float | None = None) -> Call[Any]:
        """Sends any object, and answers with what `on_message` returns.

        Raises `ActorPanicked` if the handler raised, with that as its `__cause__`; `ActorStopped`;
        `ActorRestarting`; `MailboxFull`; `DeadlineExceeded`. When the time is over, or the call is
        cancelled, the message is skipped, or the task of its handler is cancelled.
        """

    def tell(self, message: Any, /) -> Call[None]:
        """Sends without an answer. The message is on its way when this returns; the call is done when the
        mailbox has taken it, and may be dropped."""

    def ask_many(
        self, messages: Iterable[Any], /, *, timeout: float | None = None, return_exceptions: bool = False
    ) -> Call[list[Any]]:
        """Asks with each message, in order; one call for all answers.

        The first failure is the call's, and messages that have not begun by then are skipped. With
        `return_exceptions` every message is handled, and failures stand in the list.
        """

    def tell_many(self, messages: Iterable[Any], /) -> Call[int]:
        """Tells each message, in order; how many there were, once the mailbox has taken the last. One that
        is refused ends it: those before it were sent, those behind it are not."""

    def stop(self) -> Call[None]:
        """Stops it for good, once it has handled what is queued. Done when it is gone."""

    def stopped(self) -> Call[str]:
        """Done when it has ended for good: why its last instance did, in words."""

    def status(self) -> ActorStatus:
        """What there is to see, through no mailbox; also once it has stopped."""

    def _crash(self) -> Call[None]: ...
    def _fail_on(self, nth: int, error: BaseException) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class ActorContext:
    """What an actor knows of itself: `self.context`. One for each instance."""

    @property
    def ref(self) -> ActorRef: ...
    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def restarts(self) -> int:
        """How many instances there were before this one."""

    @property
    def runtime(self) -> Runtime:
        """`RuntimeClosed` if it is gone: an actor does not keep it."""

    def stop(self) -> None:
        """Ends this instance after the message in hand. A permanent actor is made anew, any other has
        stopped for good."""

    def tell_later(self, delay: float, message: Any) -> TimerHandle:
        """Tells the actor itself, after so many seconds, unless this instance ends before. The handle has
        `cancel()`."""

@final
class Supervisor:
    """A group of actors that fail and restart by common rules: `rt.supervisor(…)`.

    `async with` starts it and stops it, in reverse start order. Without that: `await group.start()`, and
    `await group.stop()`.
    """

    def start(self) -> Call[Self]: ...
    def spawn(
        self,
        cls: type[Actor],
        /,
        *args: Any,
        name: str | None = None,
        kwargs: dict[str, Any] | None = None,
        restart: Restart = "permanent",
        backoff: tuple[float, float] | Backoff | None = None,
        mailbox: int = 64,
        overflow: Overflow = "block",
        shutdown: float = 5.0,
        stuck_after: float | None = 30.0,
        loop: LoopChoice = "current",
    ) -> Call[ActorRef]:
        """As `Runtime.spawn`, in this group."""

    def supervisor(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 5,
        within: float = 10.0,
        restart: Restart = "temporary",
    ) -> Supervisor:
        """As `Runtime.supervisor`, in this group."""

    def stop(self) -> Call[None]:
        """Stops its actors in reverse start order, each once it has handled what is queued. Done when they
        are gone."""

    def status(self) -> SupervisorSnapshot:
        """What there is to see; also once it has stopped."""

    @property
    def path(self) -> str: ...
    @property
    def name(self) -> str: ...
    def __aenter__(self) -> Awaitable[Self]: ...
    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> Awaitable[None]: ...

@final
class _Scope:
    """The native side of a `LeakScope`."""

    @property
    def owner(self) -> str | None: ...
    @property
    def state(self) -> str: ...
    def begin(self) -> None: ...
    def end(self) -> None: ...
    def check(self) -> list[LeakReport]: ...
    def is_clean(self) -> bool: ...

def _describe_leaks(reports: list[LeakReport]) -> str: ...

class _Plan:
    """An actor that is to be spawned, for `ironcliw.actor`."""

    @property
    def name(self) -> str: ...
    def start(self) -> Call[None]: ...
    def fail(self, error: BaseException) -> None: ...
