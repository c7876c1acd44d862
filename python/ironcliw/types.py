"""The names that the signatures of `ironcliw` use: literals and the shapes of the dictionaries that calls
return.

Nothing here does anything at run time; it exists so that an editor and a type checker know the keys.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypedDict

Precision: TypeAlias = Literal["fp32", "fp16", "int8", "int4"]
"""How a loaded model stores its weights."""

Mode: TypeAlias = Literal["gray", "rgb", "rgba"]
"""The colour modes of an image: `(H, W)`, `(H, W, 3)` and `(H, W, 4)`."""

Format: TypeAlias = Literal["png", "jpeg"]
"""The formats that images are encoded to."""

Pressure: TypeAlias = Literal["Low", "Medium", "High", "Critical"]
"""How short memory is: the pool's, by its byte limit, and on Linux the machine's and the control group's."""

PressureCause: TypeAlias = Literal["pool", "psi", "machine", "cgroup"]
"""What says that memory is short: the pool's limit, tasks that stall for memory (Linux's pressure stall
information), the machine's free memory, or the control group."""

LeakLevel: TypeAlias = Literal["disabled", "simple", "advanced", "paranoid"]
"""How many leases carry a record of where they were taken. Counts are exact at every level."""

LeakKind: TypeAlias = Literal["dropped_unreleased", "too_old", "still_out", "outlived_owner", "growing"]
"""A tracked buffer that died without a release; a lease that is held for too long; one that is out at the end
of its scope; one that outlives its owner's crash; leases of an owner and class that become ever more."""


class AgeLimits(TypedDict, total=False):
    """How many seconds a lease may live, by its kind; None is for ever."""

    plain: float | None
    tracked: float | None
    """Of buffers that must be released."""


class LeakTotal(TypedDict):
    """What lives of an owner and size class, in a `LeakTable`."""

    owner: str
    class_size: int
    """Bytes of a block; 0 stands for blocks larger than any class."""
    count: int
    bytes: int
    """Of all blocks."""


class Frame(TypedDict):
    """A call of a `LeakReport`'s stack."""

    function: str
    """Empty if nothing is known of it."""
    file: str | None
    line: int | None


class Touch(TypedDict):
    """Something that was done with a leaked buffer."""

    hint: str
    """`view`, `dlpack`, `freeze`, `sent to` an actor, `given to` a job, or what the program said."""
    site: str | None
    """Where, `file.py:line`."""
    after: float
    """How many seconds after the lease had begun."""


class GrowthSite(TypedDict):
    """A place where leases of a growing class were asked for."""

    site: str | None
    """`file.py:line`, or the innermost call of Rust; None for all leases of which neither is known."""
    live: int
    """Leases with a record that live."""
    recent: int
    """Of these, how many began since the class grows."""


Priority: TypeAlias = Literal["high", "normal", "low"]
"""How urgent a job is. The more urgent is begun first; the others are passed over only so often."""

Remaining: TypeAlias = Literal["run", "refuse"]
"""What becomes of the jobs that wait when their pool is removed."""

Status: TypeAlias = Literal["running", "degraded", "closing", "closed"]
"""`degraded`: an actor does not run, or the root has given up."""


Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
"""When an actor or a group that ended is started again: always, after a failure, never."""

Overflow: TypeAlias = Literal["block", "reject", "drop_newest", "drop_oldest"]
"""What a full mailbox does with one more message: its sender waits, it is refused, it or the oldest is
dropped."""

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Which actors of a group are restarted when one fails."""

LoopChoice: TypeAlias = Literal["current", "own"]
"""Where an actor's handlers run: on the loop that spawned it, or on one of its own."""


class SizeClass(TypedDict):
    """One size class of the pool."""

    size: int
    """Bytes of a buffer of this class."""
    available: int
    """Buffers that wait to be leased again."""
    capacity: int
    """Buffers that the class may keep."""
    high_water_mark: int
    """The most buffers of this class that were leased at one time."""


