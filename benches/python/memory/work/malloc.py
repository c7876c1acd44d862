"""glibc's malloc, told when to take pages from the system and when to give them back: see mallopt(3)."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# The threshold that it begins with, and the greatest that it takes.
MAPPED_FROM_LEAST, MAPPED_FROM_MOST = 128 << 10, 32 << 20
TRIMMED_FROM_MOST = 1 << 30


def can_be_told() -> bool:
    """Whether this is glibc's malloc."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


def with_fresh_pages() -> None:
    """Large blocks come from the system, one by one, and go back to it."""
    tell(M_MMAP_THRESHOLD, MAPPED_FROM_LEAST)


def with_warm_pages() -> None:
    """What was freed is kept for the next: the best that malloc can do."""
    if can_be_told():
        tell(M_MMAP_THRESHOLD, MAPPED_FROM_MOST)
        tell(M_TRIM_THRESHOLD, TRIMMED_FROM_MOST)


def tell(parameter: int, value: int) -> None:
    if ctypes.CDLL(None).mallopt(parameter, value) != 1:
        raise OSError(f"malloc refused {value} for its parameter {parameter}")
