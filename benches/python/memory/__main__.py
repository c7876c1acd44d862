"""Reads the options, measures, and prints."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import ironcliw
from harness import report
from harness.neighbours import Neighbours
from harness.options import Options, parse
from harness.progress import Progress
from harness.rounds import Work, measure

from memory.pipelines.films import write_films
from memory.rows import OURS, in_children, in_process

ROUNDS, SECONDS = 7, 0.1
# Of the pipelines at most: what they hold hardly varies, and each takes seconds.
PIPELINE_ROUNDS_MAX = 5
PACKAGES = ("ironcliw", "numpy", "opencv-python-headless", "pillow", "pyarrow")

NOTES = """
A ratio is above one where ours is better. An output's time is the median of single outputs, or of eight. On
fresh pages: malloc is told to take them from the system for each output, as it does unasked where several
are dropped together; on warm ones: to keep all that it ever had. Buffers are leased with zeroed=False where
a row does not say otherwise, and those of the rows "allocate+release" are not touched, as their peers' are
not. Pipelines have malloc as it comes. What a process holds once everything is imported and the first frames
can come is taken off what it holds at most."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(
        "Memory from Python: ours beside its peers. Prints a table and adds it to target/bench/memory.json.",
        ROUNDS,
        SECONDS,
        arguments,
        on_loops=False,
    )
    with contextlib.ExitStack() as stack:
        rt = stack.enter_context(ironcliw.Runtime())
        films = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        here, apart = chosen(options, in_process(rt)), chosen(options, in_children(films))
        every = [*here, *apart]
        if not every:
            print(f"no row's name contains {options.only!r}", file=sys.stderr)
            return 2
        if unknown := options.without.difference(*(work.names for work in every)):
            print(f"no system is called {' or '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        if options.list:
            print(*(row.name for work in every for row in work.rows), sep="\n")
            return 0
        run(options, rt, films, here, apart)
    return 0


def run(options: Options, rt: ironcliw.Runtime, films: Path, here: list[Work], apart: list[Work]) -> None:
    """Measures and prints."""
    progress, neighbours = Progress(), Neighbours(children=True)
    outcomes = measure(here, options.rounds, options.seconds, progress)
    if apart:
        progress.begin("making frames")
        write_films(rt, films)
    rounds = min(options.rounds, PIPELINE_ROUNDS_MAX)
    outcomes += measure(apart, rounds, options.seconds, progress)
    others = neighbours.share()
    progress.end()

    machine = report.machine(PACKAGES)
    print(
        f"{options.rounds} rounds of {options.seconds} s for each system, interleaved and shuffled, "
        f"{rounds} of the pipelines; medians"
    )
    print(*(f"{key} {value}" for key, value in machine.items()), sep="; ")
    if others is not None:
        print(f"other programs took {others:.0%} of the machine's CPU time meanwhile")
    for outcome in outcomes:
        report.print_row(outcome, OURS)
    print(NOTES)
    path = report.write("memory", machine, outcomes, OURS, keep_others=True)
    print("\nGoals, the Rust rows' of the last run included")
    report.print_goals(path)
    print(f"\nwritten to {path} after {progress.seconds:.0f} s")


def chosen(options: Options, found: list[Work]) -> list[Work]:
    """Those with a row that `--only` names, without the systems that are to be left out."""
    return [
        work.without(options.without) for work in found if any(options.only in row.name for row in work.rows)
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ninterrupted: nothing was written")
