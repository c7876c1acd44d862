"""How much of the machine other programs took meanwhile: figures of a busy machine say less."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Neighbours:
    """Watches from its making on."""

    def __init__(self, *, children: bool = False) -> None:
        """With `children`, processes that were started and waited for are no neighbours either."""
        self._children = children
        self._began = time.monotonic()
        self._busy = busy_seconds()
        self._own = self._own_seconds()

    def share(self) -> float | None:
        """Of the CPU time of all cores since then; None where the system does not tell."""
        if self._busy is None or (busy := busy_seconds()) is None:
            return None
        others = busy - self._busy - (self._own_seconds() - self._own)
        available = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, others / available)) if available > 0 else None

    def _own_seconds(self) -> float:
        times = os.times()
        children = times.children_user + times.children_system if self._children else 0.0
        return time.process_time() + children


def busy_seconds() -> float | None:
    """CPU seconds of all processes since the system began, with what its host gave to others."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return None
    user, nice, system, _idle, _waiting, *rest = (int(word) for word in words[1:9])
    return (user + nice + system + sum(rest)) / ticks
