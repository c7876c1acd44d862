"""A trace for Perfetto and `chrome://tracing`: Chrome's Trace Event Format, as JSON.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU has the format; times are in
microseconds. Each owner is a "process", so that a viewer groups its leases; a lease is an asynchronous slice
from its beginning to the moment of the snapshot. Its id is the process's own (`id2.local`): slices whose ids
are the whole trace's are drawn apart from the processes by Perfetto. The pool itself is process 1 and has the
counters; 0 is the idle process of every system.
"""

from __future__ import annotations

import json
from typing import Any

from . import text
from .calls import Stacks
from .document import Document

POOL = 1


def trace(document: Document) -> str:
    """The trace."""
    begin = min(
        [sample.at for sample in document.history]
        + [document.taken_at - lease.age for lease in document.leases]
        + [document.taken_at]
    )

    def moment(at: float) -> float:
        # From the trace's begin: a double holds no microseconds of the Unix epoch to the nanosecond.
        return round(max(at - begin, 0.0) * 1e6, 3)

    owners = [each.owner for each in document.owners if each.live > 0]
    owners += sorted({lease.owner for lease in document.leases} - set(owners))
    processes = {owner: number for number, owner in enumerate(owners, POOL + 1)}
    events: list[dict[str, Any]] = []
    for name, process in (("pool", POOL), *processes.items()):
        events.append(_event("M", process, 0, "process_name", args={"name": name}))
        events.append(_event("M", process, 0, "process_sort_index", args={"sort_index": process}))
    # A counter has the same series at each moment.
    ever_large = list(dict.fromkeys(owner for sample in document.history for owner in sample.owners))
    others = "others"
    while others in ever_large:
        others = f"all {others}"
    for sample in document.history:
        at = moment(sample.at)
        idle = max(sample.held_bytes - sample.live_bytes, 0)
        events.append(_event("C", POOL, at, "held", args={"leased": sample.live_bytes, "idle": idle}))
        rest = max(sample.live_bytes - sum(sample.owners.values()), 0)
        held = {owner: sample.owners.get(owner, 0) for owner in ever_large}
        events.append(_event("C", POOL, at, "leased by owner", args={**held, others: rest}))
    for mark in document.marks:
        events.append(_event("i", POOL, moment(mark.at), f"{mark.kind}: {mark.text}", cat=mark.kind, s="g"))
    end = moment(document.taken_at)
    stacks = Stacks()
    for lease in document.leases:
        site = stacks.site(lease)
        args: dict[str, Any] = {
            "bytes": lease.bytes,
            "block_bytes": lease.block_bytes,
            "stands_for_leases": round(lease.weight, 3),
            "stands_for_bytes": round(lease.weighted_bytes),
            "kind": lease.kind,
            "leak": lease.too_old,
            "site": site,
        }
        if lease.task is not None:
            args["task"] = lease.task
        if lease.frames:
            args["calls"] = stacks.shown(lease.frames)
        shared: dict[str, Any] = {"cat": "lease", "id2": {"local": hex(lease.id)}}
        name = f"{text.size(lease.bytes)} {site}"
        process = processes[lease.owner]
        at = moment(document.taken_at - lease.age)
        events.append(_event("b", process, at, name, args=args, **shared))
        events.append(_event("e", process, max(end, at), name, **shared))
    top = {
        "displayTimeUnit": "ms",
        "otherData": {
            "producer": "ironcliw",
            "taken_at_unix_s": document.taken_at,
            "begins_at_unix_s": begin,
            "leak_level": document.tracking.level,
        },
        "traceEvents": events,
    }
    return json.dumps(top, separators=(",", ":"))


def _event(phase: str, process: int, at: float, name: str, **more: Any) -> dict[str, Any]:
    return {"ph": phase, "pid": process, "tid": 0, "ts": at, "name": name, **more}
