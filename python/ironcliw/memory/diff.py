"""What grew between two snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import text
from .calls import sites
from .document import Document

ROWS_MAX = 10
"""Of each table that is printed: who wants all has the tuples."""


@dataclass(frozen=True, slots=True)
class Change:
    """One owner, size class or site, before and after."""

    name: str
    before_bytes: float
    after_bytes: float
    before: float
    """Leases."""
    after: float

    @property
    def bytes(self) -> float:
        """By how much its bytes grew."""
        return self.after_bytes - self.before_bytes

    @property
    def leases(self) -> float:
        """By how many its leases grew."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """What changed, in each list by growth, the largest first; what did not change is left out. Owners and
    classes are exact, sites are estimates where leases are sampled."""

    seconds: float
    """From the earlier snapshot to the later one."""
    total: Change
    owners: tuple[Change, ...]
    classes: tuple[Change, ...]
    sites: tuple[Change, ...]

    def describe(self, width: int | None = None) -> str:
        """What changed, as `print` shows it; in `width` columns, as far as names can be shortened."""
        total = self.total
        begin = "In" if self.seconds >= 0 else "Going back"
        lines = [
            f"{begin} {text.seconds(abs(self.seconds))}: {text.change(total.bytes)}, from "
            f"{text.size(total.before_bytes)} to {text.size(total.after_bytes)}; "
            f"{total.leases:+.0f} leases, from {total.before:.0f} to {total.after:.0f}."
        ]
        for name, changes in (("owner", self.owners), ("class", self.classes), ("site", self.sites)):
            if changes:
                rows = [
                    (
                        each.name,
                        text.change(each.bytes),
                        text.size(each.after_bytes),
                        f"{each.leases:+.0f}",
                        f"{each.after:.0f}",
                    )
                    for each in changes[:ROWS_MAX]
                ]
                lines += ["", text.table((name, "grew by", "to", "leases", "to"), rows, width=width)]
                if len(changes) > ROWS_MAX:
                    lines.append(f"and {len(changes) - ROWS_MAX} more")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.describe()

    def __repr__(self) -> str:
        span = text.seconds(abs(self.seconds))
        return f"<ironcliw.memory.SnapshotDiff: {text.change(self.total.bytes)} in {span}>"


Held = dict[str, tuple[float, float]]
"""Bytes and leases by name."""


def diff(before: Document, after: Document) -> SnapshotDiff:
    """What grew from `before` to `after`."""

    def owners(of: Document) -> Held:
        return {each.owner: (each.live_bytes, each.live) for each in of.owners}

    def classes(of: Document) -> Held:
        return {text.class_name(each.size): (each.live_bytes, each.live) for each in of.classes}

    def by_site(of: Document) -> Held:
        return {f"{each.owner}  {each.site}": (each.live_bytes, each.live) for each in sites(of)}

    totals = before.totals, after.totals
    return SnapshotDiff(
        seconds=after.taken_at - before.taken_at,
        total=Change("total", totals[0].live_bytes, totals[1].live_bytes, totals[0].live, totals[1].live),
        owners=_changes(owners(before), owners(after)),
        classes=_changes(classes(before), classes(after)),
        sites=_changes(by_site(before), by_site(after)),
    )


def _changes(before: Held, after: Held) -> tuple[Change, ...]:
    none = (0.0, 0.0)
    names: Iterable[str] = before.keys() | after.keys()
    changes = [
        Change(
            name,
            before.get(name, none)[0],
            after.get(name, none)[0],
            before.get(name, none)[1],
            after.get(name, none)[1],
        )
        for name in names
    ]
    # Weights are quotients: what differs by less than half a byte is the same.
    kept = [each for each in changes if abs(each.bytes) >= 0.5]
    return tuple(sorted(kept, key=lambda each: (-each.bytes, each.name)))
