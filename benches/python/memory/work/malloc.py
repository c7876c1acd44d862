"""glibc's malloc, told by the environment of a process when to take pages from the system and when to give
them back: see mallopt(3)."""

from __future__ import annotations

import platform

FRESH_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
"""Large blocks come from the system one by one, and go back to it. That is where malloc begins; without a
fixed threshold it raises it to the size of what is freed, up to 32 MiB."""

FRESH_SMALL_PAGES = {**FRESH_PAGES, "NUMPY_MADVISE_HUGEPAGE": "0"}
"""The same where there are no huge pages, which numpy otherwise asks for from 4 MiB on."""

WARM_PAGES = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""What was freed is kept for the next: the best that it can do, and the most that it can hold."""


def can_be_told() -> bool:
    """Whether this is glibc's malloc."""
    return platform.libc_ver()[0] == "glibc"
