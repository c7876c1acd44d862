"""Ironcliw: supervised Rust actors for asyncio.

One object, a `Runtime`, keeps an event loop free, its memory bounded and its failures contained:

    import asyncio, ironcliw

    async def main():
        async with ironcliw.Runtime() as rt:
            frame = await rt.images.decode(open("photo.jpg", "rb").read())
            small = await rt.images.resize(frame, (224, 224))

    asyncio.run(main())

Start reading at `Runtime`. `ironcliw.errors` has every exception, `ironcliw.types` the keys of every
dictionary, `ironcliw.testing` what a test of a supervised program needs.
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
    LoadedModel,
    Model,
    Pipeline,
    Pool,
    Runtime,
    Scheduler,
    Supervisor,
    __version__,
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
    MailboxFull,
    ModelError,
    OutOfBounds,
    PoolExhausted,
    RuntimeClosed,
    StartFailed,
)

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
    "LeakReport",
    "Leaks",
    "LoadedModel",
    "MailboxFull",
    "MemoryPressure",
    "Model",
    "ModelError",
    "OutOfBounds",
    "Pipeline",
    "Pool",
    "PoolExhausted",
    "Runtime",
    "RuntimeClosed",
    "Scheduler",
    "StartFailed",
    "Supervisor",
    "__version__",
    "current_job",
]
