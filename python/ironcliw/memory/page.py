"""The page of a snapshot: one HTML file with its own style, script and data, that loads nothing.

The data are JSON in a script element that is never run, with `<` written as an escape, so that no name can
end the element; the page's script (`page.js`) puts names into the document as text and never as markup. A
content security policy forbids the page every network access.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from .calls import Stacks, tidy
from .document import Document
from .flame_svg import asset
from .model import Frame, Lease

ROWS_MAX = 2000
"""Of the table of leases. Where there are more leases, equal ones share a row."""

SERIES_MAX = 7
"""Owners with a line and a colour of their own."""


def page(document: Document) -> str:
    """The page."""
    data = json.dumps(_data(document), separators=(",", ":"))
    # What could end the element, or make the parser wait for another end: `</script`, `<!--`.
    data = data.replace("<", "\\u003c")
    shell = asset("page.html")
    for name, part in (("STYLE", asset("page.css")), ("SCRIPT", asset("page.js")), ("DATA", data)):
        before, _, after = shell.partition(f"/*{name}*/")
        shell = before + part + after
    return shell


def frame(document: Document) -> str:
    """The page as a part of a notebook: in a frame, where neither can touch the other."""
    return (
        f'<iframe srcdoc="{html.escape(page(document))}" sandbox="allow-scripts" '
        'style="width:100%;height:760px;border:0;border-radius:8px"></iframe>'
    )


class _Table(Stacks):
    """The different stacks of the page, each once."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: dict[str, int] = {}
        self.calls: dict[tuple[Frame, ...], int] = {}
        self.rows: list[list[int]] = []

    def place(self, frames: tuple[Frame, ...]) -> int | None:
        if not frames:
            return None
        if frames not in self.calls:
            self.calls[frames] = len(self.rows)
            # The innermost first, as tracebacks of Rust and debuggers have it.
            shown = [str(frame) for frame in reversed(tidy(frames))]
            self.rows.append([self.frames.setdefault(call, len(self.frames)) for call in shown])
        return self.calls[frames]


def _data(document: Document) -> dict[str, Any]:
    stacks = _Table()
    rows, left_out = _rows(document, stacks)
    totals = document.totals
    leaks = [
        {
            "owner": leak.owner,
            "size": leak.size,
            "kind": leak.kind,
            "equal": leak.equal,
            "bytes": leak.bytes,
            "age": leak.age,
            "site": leak.site,
            "stack": stacks.place(leak.frames),
        }
        for leak in document.leaks
    ]
    return {
        "taken": document.taken_at,
        "pressure": document.pressure,
        "level": document.tracking.level,
        "every": document.tracking.sample_every,
        "lost": document.tracking.dropped_events,
        "recorded": len(document.leases),
        "tooOld": sum(lease.too_old for lease in document.leases),
        "totals": {name: getattr(totals, name) for name in type(totals).__dataclass_fields__},
        "classes": [
            {name: getattr(each, name) for name in type(each).__dataclass_fields__}
            for each in document.classes
        ],
        "owners": [
            {
                "owner": each.owner,
                "live": each.live,
                "bytes": each.live_bytes,
                "unrecorded": sum(held.unrecorded_bytes for held in each.classes),
                "classes": [[held.size, held.live, held.live_bytes] for held in each.classes],
            }
            for each in sorted(document.owners, key=lambda each: (-each.live_bytes, each.owner))
        ],
        "threads": [
            {
                "name": str(each),
                "bytes": each.idle_bytes,
                "classes": [[kept.size, kept.idle] for kept in each.classes],
            }
            for each in document.threads
        ],
        "history": _history(document),
        "marks": [{"at": mark.at, "kind": mark.kind, "text": mark.text} for mark in document.marks],
        "leaks": leaks,
        "rows": rows,
        "grouped": len(document.leases) > ROWS_MAX,
        "leftOut": left_out,
        "frames": list(stacks.frames),
        "stacks": stacks.rows,
    }


def _history(document: Document) -> dict[str, Any]:
    """The samples, and the owners that had most at any time with a series each."""
    peaks: dict[str, int] = {each.owner: each.live_bytes for each in document.owners if each.live_bytes}
    for sample in document.history:
        for owner, held in sample.owners.items():
            peaks[owner] = max(peaks.get(owner, 0), held)
    names = sorted(peaks, key=lambda owner: (-peaks[owner], owner))[:SERIES_MAX]
    return {
        "at": [round(sample.at, 3) for sample in document.history],
        "held": [sample.held_bytes for sample in document.history],
        "live": [sample.live_bytes for sample in document.history],
        "limit": [sample.limit_bytes for sample in document.history],
        "pressure": [sample.pressure for sample in document.history],
        "owners": names,
        "series": [[sample.owners.get(owner, 0) for sample in document.history] for owner in names],
    }


def _rows(document: Document, stacks: _Table) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """A row a lease, or of equal ones where there are many; and what is left out beyond the table's end."""
    groups: dict[object, list[Lease]] = {}
    for lease in document.leases:
        key: object = lease.id
        if len(document.leases) > ROWS_MAX:
            # Leases that share a stack share the object.
            key = (lease.owner, lease.size, lease.kind, lease.site, id(lease.frames))
        groups.setdefault(key, []).append(lease)
    ordered = sorted(groups.values(), key=lambda leases: -sum(lease.weighted_bytes for lease in leases))
    # A leak is in the table, however small it is.
    ordered.sort(key=lambda leases: not any(lease.too_old for lease in leases))
    rest = [lease for leases in ordered[ROWS_MAX:] for lease in leases]
    left_out = {"leases": len(rest), "bytes": sum(lease.weighted_bytes for lease in rest)}
    return [_row(leases, stacks) for leases in ordered[:ROWS_MAX]], left_out


def _row(leases: Sequence[Lease], stacks: _Table) -> dict[str, Any]:
    first = leases[0]
    tasks = list(dict.fromkeys(lease.task for lease in leases if lease.task is not None))
    return {
        "id": str(first.id) if len(leases) == 1 else None,
        "owner": first.owner,
        "site": stacks.site(first),
        "task": None
        if not tasks
        else tasks[0]
        if len(tasks) == 1
        else f"{tasks[0]} and {len(tasks) - 1} more",
        "size": first.size,
        "kind": first.kind,
        "recorded": len(leases),
        "live": sum(lease.weight for lease in leases),
        "own": sum(lease.bytes for lease in leases),
        "bytes": sum(lease.weighted_bytes for lease in leases),
        "age": max(lease.age for lease in leases),
        "leaks": sum(lease.too_old for lease in leases),
        "stack": stacks.place(first.frames),
    }
