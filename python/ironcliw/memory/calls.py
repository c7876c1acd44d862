"""Leases and the calls that led to them, as paths from the owner inwards, each with its bytes.

The bytes are whole numbers that add up, for each owner and class, to exactly what the pool counted: what a
sampled lease stands for is rounded so that nothing is lost, and what has no record has a path that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .document import Document
from .model import Frame, Lease, Site

NOT_RECORDED = "(not recorded)"
NO_SITE = "(no site)"

RUST_SUFFIXES = (".rs", ".c", ".h", ".cc", ".cpp", ".s", ".S")

OWN_CALLS = ("backtrace::", "ironcliw_actors::leak::", "<ironcliw_actors::leak::")
"""How the functions begin that take a record: they are in every stack and explain nothing."""

POOL_CALLS = ("ironcliw_actors::pool::", "<ironcliw_actors::pool::")
"""How the functions begin through which every lease comes."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where some bytes are held: the owner, then the calls from the outermost to the innermost."""

    owner: str
    calls: tuple[Frame, ...]
    bytes: int


def is_python(frame: Frame) -> bool:
    """Whether it is a call of Python code."""
    return frame.file is not None and not frame.file.endswith(RUST_SUFFIXES)


def tidy(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The calls from the outermost to the innermost, Python's before Rust's: as they were made.

    Without those that take the record, and below Python's without the interpreter's."""
    python = [frame for frame in frames if is_python(frame)]
    rust = [frame for frame in frames if not is_python(frame)]
    begin = 0
    while begin < len(rust) and rust[begin].function.startswith(OWN_CALLS):
        begin += 1
    rust = rust[begin:]
    if python:
        ours = [place for place, frame in enumerate(rust) if "ironcliw" in frame.function]
        rust = rust[: ours[-1] + 1] if ours else []
    return (*reversed(python), *reversed(rust))


class Stacks:
    """The calls of leases. Leases share their stacks, so each stack is looked at once."""

    def __init__(self) -> None:
        self._tidied: dict[int, tuple[Frame, ...]] = {}
        self._named: dict[int, str] = {}
        self._shown: dict[int, list[str]] = {}
        # An id is only good for as long as its object is.
        self._kept: list[tuple[Frame, ...]] = []

    def tidy(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """As `tidy` has them."""
        found = self._tidied.get(id(frames))
        if found is None:
            self._kept.append(frames)
            found = self._tidied[id(frames)] = tidy(frames)
        return found

    def shown(self, frames: tuple[Frame, ...]) -> list[str]:
        """The same in words."""
        tidied = self.tidy(frames)
        if id(frames) not in self._shown:
            self._shown[id(frames)] = [str(frame) for frame in tidied]
        return self._shown[id(frames)]

    def site(self, lease: Lease) -> str:
        """Where it was taken, as well as that is known, in a line."""
        if lease.site is not None:
            return lease.site
        found = self._named.get(id(lease.frames))
        if found is None:
            self._kept.append(lease.frames)
            found = self._named[id(lease.frames)] = _name(lease.frames)
        return found


def _name(frames: tuple[Frame, ...]) -> str:
    for frame in frames:
        if is_python(frame):
            return f"{frame.file}:{frame.line}"
    # The innermost calls are the pool's own.
    for frame in reversed(tidy(frames)):
        if frame.function and not frame.function.startswith(POOL_CALLS):
            return frame.function
    return NO_SITE


def paths(document: Document) -> Iterator[Path]:
    """Where all leased bytes are, one path a lease or rest without a record."""
    stacks = Stacks()
    exact: dict[tuple[str, int], float] = {}
    given: dict[tuple[str, int], int] = {}
    for lease in document.leases:
        cell = (lease.owner, lease.size)
        # What is given out so far is the rounded sum so far: it ends at the sum, which is whole.
        exact[cell] = exact.get(cell, 0.0) + lease.weighted_bytes
        part = round(exact[cell]) - given.get(cell, 0)
        given[cell] = given.get(cell, 0) + part
        calls = stacks.tidy(lease.frames) or (Frame(stacks.site(lease), None, None),)
        yield Path(lease.owner, calls, part)
    for owner in document.owners:
        rest = sum(held.unrecorded_bytes for held in owner.classes)
        if rest > 0:
            yield Path(owner.owner, (Frame(NOT_RECORDED, None, None),), rest)


def sites(document: Document) -> list[Site]:
    """What each owner took at each place, most bytes first. Estimates where leases are sampled."""
    grouped: dict[tuple[str, str], list[Lease]] = {}
    stacks = Stacks()
    for lease in document.leases:
        grouped.setdefault((lease.owner, stacks.site(lease)), []).append(lease)
    found = [
        Site(
            owner=owner,
            site=site,
            live=sum(lease.weight for lease in leases),
            live_bytes=sum(lease.weighted_bytes for lease in leases),
            recorded=len(leases),
            too_old=sum(lease.too_old for lease in leases),
            oldest=max(lease.age for lease in leases),
        )
        for (owner, site), leases in grouped.items()
    ]
    for holding in document.owners:
        rest = [held for held in holding.classes if held.unrecorded_bytes > 0]
        if rest:
            live = sum(held.live * held.unrecorded_bytes / max(held.live_bytes, 1) for held in rest)
            unrecorded = sum(held.unrecorded_bytes for held in rest)
            found.append(Site(holding.owner, NOT_RECORDED, live, unrecorded, 0, 0, 0.0))
    return sorted(found, key=lambda site: (-site.live_bytes, site.owner, site.site))
