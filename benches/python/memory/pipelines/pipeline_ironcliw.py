"""The job with Ironcliw: outputs are pooled, the small steps run as one.

`files` hands the pipeline the files, which it decodes on the way. `steps` awaits one call after another and
leaves the order to the runtime. `bounded` does the same and begins no more frames than keep the workers busy.

    PYTHONPATH=benches/python python -m memory.pipelines.pipeline_ironcliw [--style bounded] FOLDER
"""

from __future__ import annotations

import asyncio
import contextlib

import ironcliw

from memory.pipelines.job import MEAN, SMALL_HEIGHT, SMALL_WIDTH, STD, Job, Scores, run, score, told

STYLES = ("files", "steps", "bounded")
# Decoded frames for each worker: one in its hands, one that waits for it.
FRAMES_A_WORKER = 2


async def main(job: Job) -> None:
    small = ironcliw.Pipeline().resize((SMALL_WIDTH, SMALL_HEIGHT)).normalize(MEAN, STD)
    async with ironcliw.Runtime() as rt:
        workers = sum(actor["path"].startswith("images/") for actor in rt.snapshot()["actors"])
        room: contextlib.AbstractAsyncContextManager[object] = contextlib.nullcontext()
        if job.style == "bounded":
            room = asyncio.Semaphore(workers * FRAMES_A_WORKER)

        async def process(film: bytes) -> Scores:
            async with room:
                image = film if job.style == "files" else await rt.images.decode(film)
                planes = await rt.images.run(small, [image])
                return await rt.scheduler.run(score, planes[0])

        await run(job, process)


if __name__ == "__main__":
    asyncio.run(main(told(STYLES)))