class PressureStats(TypedDict):
    """Memory pressure, and what was done about it since the runtime started."""

    level: Pressure
    """What was published last; the pool looks ten times a second."""
    cause: PressureCause | None
    """Whose level that is; None at `Low`."""
    by_cause: dict[PressureCause, Pressure]
    rises: dict[Pressure, int]
    """How often each level above `Low` was reached from below."""
    returned_bytes: int
    """Idle memory that was given back to the system for it."""
    refusing: bool
    """Leases that need new memory are refused now, save small ones."""
    refused: int
    """Leases that were refused for it."""


class SoftLimit(TypedDict):
    """The watermarks of the pool's limit."""

    high_bytes: int
    """When more is held than this, idle memory goes back to the system."""
    low_bytes: int
    """Until no more than this is held."""
    is_above: bool
    """Whether the first was passed, and the second not reached since."""
    crossings: int
    """How often the first was passed."""


class MemoryWaits(TypedDict):
    """Calls of `allocate` with a timeout that had to wait."""

    waiting: int
    """Now."""
    served: int
    timed_out: int
    abandoned: int
    """Cancelled by their caller."""
    longest_s: float
    """The longest that one waited."""


class MemoryReservation(TypedDict):
    """Memory kept for an owner: see `Pool.reserve`."""

    owner: str
    reserved_bytes: int
    cap_bytes: int | None
    live_bytes: int
    """Bytes that it leases."""


class Misuse(TypedDict):
    """How often handles of buffers were used wrongly. Each was an error where it happened."""

    use_after_release: int
    double_release: int
    foreign_release: int
    """Buffers brought to the pool of another runtime, which is the one that counts them."""
    out_of_bounds: int
    """Parts asked for, with `view` or `slice`, that a buffer does not have."""


class PoolStats(TypedDict):
    """What `Pool.stats()` answers."""

    total_active: int
    """Leases that were not given back yet."""
    total_allocated_bytes: int
    """Bytes that the pool holds from the system, leased or idle."""
    active_bytes: int
    """Bytes of the leases that were not given back yet, by size class."""
    limit_bytes: int
    """The most bytes that may be leased at one time."""
    allocations: int
    """Leases since the runtime started."""
    recycled: int
    """Leases that were served from idle memory."""
    failures: int
    """Allocations refused."""
    purged_bytes: int
    """Bytes that went back to the system because they had been of no use for a while."""
    soft_limit: SoftLimit
    waits: MemoryWaits
    reservations: list[MemoryReservation]
    memory_pressure: Pressure
    pressure: PressureStats
    size_classes: list[SizeClass]
    misuse: Misuse


class Times(TypedDict):
    """How long something took, recorded in buckets that double."""

    count: int
    sum_s: float
    p50_s: float | None
    """The median, never too small and less than twice too large; None if nothing was recorded."""
    p99_s: float | None
    buckets: list[int]
    """How many took so many bits, in nanoseconds: entry 0 counts zeros, entry `n` those from 2**(n-1) to
    below 2**n ns."""


class QueuedJobs(TypedDict):
    """Jobs that wait, by priority."""

    high: int
    normal: int
    low: int


class Steals(TypedDict):
    """Work that one thread of a pool had and another took, as far as it can be known."""

    jobs: int
    tasks: int
    joins: int


class SchedulerWorker(TypedDict):
    """One thread of a scheduler's pool."""

    name: str
    wanted_core: int | None
    """The core it was to be pinned to."""
    pinned_core: int | None
    """The core it was found to be pinned to."""


