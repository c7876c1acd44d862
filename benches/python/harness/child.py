"""A measurement in a process of its own: where the allocator is to be another one, or to behave in some way
from the beginning, or what is measured is the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The most that one may take, on a machine a hundred times as slow as usual.
SECONDS_MAX = 600


@dataclass(frozen=True)
class Ran:
    """What a child left that has ended well."""

    stdout: str
    resident_peak_bytes: int | None
    """Where the system tells."""


def run(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, ahead: Path | None = None
) -> Ran:
    """Runs the module; what it imports is looked for in `ahead` first. Its failure is a `RuntimeError`."""
    folders = [str(ahead)] if ahead else []
    path = os.pathsep.join(folders + [folder for folder in sys.path if folder])
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        child = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            stdout=stdout,
            stderr=stderr,
        )
        peak = waited(child)
        stdout.seek(0)
        stderr.seek(0)
        if child.returncode != 0:
            raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{stderr.read()}")
        return Ran(stdout.read(), peak)


def waited(child: subprocess.Popen[bytes]) -> int | None:
    """Waits for its end; the most bytes that it had resident, which Linux makes no less than what its parent
    had when it began."""
    watchdog = threading.Timer(SECONDS_MAX, child.kill)
    watchdog.start()
    try:
        if not hasattr(os, "wait4"):
            child.wait()
            return None
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except BaseException:
        child.kill()
        raise
    finally:
        watchdog.cancel()


def ask(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, ahead: Path | None = None
) -> Any:
    """What the module printed, which is JSON."""
    return json.loads(run(module, *arguments, environment=environment, ahead=ahead).stdout)
