"""What the commands print: a progress bar on a terminal, plain lines elsewhere, tables, and complaints.

The bar is one short write, ten times a second at most: it is drawn on the thread of the event loop whose
lag is being measured, where a richer one would be most of that lag.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

BAR_WIDTH = 30
SECONDS_BETWEEN_DRAWS = 0.1
LINES_WITHOUT_TERMINAL = 5


class Complaint(Exception):
    """Why a command cannot run, in one line for a person."""


class Progress:
    """Counts steps towards `total` before the reader's eyes; a context manager."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0
        self._terminal = sys.stdout.isatty()
        self._begin = self._drawn = time.perf_counter()
        self._lines = 0

    @property
    def done(self) -> int:
        return self._done

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        if self._terminal:
            if time.perf_counter() - self._drawn >= SECONDS_BETWEEN_DRAWS:
                self._draw()
        elif self._done * LINES_WITHOUT_TERMINAL >= (self._lines + 1) * self._total:
            self._lines = self._done * LINES_WITHOUT_TERMINAL // self._total
            print(f"{self._label}: {self._text()}", flush=True)

    def _text(self) -> str:
        rate = self._done / max(time.perf_counter() - self._begin, 1e-9)
        return f"{self._done}/{self._total} {self._unit}, {rate:.0f}/s"

    def _draw(self) -> None:
        self._drawn = time.perf_counter()
        filled = BAR_WIDTH * min(self._done, self._total) // self._total
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        try:
            sys.stdout.write(f"\r\x1b[K{self._label} {bar} {self._text()}")
        except UnicodeEncodeError:
            sys.stdout.write(f"\r\x1b[K{self._label} {self._text()}")
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._terminal:
            self._draw()
            print(flush=True)


def table(rows: Iterable[tuple[str, str]]) -> None:
    """Prints names and values in two columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}   {value}")
    sys.stdout.flush()


def say(text: str) -> None:
    """Prints it. What the terminal has no letters for is written as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise Complaint(f"standard output: {error.strerror}") from error


def has_lost_reader() -> bool:
    """Whether standard output is a pipe, or the like, that nobody reads any more."""
    if not hasattr(select, "poll"):
        return True  # There is no telling.
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except OSError:
        return False


def discard_output() -> None:
    """Lets what was not written go: Python would try again as it ends, and complain."""
    # A stream of somebody's own has no descriptor, which is an OSError too.
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
