"""Reads the options, measures, and prints."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from harness import report
from harness.child import ask, run
from harness.neighbours import Neighbours
from harness.options import parse
from harness.progress import Progress
from harness.rounds import Better, Cell, Row, Work, measure

ROUNDS, SECONDS = 7, 0.5
# Of the main job in a second of measurement, in which it does about as many.
FRAMES_A_SECOND = 1500
FRAMES_LEAST = 64

HIGHER, LOWER = Better.HIGHER, Better.LOWER
OURS, PEER = "mimalloc", "system"

MB = 1e6

Measured = Callable[[Path, float], Sequence[float | None]]


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    folders, rest = given[:2], given[2:]
    if len(folders) < 2 or any(not (Path(folder) / "ironcliw").is_dir() for folder in folders):
        print("two folders with the package are needed: `make bench-malloc` makes them", file=sys.stderr)
        return 2
    options = parse(
        "Allocators: ours with mimalloc and with the system's. Writes target/bench/allocators.json.",
        ROUNDS,
        SECONDS,
        rest,
        on_loops=False,
    )
    builds = {OURS: Path(folders[0]).resolve(), PEER: Path(folders[1]).resolve()}
    works = [
        work.without(options.without)
        for work in every(builds)
        if any(options.only in row.name for row in work.rows)
    ]
    if options.list:
        print(*(row.name for work in works for row in work.rows), sep="\n")
        return 0
    for name, folder in builds.items():
        found = ask("allocators.program", "which", ahead=folder)
        if found != name:
            print(f"{folder} has the allocator {found}, and should have {name}", file=sys.stderr)
            return 2
    progress, neighbours = Progress(), Neighbours(children=True)
    outcomes = measure(works, options.rounds, options.seconds, progress)
    others = neighbours.share()
    progress.end()
    if others is not None:
        print(f"other programs took {others:.0%} of the machine's CPU time meanwhile")
    for outcome in outcomes:
        report.print_row(outcome, OURS)
    machine = report.machine(("ironcliw", "numpy"))
    path = report.write("allocators", machine, outcomes, OURS)
    print(f"\nwritten to {path} after {progress.seconds:.0f} s")
    return 0


def every(builds: dict[str, Path]) -> list[Work]:
    def work(rows: Sequence[Row], measured: Measured) -> Work:
        cells = [Cell(name, partial(measured, folder)) for name, folder in builds.items()]
        return Work(rows, list(builds), cells)

    return [
        work(
            [
                Row("main job", "frames/s", HIGHER),
                Row("main job, resident at most", "MB", LOWER),
            ],
            main_job,
        ),
        work([Row("await, one after another", "µs", LOWER)], partial(asked, "sequential")),
        work([Row("awaits, 64 in flight", "awaits/s", HIGHER)], partial(asked, "burst")),
        work(
            [
                Row("20,000 small buffers, each in turn replaced", "ns/buffer", LOWER),
                Row("20,000 small buffers, resident at most", "MB", LOWER),
            ],
            partial(asked, "buffers"),
        ),
        work([Row("10,000 messages and their answers", "ns/message", LOWER)], partial(asked, "messages")),
    ]


def main_job(folder: Path, seconds: float) -> tuple[float, float | None]:
    """`ironcliw run`: frames a second, and megabytes resident at most."""
    frames = max(FRAMES_LEAST, round(seconds * FRAMES_A_SECOND))
    ran = run("ironcliw", "run", "--frames", str(frames), ahead=folder)
    found = re.search(r"^\s*frames/s\s+(\d+)", ran.stdout, re.M)
    if found is None:
        raise RuntimeError(f"the main job did not say how fast it was:\n{ran.stdout}")
    peak = ran.resident_peak_bytes
    return float(found[1]), None if peak is None else peak / MB


def asked(what: str, folder: Path, seconds: float) -> list[float]:
    """One of the works of `program.py`."""
    told: list[float] = ask("allocators.program", what, str(seconds), ahead=folder)
    return told


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: nothing was written")
