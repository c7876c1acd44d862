"""`ironcliw memory`: a pool's snapshot from a file, printed or drawn."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ironcliw.errors import InvalidInput
from ironcliw.memory import PoolSnapshot, flame

from .console import Complaint, say


def look(
    path: Path, *, since: Path | None, html: Path | None, trace: Path | None, flamegraph: Path | None
) -> int:
    """Draws what it is asked to, and prints what was not drawn away; the exit code."""
    snapshot = read(path)
    earlier = None if since is None else read(since)
    pictures: list[tuple[Path | None, Callable[[Path], None]]] = [
        (html, snapshot.to_html),
        (trace, snapshot.to_chrome_trace),
        (flamegraph, snapshot.to_flamegraph),
    ]
    asked = [(out, write) for out, write in pictures if out is not None]
    # Before anything is written.
    keep_apart([given for given in (path, since) if given is not None], [out for out, _ in asked])
    try:
        if flamegraph is not None:
            flame.writer(flamegraph)
    except InvalidInput as error:
        raise Complaint(str(error)) from error
    for out, write in asked:
        try:
            write(out)
        except OSError as error:
            raise Complaint(f"{out}: {error.strerror}") from error
        say(f"wrote {out}")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if earlier is not None:
        say(snapshot.diff(earlier).describe(width))
    elif not asked:
        say(snapshot.describe(width))
    return 0


def keep_apart(given: list[Path], written: list[Path]) -> None:
    """A complaint if a file would be written over one of those given, or twice."""
    taken = list(given)
    for out in written:
        if any(is_same(out, other) for other in taken):
            raise Complaint(f"{out}: would be written over a snapshot, or twice")
        taken.append(out)


def is_same(one: Path, other: Path) -> bool:
    """Whether both are one file, by whatever name or link."""
    try:
        return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
    except OSError as error:
        raise Complaint(f"{one}: {error.strerror}") from error
    except RuntimeError as error:
        # Before Python 3.13 a link that leads to itself is one.
        raise Complaint(str(error)) from error


def read(path: Path) -> PoolSnapshot:
    """The snapshot, or a complaint that names the file."""
    try:
        return PoolSnapshot.from_json(path)
    except InvalidInput as error:
        raise Complaint(f"{path}: {error}") from error
    except OSError as error:
        raise Complaint(f"{path}: {error.strerror}") from error
