"""Runs one of the programs in a process of its own and reads what it says."""

from __future__ import annotations

from pathlib import Path

from harness import child

PIPELINES = {
    "ironcliw": ("pipeline_ironcliw", "files"),
    "ironcliw (steps)": ("pipeline_ironcliw", "steps"),
    "ironcliw (bounded)": ("pipeline_ironcliw", "bounded"),
    "opencv (executor)": ("pipeline_opencv", "executor"),
    "opencv (to_thread)": ("pipeline_opencv", "to_thread"),
    "opencv (steps)": ("pipeline_opencv", "steps"),
}
"""The programs and their styles, by the names of the table."""

IN_FLIGHT = 32
# Of a second of measurement: with the usual tenth of one, a program has 320 frames to do.
FRAMES_A_SECOND = 3200

MB = 1e6


def pipeline(name: str, films: Path, seconds: float) -> tuple[float | None, float | None, float, float]:
    """Megabytes that it held at most above its start, and at its start; frames a second; page faults for
    each."""
    module, style = PIPELINES[name]
    frames = max(IN_FLIGHT, round(seconds * FRAMES_A_SECOND))
    told = child.ask(
        f"memory.pipelines.{module}",
        *("--style", style, "--frames", str(frames), "--in-flight", str(IN_FLIGHT), str(films)),
    )
    start, peak = told["start_bytes"], told["peak_bytes"]
    held = None if start is None or peak is None else (peak - start) / MB
    return held, None if start is None else start / MB, told["frames_per_second"], told["faults_per_frame"]
