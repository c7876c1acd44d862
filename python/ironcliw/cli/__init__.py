"""The command `ironcliw`.

`ironcliw run` is the main job: `vision` drives it, `pictures` finds and divides its files, `classifier`
trains its network (`network`) or takes it from the cache. `ironcliw doctor` tells what the runtime sees of
this machine. `ironcliw memory` looks at a pool's snapshot that a program wrote (`memory`).

Exit codes: 0 all is well, 1 it ran and something was lost, 2 it could not run, 130 interrupted, 141 nobody
reads its output any more.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .console import Complaint, discard_output, has_lost_reader

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended: 128 + SIGINT."""


CLOSED_PIPE = 141
"""What a shell expects of a program that wrote to a closed pipe: 128 + SIGPIPE."""


def positive(text: str) -> int:
    """An argument that is a whole number, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    # Loading the native module for `--version` tells at once whether the installation works.
    from ironcliw import __version__

    top = argparse.ArgumentParser(
        prog="ironcliw",
        description="Supervised Rust actors for asyncio: a demonstration, and a look at the machine.",
    )
    top.add_argument("--version", action="version", version=f"ironcliw {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="classify tiles of real photographs while an image worker crashes",
        description="Decodes, resizes and normalises frames of real photographs and pages on the image "
        "workers and classifies them with an INT8 network, while one worker is made to panic and the event "
        "loop's lag is measured. The first run trains the network; later ones take it from the cache.",
    )
    run.add_argument("folder", nargs="?", type=Path, help="JPEG and PNG files of your own, at least 2")
    run.add_argument("--frames", type=positive, default=2000, help="frames to classify (default: 2000)")
    run.add_argument(
        "--in-flight", type=positive, default=64, help="frames under way at one time (default: 64)"
    )
    run.add_argument("--workers", type=positive, help="image workers (default: by the cores)")
    run.add_argument("--endpoint", metavar="HOST:PORT", help="serve the supervision endpoint meanwhile")

    doctor = commands.add_parser(
        "doctor",
        help="versions, CPU features, cores and pinning, memory",
        description="Starts a runtime and says what it sees of this machine, with advice where a change "
        "would pay. Exits with 1 if something is broken; a warning is not.",
    )
    doctor.add_argument("--json", action="store_true", help="for a program to read")

    memory = commands.add_parser(
        "memory",
        help="look at a file of rt.pool.snapshot().to_json(), and draw it",
        description="Prints who held what in a pool's snapshot, or draws it.",
    )
    memory.add_argument("snapshot", type=Path, help="a file that PoolSnapshot.to_json() wrote")
    memory.add_argument(
        "--since", type=Path, metavar="SNAPSHOT", help="an earlier one: print what grew since"
    )
    memory.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    memory.add_argument("--trace", type=Path, metavar="FILE", help="write a trace for Perfetto")
    memory.add_argument(
        "--flamegraph", type=Path, metavar="FILE", help="write a flame graph: .svg, .html, .folded or .json"
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    # Either was closed, as `>&-` does; what is printed to no `stderr` would go to `stdout`.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        arguments = parser().parse_args(argv)
        if arguments.command == "doctor":
            from .doctor import doctor

            return doctor(as_json=arguments.json)
        if arguments.command == "memory":
            from .memory import look

            return look(
                arguments.snapshot,
                since=arguments.since,
                html=arguments.html,
                trace=arguments.trace,
                flamegraph=arguments.flamegraph,
            )
        from .vision import run

        return run(
            arguments.folder,
            frames=arguments.frames,
            in_flight=arguments.in_flight,
            workers=arguments.workers,
            endpoint=arguments.endpoint,
        )
    except Complaint as complaint:
        print(f"ironcliw: {complaint}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not has_lost_reader():
            raise
        # As of `ironcliw … | head`.
        discard_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
