"""What the pool holds, looked at afterwards: `rt.pool.snapshot()` and its pictures.

`PoolSnapshot` is the whole of it; start reading there (`snapshot`). `model` has its parts, `document` reads
them from JSON, `calls` joins leases with the calls that led to them, and `page`, `flame`, `flame_svg` and
`chrome` draw. Nothing here touches the runtime: a snapshot from a file of another machine is as good.
"""

from .diff import Change, SnapshotDiff
from .model import (
    ClassHolding,
    Frame,
    HeldClass,
    IdleClass,
    Leak,
    Lease,
    Mark,
    OwnerHolding,
    Sample,
    Site,
    ThreadHolding,
    Totals,
    Tracking,
)
from .snapshot import PoolSnapshot

__all__ = [
    "Change",
    "ClassHolding",
    "Frame",
    "HeldClass",
    "IdleClass",
    "Leak",
    "Lease",
    "Mark",
    "OwnerHolding",
    "PoolSnapshot",
    "Sample",
    "Site",
    "SnapshotDiff",
    "ThreadHolding",
    "Totals",
    "Tracking",
]
