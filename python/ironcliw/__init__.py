"""Ironcliw: supervised Rust actors for asyncio.

One object, a `Runtime`, keeps an event loop free, its memory bounded and its failures contained:

    import asyncio, ironcliw

    async def main():
        async with ironcliw.Runtime() as rt:
            frame = await rt.images.decode(open("photo.jpg", "rb").read())
            small = await rt.images.resize(frame, (224, 224))

    asyncio.run(main())

Start reading at `Runtime`. `ironcliw.errors` has every exception, `ironcliw.types` the keys of every
dictionary, `ironcliw.memory` the parts of a pool's snapshot, `ironcliw.testing` what a test of a supervised
program needs.
"""

from ironcliw._native import (
    ActorContext,
    ActorRef,
    Buffer,
    BufferView,
    Call,
    Images,
    Inference,
    Job,
    LeakReport,
    Leaks,
    LeakTable,
    LoadedModel,
    Measure,
    Model,
    Pipeline,
    Pool,
    Runtime,
    Scheduler,
    Supervisor,
    __version__,
    allocator_stats,
    current_job,
)
from ironcliw.actor import Actor, Backoff, MemoryPressure
from ironcliw.errors import (
    ActorPanicked,
    ActorRestarting,
    ActorStopped,
    BufferReleased,
    DeadlineExceeded,
    DecodeError,
    Error,
    ForeignBuffer,
    InvalidInput,
    LeakError,
    MailboxFull,
    ModelError,
    OutOfBounds,
    PoolExhausted,
    RuntimeClosed,
    StartFailed,
)
from ironcliw.leaks import LeakScope
from ironcliw.memory import PoolSnapshot

__all__ = [
    "Actor",
    "ActorContext",
    "ActorPanicked",
    "ActorRef",
    "ActorRestarting",
    "ActorStopped",
    "Backoff",
    "Buffer",
    "BufferReleased",
    "BufferView",
    "Call",
    "DeadlineExceeded",
    "DecodeError",
    "Error",
    "ForeignBuffer",
    "Images",
    "Inference",
    "InvalidInput",
    "Job",
    "LeakError",
    "LeakReport",
    "LeakScope",
    "LeakTable",
    "Leaks",
    "LoadedModel",
    "MailboxFull",
    "Measure",
    "MemoryPressure",
    "Model",
    "ModelError",
    "OutOfBounds",
    "Pipeline",
    "Pool",
    "PoolExhausted",
    "PoolSnapshot",
    "Runtime",
    "RuntimeClosed",
    "Scheduler",
    "StartFailed",
    "Supervisor",
    "__version__",
    "allocator_stats",
    "current_job",
]
