"""A flame graph as an SVG that loads nothing: owners at the top, calls below, as wide as their bytes (an
"icicle"). A click on a call widens it to the whole picture; titles have the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zlib import crc32

from . import text

WIDTH = 1200
ROW = 18
HEAD = 40
PADDING = 8

NARROWEST = 0.2
"""Of a picture's units: what is narrower is not drawn, like all that is inside of it."""

DEEPEST = 200
"""Rows: a stack has tens of calls, and a file from elsewhere may claim anything."""

LETTER = 6.6
"""Width of a letter of the font."""


@dataclass(slots=True)
class Node:
    """A call, and the calls it made."""

    name: str
    bytes: int = 0
    inner: dict[str, Node] = field(default_factory=dict)


def tree(sums: Mapping[tuple[str, ...], int]) -> Node:
    """The paths, joined where they begin alike."""
    root = Node("leased")
    for names, held in sums.items():
        node = root
        node.bytes += held
        for name in names[:DEEPEST]:
            node = node.inner.setdefault(name, Node(name))
            node.bytes += held
    return root


def escape(value: str) -> str:
    """For text and for attributes; what XML has no place for is left out."""
    kept = "".join(letter if letter >= " " and letter not in "\ufffe\uffff" else " " for letter in value)
    for letter, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39")):
        kept = kept.replace(letter, f"&{name};")
    return kept


def asset(name: str) -> str:
    """A file beside this one."""
    from importlib.resources import files  # Slow to load, and few programs draw.

    return files("ironcliw.memory").joinpath(name).read_text(encoding="utf-8")


def svg(sums: Mapping[tuple[str, ...], int]) -> str:
    """The picture."""
    root = tree(sums)
    boxes: list[str] = []
    depth = 0
    # Not by recursion: a stack may be deeper than Python's own.
    waiting = [(root, 0.0, 0, "")]
    while waiting:
        node, left, row, owner = waiting.pop()
        width = (WIDTH - 2 * PADDING) * node.bytes / root.bytes if root.bytes else float(WIDTH - 2 * PADDING)
        if width < NARROWEST:
            continue
        depth = max(depth, row)
        boxes.append(_box(node, left, row, width, owner, root.bytes))
        for inner in sorted(node.inner.values(), key=lambda each: (-each.bytes, each.name)):
            waiting.append((inner, left, row + 1, owner or inner.name))
            left += (WIDTH - 2 * PADDING) * inner.bytes / root.bytes
    height = HEAD + (depth + 1) * ROW + PADDING
    style, script = asset("flame.css"), asset("flame.js")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" class="flame" '
        'preserveAspectRatio="xMidYMin meet" '
        f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">\n'
        f"<style>{style}</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n'
        f'<text class="head" x="{PADDING}" y="24">{escape(text.size(root.bytes))} leased, by owner and by '
        f"the calls that took it; click to zoom, arrow keys and Enter do too</text>\n"
        f'<g class="boxes">\n{"".join(boxes)}</g>\n'
        f"<script><![CDATA[\n{script}]]></script>\n</svg>\n"
    )


def html(sums: Mapping[tuple[str, ...], int]) -> str:
    """A page with the picture in it."""
    # In HTML a script is no CDATA section, and this one holds nothing that would need one.
    picture = svg(sums).replace("<script><![CDATA[", "<script>").replace("]]></script>", "</script>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Leased memory by call</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">\n'
        "<style>body { margin: 0 } svg { min-width: 880px }</style></head>\n"
        f"<body>{picture}</body></html>\n"
    )


def _box(node: Node, left: float, row: int, width: float, owner: str, total: int) -> str:
    share = 100 * node.bytes / total if total else 0.0
    title = escape(f"{node.name}: {text.size(node.bytes)}, {share:.1f} % ({node.bytes} bytes)")
    # An owner has a colour, its calls shades of it.
    hue = crc32(owner.encode()) % 360 if owner else 0
    shade = crc32(node.name.encode()) % 14
    fill = f"hsl({hue} {60 if owner else 0}% {62 + shade}%)"
    x, y = PADDING + left, HEAD + row * ROW
    letters = int((width - 6) / LETTER)
    shown = node.name if len(node.name) <= letters else f"{node.name[: letters - 1]}…" if letters > 2 else ""
    return (
        f'<g class="box" role="button" tabindex="{0 if row == 0 else -1}" '
        f'data-x="{left:.3f}" data-w="{width:.3f}" data-row="{row}" '
        f'data-name="{escape(node.name)}"><title>{title}</title><rect x="{x:.2f}" y="{y}" '
        f'width="{max(width - 0.4, 0.2):.2f}" height="{ROW - 1}" rx="2" fill="{fill}"/>'
        f'<text x="{x + 3:.2f}" y="{y + 12}">{escape(shown)}</text></g>\n'
    )
