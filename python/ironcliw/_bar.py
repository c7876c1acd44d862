"""The progress bar of `rt.scheduler.run(..., progress=True)`: one line on standard error, on a terminal.

Made by the native module, which calls it with what a job reports, on the job's thread and no oftener than
the eye can follow.
"""

from __future__ import annotations

import sys
import time
from typing import Any

WIDTH = 30


class Bar:
    """Draws `done` of `total`; without a total, `done` alone."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._begin = time.monotonic()
        self._drawn = False

    def __call__(self, done: Any, total: Any = None) -> None:
        if not self._terminal:
            return
        self._drawn = True
        sys.stderr.write(f"\r\x1b[K{self._name} {self._text(done, total)}")
        sys.stderr.flush()

    def _text(self, done: Any, total: Any) -> str:
        seconds = time.monotonic() - self._begin
        if not (isinstance(done, int | float) and isinstance(total, int | float) and total > 0):
            return f"{done}" if total is None else f"{done}/{total}"
        share = min(max(done / total, 0.0), 1.0)
        filled = round(WIDTH * share)
        bar = "#" * filled + "." * (WIDTH - filled)
        return f"[{bar}] {done}/{total}, {seconds:.1f} s"

    def close(self) -> None:
        """Ends the line, if one was begun."""
        if self._drawn:
            self._drawn = False
            sys.stderr.write("\n")
            sys.stderr.flush()
