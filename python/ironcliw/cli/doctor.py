"""`ironcliw doctor`: what the runtime sees of this machine."""

from __future__ import annotations

import platform

import numpy as np

import ironcliw

from .console import table


def doctor() -> int:
    """Starts a runtime, prints what it found, and returns 1 if it is not well."""
    with ironcliw.Runtime() as rt:
        pings = rt.ping().result(timeout=5.0)
        snapshot = rt.snapshot()
        cpu, threads = snapshot["cpu"], snapshot["threads"]
        pinned = [thread for thread in threads if thread["pinned"]]
        table(
            [
                ("ironcliw", ironcliw.__version__),
                ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
                ("numpy", np.__version__),
                ("system", f"{platform.system()} {platform.release()} on {cpu['arch']}"),
                ("cores allowed", str(cpu["allowed_cores"])),
                ("CPU features", ", ".join(cpu["features"]) or "none beyond the baseline"),
                ("threads pinned", f"{len(pinned)} of {len(threads)}"),
                *((f"  {t['name']}", f"core {t['core']}" if t["pinned"] else "not pinned") for t in threads),
                ("actors", ", ".join(actor["path"] for actor in snapshot["actors"])),
                ("status", rt.status()),
            ]
        )
        return 0 if pings >= 1 and rt.status() == "running" else 1
