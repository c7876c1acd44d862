"""Reads the options, measures, and prints."""

from __future__ import annotations

import contextlib
import importlib.util
import sys

from harness import report
from harness.neighbours import Neighbours
from harness.options import Options, parse
from harness.progress import Progress
from harness.rounds import Work, measure

from awaits.cast import Cast
from awaits.rows import works
from awaits.stage import Stage
from awaits.systems.face import System

ROUNDS, SECONDS = 7, 0.12
# Ray's rounds at most: its spread is small, and a request takes it a millisecond.
RAY_ROUNDS_MAX = 3
# Whose versions belong to the figures.
PACKAGES = ("ironcliw", "numpy", "uvloop", "pykka", "ray")

NOTES = """
A ratio is above one where ours is better. A small request adds one to a number on another thread; ours
counts, which is the same. Executors have as many threads as ours has image workers. Nobody is pinned but by
itself. The collector is on; what was made before the first round is frozen.
The job beside which the lag is measured computes in native code without the GIL: ours an image operation on
an image of such a size that it takes {microseconds:.0f} µs of CPU time with all {workers} workers busy, the
peers' a loop of so many steps that it takes as long. The ceiling is the rate of ours' jobs if each worker has
a core and nothing else to do.
Of a frame in only the submit counts: ours shrinks the frame, the peers sum its bytes. A frame out is a gray
frame made RGB; its result is taken once it is there, and then dropped."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(
        "Awaits: ours beside its peers. Prints a table and writes target/bench/await.json.",
        ROUNDS,
        SECONDS,
        arguments,
    )
    needed = [kind for kind in options.loops if kind != "asyncio"]
    if not options.list:
        needed.append("ironcliw_peers")
    absent = [package for package in needed if importlib.util.find_spec(package) is None]
    if absent:
        print(f"{' and '.join(absent)} not installed: `make bench-await` does it", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        stages = [stack.enter_context(Stage(kind)) for kind in options.loops]
        every = [work for stage in stages for work in works(stage, {}, {}, 0)]
        names = [row.name for work in chosen(options, every) for row in work.rows]
        if not names:
            print(f"no row's name contains {options.only!r}", file=sys.stderr)
            return 2
        if unknown := options.without.difference(*(work.names for work in every)):
            print(f"no system is called {' or '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        if options.list:
            print(*names, sep="\n")
        else:
            run(options, stages, stack)
    return 0


def run(options: Options, stages: list[Stage], stack: contextlib.ExitStack) -> None:
    """Measures and prints."""
    progress = Progress()
    progress.begin("making the systems")
    cast = stack.enter_context(Cast(options.without))
    cast.add_peers()
    planned = plan(options, stages, cast.systems, cast.missing, cast.workers)
    neighbours = Neighbours()
    outcomes = measure(planned, options.rounds, options.seconds, progress)
    others = neighbours.share()
    ray = cast.add_ray(progress)
    planned = plan(options, stages, {ray.name: ray} if ray else {}, cast.missing, cast.workers)
    rounds = min(options.rounds, RAY_ROUNDS_MAX)
    for outcome, last in zip(outcomes, measure(planned, rounds, options.seconds, progress), strict=True):
        outcome.values |= last.values
        outcome.missing |= last.missing
    progress.end()

    machine = report.machine(PACKAGES)
    print(
        f"{options.rounds} rounds of {options.seconds} s for each system, interleaved and shuffled; medians"
    )
    print(*(f"{key} {value}" for key, value in machine.items()), sep="; ")
    if others is not None:
        print(f"other programs took {others:.0%} of the machine's CPU time meanwhile")
    print()
    for system in cast.systems.values():
        print(f"  {system.name}: {system.about}")
    for outcome in outcomes:
        report.print_row(outcome, cast.ours)
    print(NOTES.format(microseconds=cast.job_seconds * 1e6, workers=cast.workers))
    path = report.write("await", machine, outcomes, cast.ours)
    print(f"\nwritten to {path} after {progress.seconds:.0f} s")


def plan(
    options: Options, stages: list[Stage], systems: dict[str, System], missing: dict[str, str], workers: int
) -> list[Work]:
    """What is to be measured of these systems, loop by loop."""
    return chosen(options, [work for stage in stages for work in works(stage, systems, missing, workers)])


def chosen(options: Options, found: list[Work]) -> list[Work]:
    """Those with a row that `--only` names."""
    return [work for work in found if any(options.only in row.name for row in work.rows)]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: nothing was written")
