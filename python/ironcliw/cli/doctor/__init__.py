"""`ironcliw doctor`: what the runtime sees of this machine, and what is worth a change.

`machine` asks the system, `facts` gathers what there is to know, `advice` judges it; here it is printed.
"""

from __future__ import annotations

import json
from typing import Any, cast

from ..console import table
from .advice import Remark, remarks
from .facts import Facts, gather

TITLES = {
    "versions": "Versions",
    "build": "Build",
    "cpu": "Processor",
    "threads": "Threads",
    "memory": "Memory",
    "event_loop": "Event loop",
    "environment": "Environment",
    "runtime": "Runtime",
}


def doctor(*, as_json: bool = False) -> int:
    """Starts a runtime, prints what it found, and returns 1 if something is broken. A warning is not."""
    facts = gather()
    found = remarks(facts)
    if as_json:
        remarked = [{"level": remark.level, "what": remark.what, "advice": remark.advice} for remark in found]
        print(json.dumps({"ok": not is_broken(found), **facts, "remarks": remarked}, indent=2))
    else:
        show(facts, found)
    return 1 if is_broken(found) else 0


def is_broken(found: list[Remark]) -> bool:
    return any(remark.level == "error" for remark in found)


def show(facts: Facts, found: list[Remark]) -> None:
    sections = cast(dict[str, dict[str, Any]], facts)
    for section, title in TITLES.items():
        rows = sections[section]
        if rows:
            print(title)
            table([(name.replace("_", " "), readable(name, value)) for name, value in rows.items()])
    for remark in found:
        print(f"\n{remark.level}: {remark.what}\n  {remark.advice}")
    print(f"\n{'broken' if is_broken(found) else 'all is well' if not found else 'usable'}")


def readable(name: str, value: Any) -> str:
    """For a person: bytes in units, lists with commas."""
    match value:
        case None:
            return "none found"
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("bytes"):
            return in_units(value)
        case list():
            return ", ".join(str(item) for item in value) or "none"
        case _:
            return str(value)


def in_units(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {' KMGT'[power]}iB"
