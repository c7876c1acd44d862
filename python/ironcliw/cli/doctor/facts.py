"""What there is to know: the process, the build, the machine, and a runtime that was started to see."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import sysconfig
from typing import Any, TypedDict

import numpy as np

import ironcliw
from ironcliw import _native
from ironcliw.types import AllocatorStats, Snapshot

from . import machine


class Facts(TypedDict):
    """By section; the values are what JSON has."""

    versions: dict[str, Any]
    build: dict[str, Any]
    cpu: dict[str, Any]
    threads: dict[str, Any]
    memory: dict[str, Any]
    event_loop: dict[str, Any]
    environment: dict[str, Any]
    runtime: dict[str, Any]


def gather() -> Facts:
    with ironcliw.Runtime() as rt:
        pings = rt.ping().result(timeout=5.0)
        snapshot, status = rt.snapshot(), rt.status()
    build = _native._build_info()
    return {
        "versions": {
            "ironcliw": ironcliw.__version__,
            "Python": f"{platform.python_implementation()} {platform.python_version()}",
            "numpy": np.__version__,
            "system": f"{platform.system()} {platform.release()}",
        },
        "build": {
            "profile": build["profile"],
            "assertions": build["assertions"],
            "rustc": build["rustc"],
            "target": build["target"],
            "features": build["features"],
            "allocator": allocator(snapshot["allocator"]),
            "abi3": build["abi3"],
        },
        "cpu": cpu(snapshot),
        "threads": {
            thread["name"]: "not pinned" if not thread["pinned"] else f"core {thread['core']}"
            for thread in snapshot["threads"]
        },
        "memory": {
            "physical_bytes": machine.physical_memory(),
            "allowed_bytes": build["memory_limit"],
            "pool_limit_bytes": snapshot["pool"]["limit_bytes"],
            "control_groups": machine.control_groups(),
            "overcommit": machine.overcommit(),
            "transparent_huge_pages": machine.huge_pages(),
            "pressure": snapshot["pool"]["memory_pressure"],
            "resident_bytes": snapshot["allocator"]["resident_bytes"],
            "allocator_committed_bytes": snapshot["allocator"]["committed_bytes"],
        },
        "event_loop": {
            "wake_up": wake_up(),
            "uvloop": installed("uvloop"),
            "asyncio_debug": bool(os.environ.get("PYTHONASYNCIODEBUG")) or sys.flags.dev_mode,
            "python_debug_build": bool(sysconfig.get_config_var("Py_DEBUG")),
        },
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("IRONCLIW_", "MIMALLOC_"))
        },
        "runtime": {
            "status": status,
            "answers": pings >= 1,
            "actors": [actor["path"] for actor in snapshot["actors"]],
        },
    }


def cpu(snapshot: Snapshot) -> dict[str, Any]:
    threads = snapshot["threads"]
    wanted = [thread for thread in threads if thread["core"] is not None]
    return {
        "architecture": snapshot["cpu"]["arch"],
        "features": snapshot["cpu"]["features"],
        "cores": os.cpu_count(),
        "allowed_cores": snapshot["cpu"]["allowed_cores"],
        "mask": machine.allowed_cores(),
        "quota_cores": machine.cpu_quota(),
        "threads": len(threads),
        "threads_to_pin": len(wanted),
        "threads_pinned": sum(thread["pinned"] for thread in wanted),
    }


def allocator(stats: AllocatorStats) -> str:
    """Its name and, where it tells, its version: `mimalloc 3.3.2`, `system, glibc 2.36`."""
    separator = ", " if stats["name"] == "system" else " "
    return separator.join(part for part in (stats["name"], stats["version"]) if part)


def wake_up() -> str:
    """How a finished call wakes its loop."""
    if sys.platform == "linux":
        return "eventfd"
    return "transport" if sys.platform == "win32" else "socket pair"


def installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
