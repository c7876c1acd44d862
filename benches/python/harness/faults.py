"""Page faults: what memory costs that was not touched before."""

from __future__ import annotations


def page_faults() -> int:
    """Of all threads until now, those that needed no disk; negative where the system does not tell."""
    try:
        import resource
    except ImportError:
        return -1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
