"""What a system offers to the measurements."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
# Makes a request each time it is called. A method or a `functools.partial` where it can be, so that no Python
# frame is measured.
Ask = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Face:
    """A system on one event loop; None for what it cannot do."""

    # The small request: one is added to a number on another thread.
    ask: Ask
    # One awaitable for so many small requests.
    many: Callable[[int], Awaitable[Any]] | None = None
    # The native job of some 200 µs, on as many threads as ours has workers.
    job: Ask | None = None
    # Hands a frame in; the system reads all of it. Returns when the work is under way.
    frame_in: Callable[[Frame], Awaitable[Any]] | None = None
    # A gray frame becomes an RGB one, new each time.
    frame_out: Callable[[Frame], Awaitable[Frame]] | None = None


class System(ABC):
    """Made once, used on one loop after another and on several at once."""

    # In the table.
    name: str
    # Its configuration, for the header.
    about: str
    # Whether the time of this process is all the time that it takes.
    in_this_process = True

    @abstractmethod
    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        """Its face on this loop. Called on the loop's thread."""

    def close(self) -> None:  # noqa: B027 most have nothing to close
        """Ends its threads."""
