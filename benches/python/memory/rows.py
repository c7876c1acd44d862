"""The rows: what is measured, of which systems, and what ours must reach."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import ironcliw
from harness.rounds import Against, Better, Cell, Limit, Row, Work

from memory.pipelines.run import PIPELINES, pipeline
from memory.work import leases, malloc, operations, outputs, tracking

OURS = "ironcliw"
HIGHER, LOWER = Better.HIGHER, Better.LOWER

Measure = Callable[[float], Sequence[float | None]]

# What `try_allocate` is asked for, and what a row calls it.
LEASES = (
    ("64 B", 64),
    ("4 KiB", 4 << 10),
    ("64 KiB", 64 << 10),
    ("1 MiB", 1 << 20),
    ("6.2 MB", outputs.BYTES),
)


def missing(system: str, package: str) -> dict[str, str]:
    """Why the system is not there, if it is not."""
    return {} if importlib.util.find_spec(package) else {system: f"{package} is not installed"}


def work(rows: Sequence[Row], systems: dict[str, Measure], absent: dict[str, str] | None = None) -> Work:
    absent = absent or {}
    cells = [Cell(name, measure) for name, measure in systems.items() if name not in absent]
    return Work(rows, list(systems), cells, absent)


def in_process(rt: ironcliw.Runtime) -> list[Work]:
    """All that is measured in this process, and what takes no longer in one of its own."""
    return [*of_outputs(), of_operations(rt), *of_leases(rt), of_tracking(rt)]


def of_outputs() -> list[Work]:
    told = (name for name, source in outputs.SOURCES.items() if source.environment)
    no_malloc = {} if malloc.can_be_told() else dict.fromkeys(told, "only glibc's malloc can be told")
    works = []
    for name, together in (("one", 1), ("eight at a time", outputs.TOGETHER)):
        systems: dict[str, Measure] = {
            system: partial(outputs.outputs, system, together) for system in outputs.SOURCES
        }
        # Eight do not fit any cache of most machines: then ours is bounded by what memory gives.
        goals = [Against(outputs.FRESH, 20)] if together == 1 else []
        rows = [
            Row(f"6.2 MB output, {name}, filled", "µs", LOWER, goals),
            Row(f"6.2 MB output, {name}, page faults", "an output", LOWER, [Limit(0.0)]),
        ]
        works.append(work(rows, systems, no_malloc))
    return works


def of_operations(rt: ironcliw.Runtime) -> Work:
    rows = [
        Row("720p resized to 1080p", "µs", LOWER),
        Row("720p resized to 1080p, page faults", "an output", LOWER, [Limit(0.0)]),
    ]
    systems: dict[str, Measure] = {
        OURS: partial(operations.ours, rt),
        "opencv": operations.opencv,
        "opencv (dst=)": operations.opencv_in_place,
        "pillow": operations.pillow,
    }
    absent = missing("opencv", "cv2") | missing("opencv (dst=)", "cv2") | missing("pillow", "PIL")
    return work(rows, systems, absent)


def of_leases(rt: ironcliw.Runtime) -> list[Work]:
    works = []
    for name, size in LEASES:
        systems: dict[str, Measure] = {
            OURS: leases.ours(rt, size),
            "ironcliw (zeroed)": leases.ours(rt, size, zeroed=True),
            "bytearray": leases.python(size),
            "numpy.empty": leases.numpy(size),
            "pyarrow": leases.arrow(size),
        }
        rows = [Row(f"allocate+release, {name}", "ns", LOWER)]
        works.append(work(rows, systems, missing("pyarrow", "pyarrow")))
    return works


def of_tracking(rt: ironcliw.Runtime) -> Work:
    rows = [
        Row("tracking at simple, above disabled", "ns", LOWER),
        Row("tracking at advanced, above disabled", "ns", LOWER),
        Row("tracking at paranoid, 16 frames, above disabled", "µs", LOWER, [Limit(4.0)]),
    ]
    return work(rows, {OURS: partial(tracking.above_disabled, rt)})


def in_children(films: Path) -> list[Work]:
    """The programs that are measured from outside."""
    rows = [
        Row("1080p pipeline, 32 in flight, held at most", "MB above the start", LOWER),
        Row("1080p pipeline, 32 in flight, at the start", "MB resident", LOWER),
        Row("1080p pipeline, 32 in flight", "frames/s", HIGHER),
        Row("1080p pipeline, 32 in flight, page faults", "a frame", LOWER),
    ]
    systems: dict[str, Measure] = {name: partial(pipeline, name, films) for name in PIPELINES}
    absent = {
        name: reason for name in PIPELINES if "opencv" in name for reason in missing(name, "cv2").values()
    }
    return [work(rows, systems, absent)]