class SchedulerPoolStats(TypedDict):
    """One pool of the scheduler. A job that was taken in is in exactly one count: it has ended in one of
    five ways, or it waits or runs."""

    name: str
    submitted: int
    rejected: int
    """Refused at once, because the queue was full; in no other count."""
    started: int
    completed: int
    """Ended with a result or an exception."""
    panicked: int
    """Ended with a panic of native code."""
    cancelled: int
    """Skipped, because nobody wanted them any more."""
    expired: int
    """Skipped, because their timeout had passed."""
    refused: int
    """Left undone by the end of the pool."""
    running: int
    async_alive: int
    """Async jobs of Rust code that have not ended."""
    queued: QueuedJobs
    queue_capacity: int
    threads: int
    """None once it was closed."""
    resizes: int
    uptime_s: float
    busy_s: float
    """Seconds that jobs held threads, added up."""
    utilisation: float
    """The same as a share of what the threads could have given, 0 to 1."""
    wait: Times
    """How long jobs waited."""
    run: Times
    """How long they ran."""
    steals: Steals
    workers: list[SchedulerWorker]


class SchedulerStats(TypedDict):
    """What `Scheduler.stats()` answers: the default pool in short, and every pool in full."""

    active_tasks: int
    """Jobs that run now."""
    total_spawned: int
    total_completed: int
    """Jobs that ended: with a result or an exception, or before they began."""
    total_panicked: int
    active_workers: int
    """Threads of the pool."""
    queue_depth: int
    """Jobs that wait for a thread."""
    busy_s: float
    """Seconds that jobs held threads, added up."""
    waited_s: float
    """Seconds that jobs waited, added up."""
    workers: list[SchedulerWorker]
    pools: list[SchedulerPoolStats]
    """`default` first, then by name."""


class Texture(TypedDict):
    """What `Images.texture()` answers."""

    mean: float
    """Mean of the gray image, 0 to 255."""
    std_dev: float
    """Its standard deviation."""
    entropy: float
    """Entropy of its histogram in bits, 0 to 8."""
    edge_density: float
    """The share of pixels that lie on an edge, 0 to 1."""


class SpatialLayout(TypedDict):
    """What `Images.spatial_layout()` answers."""

    width: int
    height: int
    channels: int
    aspect_ratio: float
    """Width over height."""
    center_brightness: float
    """Mean of the gray image's middle half in each direction, 0 to 255."""
    edge_density: float


class Durations(TypedDict):
    """What was measured of an actor's messages, in seconds; of at least one in 64."""

    count: int
    """Messages that were measured."""
    mean_s: float
    p50_s: float
    """Half of them took no longer, within an eighth."""
    p90_s: float
    p99_s: float
    max_s: float


AskWaitSnapshot = TypedDict("AskWaitSnapshot", {"from": str, "to": str, "waited_s": float})
"""An actor whose handler waits for another one's answer: their paths, and for how long."""


class ActorSnapshot(TypedDict):
    """One actor of a `Snapshot`."""

    path: str
    """For example `images/0`."""
    state: str
    """`starting`, `running`, `restarting`, `stopping`, `stopped` or `stuck`."""
    kind: str
    """The name of its Rust type."""
    restarts: int
    failures: int
    """Incarnations that ended in a panic or did not start."""
    queued: int
    """Messages in its mailbox."""
    capacity: int
    high_water: int
    """The most messages that ever waited."""
    handled: int
    """Messages handled since it was spawned."""
    skipped: int
    """Messages nobody waited for any more when they were reached."""
    stuck: int
    """Times that it held its thread for longer than it may."""
    dead_letters: int
    """Messages answered with `ActorStopped`, or pushed out of a full mailbox."""
    last_exit: str | None
    """Why the last incarnation ended, if one has."""
    busy: float
    """Seconds that its thread has spent on it."""
    busy_ratio: float
    """The same as a share of the last seconds, 0 to 1."""
    handler: Durations
    """How long its handlers take."""
    mailbox_wait: Durations
    """How long messages wait for their handler."""
    thread: str
    core: int | None
    """The core its thread was found to be pinned to."""


