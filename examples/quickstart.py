"""A five-minute tour: `python examples/quickstart.py`.

Everything that is awaited here runs on the runtime's own threads; the event loop stays free for the rest of
a program.
"""

import asyncio

import ironcliw
import numpy as np
from ironcliw import testing


async def main() -> None:
    async with ironcliw.Runtime() as rt:
        # Pooled memory: a buffer is numpy's memory and the pool's at the same time.
        with await rt.pool.allocate(1_000_000) as buffer:
            np.asarray(buffer)[:10] = 7
            print("buffer:     ", buffer)

        # Images: borrowed without a copy, results in pooled buffers that go back when their last view dies.
        frame = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        jpeg = await rt.images.encode(frame, "jpeg", quality=80)
        decoded, small = await asyncio.gather(rt.images.decode(jpeg), rt.images.resize(frame, (224, 224)))
        print("images:     ", len(jpeg), "bytes of JPEG,", decoded.shape, small.shape)

        # A pipeline runs its steps in one go, over as many images as there are.
        prepare = ironcliw.Pipeline().resize((32, 32)).normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        batch = await rt.images.run(prepare, [frame, frame[::-1], frame[100:400, 50:350]])
        print("pipeline:   ", batch.shape, batch.dtype)

        # A model, quantized when it is loaded; weights are laid out as PyTorch's.
        rng = np.random.default_rng(1)
        weights = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((8, 3, 3, 3), (10, 8))]
        network = ironcliw.Model().conv2d(weights[0], stride=2, padding=1).relu().global_avg_pool()
        model = await rt.inference.load(network.flatten().linear(weights[1]).softmax(), precision="int8")
        print("inference:  ", (await model(batch)).argmax(axis=1), "by", model)

        # Python functions of one's own, on the work-stealing pool.
        print("scheduler:  ", await rt.scheduler.run(sum, range(1_000_000)))

        # A crash restarts one actor. Its queued messages are kept; the one in hand gets the error.
        waiting = [rt.images.resize(frame, (64, 64)) for _ in range(20)]
        try:
            await testing.crash(rt, "images/0")
        except ironcliw.ActorPanicked as error:
            print("crash:      ", error)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        there = sum(isinstance(answer, np.ndarray) for answer in answers)
        print("            ", there, "of", len(answers), "results are there all the same")

        # Looking never disturbs: no message is sent for this.
        snapshot = rt.snapshot()
        print("snapshot:   ", len(snapshot["actors"]), "actors,", snapshot["restarts"], "restarts")
        print("leaks:      ", await rt.leaks.check())


if __name__ == "__main__":
    asyncio.run(main())
