"""What a test of a supervised program needs: failures, made on purpose."""

from __future__ import annotations

from ironcliw._native import Call, Runtime

__all__ = ["crash"]


def crash(rt: Runtime, path: str) -> Call[None]:
    """Makes the actor at `path` (for example `images/0`) panic while it handles a message.

    The call raises `ActorPanicked`; the actor's supervisor restarts it, and its queued messages are kept.
    """
    return rt._crash(path)
