"""The command line of a benchmark."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What to measure, and for how long."""

    rounds: int
    seconds: float
    loops: tuple[str, ...]
    only: str
    without: frozenset[str]
    list: bool


def parse(
    description: str,
    rounds: int,
    seconds: float,
    arguments: list[str] | None = None,
    *,
    on_loops: bool = True,
) -> Options:
    """The options, with these defaults. Ends the program if they are wrong. Only what is measured `on_loops`
    can be told on which."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=positive(int), default=rounds, help="rounds that count")
    parser.add_argument(
        "--seconds", type=positive(float), default=seconds, help="one measurement of one system"
    )
    if on_loops:
        parser.add_argument("--loop", choices=("asyncio", "uvloop", "both"), default="both")
    parser.add_argument("--only", default="", metavar="ROW", help="rows whose name contains this")
    parser.add_argument("--without", default="", metavar="PEER,PEER", help="systems to leave out, by name")
    parser.add_argument("--list", action="store_true", help="say what the rows are, and measure none")
    told = parser.parse_args(arguments)
    # uvloop does not exist for every system.
    both = ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)
    loops = () if not on_loops else both if told.loop == "both" else (told.loop,)
    without = frozenset(name for name in told.without.split(",") if name)
    return Options(told.rounds, told.seconds, loops, told.only, without, told.list)


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """For argparse: a number above zero."""

    def parsed(text: str) -> float:
        number = kind(text)
        if not 0 < number < float("inf"):
            raise ValueError(text)
        return number

    parsed.__name__ = "a positive number"
    return parsed
