"""What of the facts is worth a change, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .facts import Facts

MIB = 1 << 20

ALLOWED_BYTES_LOW = 512 * MIB
"""Below it the interpreter, numpy and a few frames in flight already press."""

POOL_BYTES_LOW = 64 * MIB
"""Some ten frames of 1920x1080."""


@dataclass(frozen=True)
class Remark:
    level: Literal["warning", "error"]
    what: str
    advice: str


def warning(what: str, advice: str) -> Remark:
    return Remark("warning", what, advice)


def remarks(facts: Facts) -> list[Remark]:
    """What is broken first, then what costs speed."""
    found = [*runtime(facts), *build(facts), *cores(facts), *memory(facts), *event_loop(facts)]
    return sorted(found, key=lambda remark: remark.level != "error")


def runtime(facts: Facts) -> list[Remark]:
    status = facts["runtime"]["status"]
    if status == "running" and facts["runtime"]["answers"]:
        return []
    return [
        Remark("error", f"the runtime is {status}", "Run it again with IRONCLIW_LOG=debug, and report it.")
    ]


def build(facts: Facts) -> list[Remark]:
    found = []
    if facts["build"]["assertions"]:
        advice = "It is many times slower. Build with `make build`, or `maturin develop --release`."
        found.append(warning("this is a debug build", advice))
    if "simd-accel" not in facts["build"]["features"]:
        advice = "Build with the feature simd-accel, which is on by default."
        found.append(warning("the kernels were built without SIMD", advice))
    return found


def cores(facts: Facts) -> list[Remark]:
    cpu, found = facts["cpu"], []
    allowed, there = cpu["allowed_cores"], cpu["cores"] or cpu["allowed_cores"]
    if allowed == 1:
        advice = "The event loop and the workers take turns on it. Give the process two cores or more."
        found.append(warning("this process may use one core", advice))
    elif allowed < there:
        advice = "Whoever started it has set its mask: taskset, a cpuset, a pinned parent."
        found.append(warning(f"this process may use {allowed} of {there} cores", advice))
    quota = cpu["quota_cores"]
    if quota is not None and quota < allowed:
        advice = (
            f"Threads beyond it are held up at every turn. Raise it, or use workers={max(1, int(quota))}."
        )
        found.append(warning(f"the control group allows {quota:g} cores' worth of time", advice))
    if cpu["threads_pinned"] < cpu["threads_to_pin"]:
        what = f"{cpu['threads_to_pin'] - cpu['threads_pinned']} threads could not be pinned"
        found.append(warning(what, "The system refused. With pin=False nothing is lost but some locality."))
    return found


def memory(facts: Facts) -> list[Remark]:
    facts_of, found = facts["memory"], []
    allowed, pool = facts_of["allowed_bytes"], facts_of["pool_limit_bytes"]
    if allowed is not None and allowed < ALLOWED_BYTES_LOW:
        advice = "Frames need room. Raise the control group's limit, or keep few frames in flight."
        found.append(warning(f"this process may use {allowed // MIB} MiB of memory", advice))
    if pool < POOL_BYTES_LOW:
        advice = "It is half of what this process may use. Set Runtime(memory_limit=...) in bytes."
        found.append(warning(f"the pool holds at most {pool // MIB} MiB", advice))
    if facts_of["overcommit"] == "never":
        advice = "Allocations fail early, and as PoolExhausted. Set memory_limit to what is really free."
        found.append(warning("the system promises no memory that it does not have", advice))
    if facts_of["pressure"] in ("High", "Critical"):
        advice = "Workers give their working memory back and calls wait for room. Free some."
        found.append(warning(f"memory pressure is {facts_of['pressure'].lower()}", advice))
    return found


def event_loop(facts: Facts) -> list[Remark]:
    found = []
    if facts["event_loop"]["python_debug_build"]:
        found.append(warning("this is a debug build of Python", "Use a release build where speed matters."))
    if facts["event_loop"]["asyncio_debug"]:
        advice = "Every callback is slower. Unset PYTHONASYNCIODEBUG and -X dev where speed matters."
        found.append(warning("asyncio is in debug mode", advice))
    return found
