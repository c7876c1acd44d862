"""Figures and tables as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(count: float) -> str:
    """`1.5 MiB`: three figures, in units of 1,024."""
    negative, count = count < 0, abs(count)
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count /= 1024
        unit += 1
    digits = 0 if unit == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    shown = f"{count:.{digits}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return f"{'-' if negative else ''}{shown} {UNITS[unit]}"


def change(count: float) -> str:
    """The same with its sign."""
    return "0" if count == 0 else f"{'+' if count > 0 else ''}{size(count)}"


def class_name(block: int) -> str:
    """A size class by the bytes of its blocks."""
    return "huge" if block == 0 else size(block)


def seconds(span: float) -> str:
    """`2 min 5 s`, `3.2 s`, `15 ms`."""
    if span < 1:
        return f"{span * 1000:.0f} ms"
    if span < 60:
        return f"{span:.1f} s"
    minutes, rest = divmod(round(span), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


NAME_MIN = 16
"""Columns that a name keeps, however narrow the terminal is."""


def printable(words: str) -> str:
    """Without what would move a terminal's cursor or change its colours: names are from anywhere."""
    if words.isprintable():
        return words
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words
    )


def columns(words: str) -> int:
    """How many a terminal needs for it: letters of East Asia take two, accents that join a letter none."""
    if words.isascii():
        return len(words)
    return sum(map(_columns, words))


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def shortened(words: str, width: int) -> str:
    """In so many columns: begin and end are what tells a path from another."""
    if columns(words) <= width:
        return words
    end = (width - 1) * 2 // 3
    first, last = _fitting(words, width - 1 - end), _fitting(words[::-1], end)[::-1]
    while last and _columns(last[0]) == 0:
        last = last[1:]
    return f"{first}…{last}"


def _fitting(words: str, width: int) -> str:
    """As many of the first letters as there are columns for."""
    for at, letter in enumerate(words):
        width -= _columns(letter)
        if width < 0:
            return words[:at]
    return words


def table(head: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Columns under their names; the first begins at the left, the others end at the right. The first is made
    narrower where the table is wider than `width`."""
    lines = [[printable(cell) for cell in line] for line in (head, *rows)]
    first, *others = (max(columns(line[column]) for line in lines) for column in range(len(head)))
    if width is not None:
        first = min(first, max(width - sum(others) - 2 * len(others), NAME_MIN))
    shown = []
    for name, *cells in lines:
        name = shortened(name, first)
        figures = (" " * (space - columns(cell)) + cell for cell, space in zip(cells, others, strict=True))
        shown.append("  ".join((name + " " * (first - columns(name)), *figures)).rstrip())
    return "\n".join(shown)
