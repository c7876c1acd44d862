"""The Python half of the log: the runtime's events as records of `logging`, under the logger `ironcliw`.

The native module calls `watch` when it begins to forward and `handle` with each burst of records, always on
its own thread. It has to know the loggers' levels without asking, so it is told whenever they change.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import Any, TypeAlias

from ironcliw import _native

ROOT = "ironcliw"

Record: TypeAlias = tuple[str, int, str, dict[str, Any], tuple[str, int], str, tuple[str, int], float]
"""Logger, level, message, fields, (file, line), Rust's target, (thread's name, id), seconds since 1970."""


class _Cache(dict[int, bool]):
    """Stands in for the dictionary in which a logger keeps what `isEnabledFor` has answered.

    `logging` clears those of all loggers whenever a level may have changed anywhere: `setLevel` of any
    logger, `logging.disable`, `dictConfig`. That is the moment to hear of, and there is no other hook for
    it.
    """

    def clear(self) -> None:
        super().clear()
        refresh()


def watch() -> None:
    """Tells the native module the levels, now and whenever they change."""
    logger: Any = logging.getLogger(ROOT)
    if not isinstance(logger._cache, _Cache):
        logger._cache = _Cache()
    if logging.getLevelName(5) == "Level 5":
        logging.addLevelName(5, "TRACE")
    refresh()


def refresh() -> None:
    manager = logging.root.manager
    names = [name for name in list(manager.loggerDict) if name == ROOT or name.startswith(f"{ROOT}.")]
    loggers = [(name, manager.loggerDict.get(name)) for name in names]
    # One that does not exist has the level of its nearest ancestor, and so has a mere placeholder.
    _native._set_log_levels(
        [
            (name, max(logger.getEffectiveLevel(), manager.disable + 1))
            for name, logger in loggers
            if isinstance(logger, logging.Logger)
        ]
    )


def handle(records: list[Record], dropped: int) -> None:
    """Has the loggers handle a burst. `dropped` came while the queue was full."""
    for record in records:
        _handle(*record)
    if dropped:
        logging.getLogger(ROOT).warning(
            "%d records were dropped: the handlers of this program are slower than its log", dropped
        )


def _handle(
    name: str,
    level: int,
    message: str,
    fields: dict[str, Any],
    place: tuple[str, int],
    target: str,
    thread: tuple[str, int],
    created: float,
) -> None:
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(level):
        return
    told = ", ".join(f"{field}={value}" for field, value in fields.items())
    text = f"{message} ({told})" if told else message
    extra = {"ironcliw": {"message": message, "target": target, **fields}}
    record = logger.makeRecord(name, level, *place, text, (), None, target, extra)
    # When and where it happened, which is not now and here.
    record.relativeCreated += (created - record.created) * 1000
    record.created, record.msecs = created, float(int(created % 1 * 1000))
    record.threadName, record.thread = thread
    try:
        logger.handle(record)
    except Exception:
        # A filter's, or a handler's that did not see to it itself. The records after this one are wanted.
        if logging.raiseExceptions and sys.stderr is not None:
            # Standard error may be closed.
            with contextlib.suppress(OSError, ValueError):
                traceback.print_exc()
