"""What the system says of itself. Everything may be missing: then it is None, and nothing fails."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")
"""Where `proc` and `sys` are; another folder in tests."""


def read(path: str) -> str | None:
    try:
        return (ROOT / path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def allowed_cores() -> list[int] | None:
    """The cores of this process's mask."""
    getter = getattr(os, "sched_getaffinity", None)
    return sorted(getter(0)) if getter else None


def control_groups() -> str | None:
    """Which version of control groups bounds this process."""
    if read("sys/fs/cgroup/cgroup.controllers") is not None:
        return "v2"
    return "v1" if (ROOT / "sys/fs/cgroup/memory").is_dir() else None


def folders(controller: str) -> list[str]:
    """The folders of this process's groups that may hold the files of a controller, its own first."""
    found = []
    for line in (read("proc/self/cgroup") or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        mount = "sys/fs/cgroup"
        if controllers:
            if controller not in controllers.split(","):
                continue
            mount += f"/{controllers}" if (ROOT / mount / controllers).is_dir() else f"/{controller}"
        parts = [part for part in path.split("/") if part]
        # A path that a container does not show is skipped; the mount is then what the container was given.
        found += [f"{mount}/{'/'.join(parts[:n])}".rstrip("/") for n in range(len(parts), -1, -1)]
    return found


def cpu_quota() -> float | None:
    """Cores' worth of time that the control group allows; None without a quota."""
    quotas = []
    for folder in folders("cpu"):
        if line := read(f"{folder}/cpu.max"):
            quota, _, period = line.partition(" ")
        else:
            quota, period = (
                read(f"{folder}/cpu.cfs_quota_us") or "",
                read(f"{folder}/cpu.cfs_period_us") or "",
            )
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def overcommit() -> str | None:
    modes = {"0": "heuristic", "1": "always", "2": "never"}
    return modes.get(read("proc/sys/vm/overcommit_memory") or "")


def huge_pages() -> str | None:
    """The state of transparent huge pages: `always`, `madvise` or `never`."""
    text = read("sys/kernel/mm/transparent_hugepage/enabled") or ""
    return text.partition("[")[2].partition("]")[0] or None
