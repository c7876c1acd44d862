"""How far a benchmark has come: a bar on a terminal, a line a round elsewhere. Always on stderr, between
measurements and never during one."""

from __future__ import annotations

import sys
import time

BAR_WIDTH = 30


class Progress:
    """Counts the steps of one stage after another."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._terminal = sys.stderr.isatty()
        self._stage, self._total, self._done = "", 0, 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._began

    def begin(self, stage: str, total: int = 0) -> None:
        """The next stage, of `total` steps."""
        self._stage, self._total, self._done = stage, total, 0
        if self._terminal:
            self._draw("")
        else:
            print(f"{stage}, after {self.seconds:.0f} s", file=sys.stderr, flush=True)

    def advance(self, what: str) -> None:
        """A step is done."""
        self._done += 1
        if self._terminal:
            self._draw(what)

    def end(self) -> None:
        """Leaves the terminal's line."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _draw(self, what: str) -> None:
        filled = BAR_WIDTH * self._done // self._total if self._total else 0
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        sys.stderr.write(
            f"\r\x1b[K{self._stage} [{bar}] {self._done}/{self._total} {self.seconds:.0f} s {what}"
        )
        sys.stderr.flush()
