"""The exceptions that Ironcliw raises.

All of them are an :class:`Error`; those with a counterpart among Python's own exceptions are that as well, so
``except TimeoutError`` catches :class:`DeadlineExceeded`. An exception raised by your own code, in a function
given to ``rt.scheduler.run`` for instance, passes through unchanged.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ironcliw._native import LeakReport

__all__ = [
    "ActorPanicked",
    "ActorRestarting",
    "ActorStopped",
    "BufferReleased",
    "DeadlineExceeded",
    "DecodeError",
    "Error",
    "ForeignBuffer",
    "InvalidInput",
    "LeakError",
    "MailboxFull",
    "ModelError",
    "OutOfBounds",
    "PoolExhausted",
    "RuntimeClosed",
    "StartFailed",
]


class Error(Exception):
    """Anything that Ironcliw itself reports."""


class MailboxFull(Error):
    """The actor's mailbox is full, and its policy is to say so rather than to wait. Try again later."""


class DeadlineExceeded(Error, TimeoutError):
    """There was no answer within the time that the caller gave."""


class ActorPanicked(Error):
    """The actor crashed with this message in hand. It restarts; the message is not delivered again."""


class ActorStopped(Error):
    """The actor has stopped for good, before it could answer."""


class ActorRestarting(Error):
    """A neighbour's failure restarted the actor while it had this message in hand."""


class PoolExhausted(Error, MemoryError):
    """The buffer pool's limit leaves no room for this allocation."""


class BufferReleased(Error, ValueError):
    """The buffer was used after its release."""


class InvalidInput(Error, ValueError):
    """An argument that no implementation could honour: a shape, a dtype, a size, a name."""


class ForeignBuffer(InvalidInput):
    """The buffer belongs to the pool of another runtime."""


class OutOfBounds(InvalidInput, IndexError):
    """A part was asked for that the buffer does not have."""


class ModelError(Error, ValueError):
    """A model that cannot be built, or an input that it does not take."""


class DecodeError(Error, ValueError):
    """Bytes that are not the image they claim to be, or only a part of it."""


class LeakError(Error, AssertionError):
    """Buffers were still out at the end of a leak scope. The message is the report; `reports` has its
    entries. Pickled, for another process, it has none; a copy in this one has the same."""

    def __init__(self, message: str, reports: list[LeakReport]) -> None:
        super().__init__(message, reports)
        self.reports = reports

    def __reduce__(self) -> tuple[type[LeakError], tuple[str, list[LeakReport]], dict[str, Any]]:
        return type(self), (str(self), []), {**self.__dict__, "reports": []}

    def __copy__(self) -> Self:
        twin = type(self)(str(self), self.reports)
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A report does not change, and stands for itself.
        twin = type(self)(str(self), list(self.reports))
        rest = {name: value for name, value in self.__dict__.items() if name != "reports"}
        twin.__dict__.update(copy.deepcopy(rest, memo))
        return twin

    def __str__(self) -> str:
        return str(self.args[0])


class RuntimeClosed(Error):
    """The runtime has been closed, or was never opened."""


class StartFailed(Error):
    """The actor did not start: its `__init__` or a hook raised, which is the `__cause__`."""
