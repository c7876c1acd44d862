"""The guide's synchronous API, for programs without an event loop: `python examples/guide_sync.py`."""

import jarvis_rust_core as jrc
import numpy as np


def main() -> None:
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)

    processor = jrc.RustImageProcessor({"sharpen_amount": 0.5})
    print("processed:  ", processor.process_numpy_image(image).shape)
    thumbnails = processor.process_batch_zero_copy([image] * 8, "resize", {"width": 80, "height": 60})
    print("thumbnails: ", len(thumbnails), thumbnails[0].shape)
    print("statistics: ", processor.get_stats())
    print("colours:    ", jrc.extract_dominant_colors(image, 3))
    print("texture:    ", jrc.analyze_texture(image))

    pool = jrc.RustAdvancedMemoryPool()
    buffer = pool.allocate(4096)
    buffer.as_numpy()[:] = 1
    print("buffer:     ", buffer)
    buffer.release()
    print("leaks:      ", pool.check_leaks())

    model = jrc.RustQuantizedModel(use_simd=True, thread_count=2)
    model.add_linear_layer(np.random.default_rng(1).normal(size=(10, 256)).astype(np.float32))
    print("inference:  ", model.infer(np.ones((1, 16, 16, 256), np.float32)).shape)

    manager = jrc.RustRuntimeManager(worker_threads=2, enable_cpu_affinity=True)
    print("task:       ", manager.run_cpu_task(lambda: sum(range(1_000_000))), manager.stats())


if __name__ == "__main__":
    main()
