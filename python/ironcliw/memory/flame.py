"""Flame graphs of leased bytes: folded stacks, speedscope's JSON, and a picture of our own.

Folded stacks are those of Brendan Gregg's flamegraph.pl: a line a path, calls joined by semicolons, then a
space and the weight. Speedscope's format is https://www.speedscope.app/file-format-schema.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ironcliw.errors import InvalidInput

from . import flame_svg, text
from .calls import is_python, paths
from .document import Document
from .model import Frame

PathLike = str | os.PathLike[str]

SPEEDSCOPE = "https://www.speedscope.app/file-format-schema.json"


def label(frame: Frame) -> str:
    """A call in a word: of Python code with its line, as a function may take memory at many places."""
    if not is_python(frame):
        return frame.function or "?"
    file = (frame.file or "").replace("\\", "/").rsplit("/", 1)[-1]
    return f"{frame.function or '?'} ({file}:{frame.line})"


def merged(document: Document) -> dict[tuple[str, ...], int]:
    """Bytes by path of labels, the owner first. They add up to what is leased."""
    sums: dict[tuple[str, ...], int] = {}
    for (owner, calls), held in _by_calls(document).items():
        names = (owner, *map(label, calls))
        sums[names] = sums.get(names, 0) + held
    return {names: sums[names] for names in sorted(sums) if sums[names] > 0}


def _by_calls(document: Document) -> dict[tuple[str, tuple[Frame, ...]], int]:
    """Bytes by owner and calls. Leases that share a stack share the object, which is compared only once."""
    shared: dict[tuple[str, int], tuple[tuple[Frame, ...], int]] = {}
    for path in paths(document):
        key = (path.owner, id(path.calls))
        _, held = shared.get(key, (path.calls, 0))
        shared[key] = (path.calls, held + path.bytes)
    sums: dict[tuple[str, tuple[Frame, ...]], int] = {}
    for (owner, _), (calls, held) in shared.items():
        sums[owner, calls] = sums.get((owner, calls), 0) + held
    return sums


def folded(document: Document) -> str:
    """A line a path, without what would move the cursor of a terminal that shows it."""

    def plain(name: str) -> str:
        return text.printable(" ".join(name.replace(";", ":").split())) or "?"

    lines: dict[str, int] = {}
    for names, held in merged(document).items():
        line = ";".join(map(plain, names))
        lines[line] = lines.get(line, 0) + held
    return "".join(f"{line} {held}\n" for line, held in lines.items())


def speedscope(document: Document) -> str:
    """A profile of one sample a path."""
    frames: list[dict[str, Any]] = []
    places: dict[Frame | str, int] = {}

    def place(frame: Frame | str) -> int:
        if frame not in places:
            places[frame] = len(frames)
            entry: dict[str, Any] = {"name": frame if isinstance(frame, str) else label(frame)}
            if isinstance(frame, Frame) and frame.file is not None:
                entry["file"] = frame.file
                if frame.line is not None:
                    entry["line"] = frame.line
            frames.append(entry)
        return places[frame]

    sums: dict[tuple[int, ...], int] = {}
    for (owner, calls), held in _by_calls(document).items():
        sample = (place(owner), *map(place, calls))
        sums[sample] = sums.get(sample, 0) + held
    # In the order of names, as the viewer's first view joins only neighbours.
    ordered = sorted(sums, key=lambda sample: [frames[place]["name"] for place in sample])
    kept = {sample: sums[sample] for sample in ordered if sums[sample] > 0}
    profile = {
        "type": "sampled",
        "name": "leased bytes",
        "unit": "bytes",
        "startValue": 0,
        "endValue": sum(kept.values()),
        "samples": [list(sample) for sample in kept],
        "weights": list(kept.values()),
    }
    top = {
        "$schema": SPEEDSCOPE,
        "exporter": "ironcliw",
        "name": f"pool, {text.size(document.totals.live_bytes)} leased",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": [profile],
    }
    return json.dumps(top, separators=(",", ":"))


def svg(document: Document) -> str:
    """A picture."""
    return flame_svg.svg(merged(document))


def html(document: Document) -> str:
    """The picture in a page."""
    return flame_svg.html(merged(document))


WRITERS: dict[str, Callable[[Document], str]] = {
    ".svg": svg,
    ".html": html,
    ".folded": folded,
    ".json": speedscope,
}
"""By suffix."""


def writer(path: PathLike) -> Callable[[Document], str]:
    """What makes the flame graph that a file of this name holds; `InvalidInput` if none does."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise InvalidInput(f"a flame graph ends in {', '.join(WRITERS)}, not in {suffix!r}")
    return WRITERS[suffix]
