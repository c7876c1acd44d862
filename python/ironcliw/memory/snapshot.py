"""`PoolSnapshot`: what a pool held at a moment, and the ways to look at it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

from ironcliw._native import TakenSnapshot
from ironcliw.types import Pressure

from . import calls, chrome, document, flame, page, text
from .diff import SnapshotDiff, diff
from .flame import PathLike
from .model import (
    ClassHolding,
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


class PoolSnapshot:
    """What a pool held at a moment, who, and how that came about: `rt.pool.snapshot()`, or a file of one.

    Counts by owner and size class are exact. What is known by lease, site or stack is known of the leases
    that carry a record: one in 128 at the leak level `simple`, all at `paranoid`. Each says for how many it
    stands (`Lease.weight`), so that sums over an owner or class are exact all the same.

    Taking one waits for no actor. The program's symbols are read when it is first looked at or written, which
    can take a second: in an event loop, do that with `asyncio.to_thread`.
    """

    def __init__(self, source: TakenSnapshot | bytes, /) -> None:
        if not isinstance(source, TakenSnapshot | bytes):
            raise TypeError(
                f"a snapshot is taken by rt.pool.snapshot() or read by PoolSnapshot.from_json(), "
                f"not made of {type(source).__name__}"
            )
        self._source = source

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._json,)

    @cached_property
    def _json(self) -> bytes:
        return self._source if isinstance(self._source, bytes) else self._source.to_json()

    @cached_property
    def _document(self) -> document.Document:
        return document.read(self._json)

    @property
    def taken_at(self) -> float:
        """Seconds since the Unix epoch."""
        return self._document.taken_at

    @property
    def pressure(self) -> Pressure:
        """The level that was in force."""
        return self._document.pressure

    @property
    def totals(self) -> Totals:
        """The pool as a whole."""
        return self._document.totals

    @property
    def classes(self) -> tuple[ClassHolding, ...]:
        """The size classes that were ever used, smallest first."""
        return self._document.classes

    @property
    def owners(self) -> tuple[OwnerHolding, ...]:
        """The owners that ever leased, and what they held of each class."""
        return self._document.owners

    @property
    def threads(self) -> tuple[ThreadHolding, ...]:
        """The threads that keep free blocks, and which, most bytes first. Read while they go on: a block that
        changes hands meanwhile may be missed, or be there twice."""
        return self._document.threads

    @property
    def tracking(self) -> Tracking:
        """How closely leases were watched."""
        return self._document.tracking

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases that carry a record, the oldest first."""
        return self._document.leases

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """Known leaks besides the leases that are held for too long: those are leases with `too_old`."""
        return self._document.leaks

    @property
    def history(self) -> tuple[Sample, ...]:
        """A sample a second of the last ten minutes, the oldest first; the last is of this moment."""
        return self._document.history

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Changes of pressure and failures of actors meanwhile."""
        return self._document.marks

    def sites(self) -> list[Site]:
        """What each owner took at each place, most bytes first; estimates where leases are sampled."""
        return calls.sites(self._document)

    def diff(self, earlier: PoolSnapshot, /) -> SnapshotDiff:
        """What grew since `earlier`; print it."""
        if not isinstance(earlier, PoolSnapshot):
            raise TypeError(f"a PoolSnapshot is compared with another, not with {type(earlier).__name__}")
        return diff(earlier._document, self._document)

    def to_json(self, path: PathLike, /) -> None:
        """Writes all of it to a file, for `from_json` and the command `ironcliw memory`."""
        Path(path).write_bytes(self._json)

    @classmethod
    def from_json(cls, path: PathLike, /) -> Self:
        """Reads a file of `to_json`; `InvalidInput` if it is none."""
        snapshot = cls(Path(path).read_bytes())
        # Read now, so that a bad file is an error here.
        snapshot._document  # noqa: B018
        return snapshot

    def to_html(self, path: PathLike, /) -> None:
        """Writes a page: figures, the last ten minutes, who holds what, leases and leaks with their stacks.
        One file that loads nothing else."""
        Path(path).write_text(page.page(self._document), encoding="utf-8")

    def to_chrome_trace(self, path: PathLike, /) -> None:
        """Writes a trace for Perfetto or `chrome://tracing`: leases by owner from their beginning until now,
        and the last ten minutes as counters."""
        Path(path).write_text(chrome.trace(self._document), encoding="utf-8")

    def to_flamegraph(self, path: PathLike, /) -> None:
        """Writes what is leased by the calls that led to it. The suffix says how: `.svg` or `.html` to look
        at, `.folded` for flame graph tools, `.json` for speedscope. Widths are bytes."""
        writer = flame.writer(path)
        Path(path).write_text(writer(self._document), encoding="utf-8")

    def _repr_html_(self) -> str:
        return page.frame(self._document)

    def describe(self, width: int | None = None) -> str:
        """Who holds what, as `print` shows it; in `width` columns, as far as names can be shortened."""
        totals = self.totals
        lines = [
            f"{text.size(totals.live_bytes)} in {totals.live} leases, {text.size(totals.idle_bytes)} idle, "
            f"of {text.size(totals.limit_bytes)}; pressure {self.pressure}"
        ]
        held = [(each.owner, of) for each in self.owners for of in each.classes]
        held.sort(key=lambda pair: -pair[1].live_bytes)
        rows = [
            (owner, text.class_name(of.size), str(of.live), text.size(of.live_bytes)) for owner, of in held
        ]
        if rows:
            lines += ["", text.table(("owner", "class", "leases", "bytes"), rows, width=width)]
        leaks = sum(leak.equal for leak in self.leaks) + sum(lease.too_old for lease in self.leases)
        if leaks:
            lines += ["", f"{leaks} leaks are known"]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        totals = self.totals
        return (
            f"<ironcliw.PoolSnapshot: {text.size(totals.live_bytes)} in {totals.live} leases, "
            f"{len(self.leases)} of them recorded, {text.size(totals.idle_bytes)} idle>"
        )