class SupervisorSnapshot(TypedDict):
    """One supervisor of a `Snapshot`."""

    path: str
    """For example `memory`; empty for the root."""
    strategy: str
    """`one_for_one`, `one_for_all` or `rest_for_one`."""
    state: str
    restarts: int
    """Starts of its children that were not their first."""
    max_restarts: int
    within_s: float
    """It bears `max_restarts` in any window of so many seconds."""
    budget_left: int
    """Restarts left in the window that ends now."""
    exhausted: bool
    auto_shutdown: str
    """`never`, `any_significant` or `all_significant`."""
    children: int
    waiting: list[WaitSnapshot]
    """Children that wait to be started again."""


class WaitSnapshot(TypedDict):
    """A child that waits to be started again, in a `SupervisorSnapshot`."""

    path: str
    delay_s: float
    """How long it waits in all, in seconds."""
    left_s: float
    """What is left of that, in seconds."""


class ActorStatus(TypedDict):
    """What `ActorRef.status()` answers: as in an `ActorSnapshot`."""

    path: str
    state: str
    restarts: int
    failures: int
    queued: int
    capacity: int
    high_water: int
    handled: int
    skipped: int
    stuck: int
    dead_letters: int
    last_exit: str | None


class ThreadSnapshot(TypedDict):
    """One of the runtime's threads in a `Snapshot`."""

    name: str
    core: int | None
    """The core that it was asked to stay on."""
    pinned: bool
    """Whether the system did pin it."""


class BuildInfo(TypedDict):
    """What the native module was built as and found when it was asked: for `ironcliw doctor`."""

    rustc: str
    target: str
    profile: str
    """`release` or `debug`."""
    assertions: bool
    features: list[str]
    allocator: str
    abi3: bool
    """One wheel for many versions of CPython."""
    memory_limit: int | None
    """Bytes that this process may use, the control group's limit included; None where the system does not
    say."""


class CpuSnapshot(TypedDict):
    """The machine, as the runtime sees it."""

    arch: str
    allowed_cores: int
    """Cores that this process may use."""
    features: list[str]
    """Instruction sets that the kernels look for and found."""


class AllocatorStats(TypedDict):
    """What `allocator_stats()` answers. None is what is not told."""

    name: Literal["mimalloc", "system"]
    """Whose memory the native module's small objects are in. Python and numpy always have the system's."""
    version: str | None
    committed_bytes: int | None
    """Bytes that it holds from the system."""
    committed_peak_bytes: int | None
    reserved_bytes: int | None
    """Address space; most of it costs nothing."""
    used_bytes: int | None
    """Of `committed_bytes`, what is allocated. A release build of mimalloc does not count it."""
    purged_bytes: int | None
    """What it gave back to the system so far."""
    resident_bytes: int | None
    """Bytes of the whole process that are in memory."""
    resident_peak_bytes: int | None
    page_faults: int | None
    """Of the process, those that needed no disk."""
    major_page_faults: int | None
    details: dict[str, Any]
    """The rest, by the allocator's own names: mimalloc's statistics, or the fields of glibc's `mallinfo2`."""


class Snapshot(TypedDict):
    """What `Runtime.snapshot()` answers; newer versions may add keys."""

    status: Status
    uptime: float
    """Seconds."""
    restarts: int
    """Restarts of all actors."""
    panics: int
    """Panics that were caught."""
    dead_letters: int
    """Messages that were answered with `ActorStopped` because their actor had stopped."""
    actors: list[ActorSnapshot]
    supervisors: list[SupervisorSnapshot]
    waits: list[AskWaitSnapshot]
    deadlocks: list[list[str]]
    """Paths of actors that wait in a circle: each has asked the next, and the last the first."""
    deadlocks_seen: int
    """Such circles since the runtime began."""
    lost_threads: int
    """Threads that were given up because a handler did not come back, and that have not ended since."""
    events: list[dict[str, Any]]
    """The last supervision events, oldest first: `at_unix_s`, `path`, `event` and what belongs to it."""
    threads: list[ThreadSnapshot]
    cpu: CpuSnapshot
    pool: PoolStats
    scheduler: SchedulerStats
    allocator: AllocatorStats
