"""The parts of a snapshot: plain values. Bytes are those of whole blocks unless a name says otherwise; that
is what the pool's limit counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ironcliw.types import LeakLevel, Pressure

LeaseKind = Literal["plain", "explicit"]
"""How a lease is meant to end: by dying, or by a release, without which it is a leak."""

MarkKind = Literal["pressure", "crash"]
"""What a `Mark` marks."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a stack."""

    function: str
    """Empty if nothing is known of it."""
    file: str | None
    line: int | None

    def __str__(self) -> str:
        where = "" if self.file is None else f" at {self.file}"
        return (self.function or "?") + where + ("" if not where or self.line is None else f":{self.line}")


@dataclass(frozen=True, slots=True)
class Totals:
    """The pool as a whole."""

    held_bytes: int
    """From the system, leased and idle."""
    live_bytes: int
    """Leased."""
    live: int
    """Buffers leased."""
    idle_bytes: int
    limit_bytes: int
    retain_bytes: int
    """Idle bytes that the pool may keep."""
    high_water_bytes: int
    """The most bytes leased at a time."""
    allocations: int
    """Leases ever granted."""
    recycled: int
    """Of these, served from idle memory."""
    failures: int
    """Requests refused."""
    dropped_unreleased: int
    """Buffers that had to be released and merely died, ever."""


@dataclass(frozen=True, slots=True)
class ClassHolding:
    """One size class."""

    size: int
    """Bytes of a block; 0 is the class of the largest buffers, whose blocks differ."""
    live: int
    live_bytes: int
    idle_in_caches: int
    """Free blocks in the caches of threads."""
    idle_on_shelf: int
    """Free blocks that any thread takes next."""
    capacity: int
    """Free blocks that fit on the shelf."""
    high_water: int
    """The most blocks that existed at a time."""
    allocations: int
    recorded: int
    """Of the leased ones, how many carry a record."""
    waste_bytes: int | None
    """Bytes of leased blocks that no buffer uses: exact if all are recorded, estimated if some are, and None
    if none is."""


@dataclass(frozen=True, slots=True)
class IdleClass:
    """What a thread keeps of a class."""

    size: int
    """Bytes of a block."""
    idle: int
    """Free blocks."""


@dataclass(frozen=True, slots=True)
class ThreadHolding:
    """A thread that keeps free blocks in a cache of its own, to be leased again without asking anybody."""

    id: int | None
    """Its `threading.Thread.native_id`; None where that is not known, as everywhere but on Linux, and of a
    thread that a fork left behind."""
    name: str | None
    """What Python calls it, or else the system."""
    idle_bytes: int
    classes: tuple[IdleClass, ...]

    def __str__(self) -> str:
        if self.name is None:
            return "a thread" if self.id is None else f"thread {self.id}"
        return self.name if self.id is None else f"{self.name} ({self.id})"


@dataclass(frozen=True, slots=True)
class HeldClass:
    """What an owner holds of a class."""

    size: int
    live: int
    live_bytes: int
    unrecorded_bytes: int
    """Bytes for which no record stands: nothing is known but the owner and the class."""


@dataclass(frozen=True, slots=True)
class OwnerHolding:
    """One owner: `python`, or an actor's path."""

    owner: str
    live: int
    live_bytes: int
    allocations: int
    dropped_unreleased: int
    classes: tuple[HeldClass, ...]


@dataclass(frozen=True, slots=True)
class Tracking:
    """How closely leases were watched."""

    level: LeakLevel
    sample_every: int
    """One lease in so many is recorded at `simple` and `advanced`."""
    recorded_leases: int
    """Ever."""
    dropped_events: int
    """Events that were lost because the tracker did not keep up, ever."""
    lost_records: int
    """Leases that should have a record and have none, as there was no memory for it or there were too many,
    ever."""
    lost_stacks: int
    """Records without the calls that they should have, for want of memory, ever."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that carries a record and lives."""

    id: int
    owner: str
    size: int
    """Bytes of a block of its class; 0: the blocks of its class differ."""
    bytes: int
    """Of the buffer itself."""
    block_bytes: int
    kind: LeaseKind
    age: float
    """Seconds that it has been held."""
    too_old: bool
    """Held for longer than its kind should be: a leak."""
    weight: float
    """For how many leases of its owner and class it stands. 1 where all are recorded."""
    site: str | None
    """Where the program asked for it."""
    task: str | None
    """The asyncio task that asked for it."""
    frames: tuple[Frame, ...]
    """The calls that led to it: Python's, then Rust's, each the innermost first."""

    @property
    def weighted_bytes(self) -> float:
        """The bytes of all leases it stands for. Sums of these over an owner or class are exact."""
        return self.weight * self.block_bytes


@dataclass(frozen=True, slots=True)
class Leak:
    """A leak that the tracker knows of: equal leases that were dropped though they had to be released."""

    kind: str
    """A `LeakKind`, or one of a newer version."""
    owner: str
    size: int
    equal: int
    """How many equal ones there were."""
    bytes: int
    """Of their buffers."""
    age: float
    """How long the oldest was held, in seconds."""
    site: str | None
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the pool held at a moment of the last ten minutes."""

    at: float
    """Seconds since the Unix epoch."""
    held_bytes: int
    live_bytes: int
    limit_bytes: int
    pressure: Pressure
    owners: dict[str, int]
    """Bytes leased by those that held most."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of pressure or an actor's failure."""

    at: float
    """Seconds since the Unix epoch."""
    kind: MarkKind
    text: str


@dataclass(frozen=True, slots=True)
class Site:
    """All leases that an owner took at one place."""

    owner: str
    site: str
    """`file:line`, a function, or `(not recorded)`."""
    live: float
    """How many: an estimate where leases are sampled."""
    live_bytes: float
    recorded: int
    """How many of them carry a record."""
    too_old: int
    """How many recorded ones are leaks."""
    oldest: float
    """Seconds."""
