"""The guide's integration test: the synchronous API, as existing callers use it.

Runs under pytest and as a script: `python tests/python/test_rust_integration.py`.
"""

from __future__ import annotations

import asyncio
import sys
import traceback

import jarvis_rust_core as jrc
import numpy as np


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, shape or (48, 64, 3), dtype=np.uint8)


def refuses(error: type[BaseException], call: object, *arguments: object) -> BaseException:
    """The error that the call raises; there must be one."""
    try:
        call(*arguments)  # type: ignore[operator]
    except error as caught:
        return caught
    raise AssertionError(f"{call} accepted {arguments}")


def test_version() -> None:
    import ironcliw

    assert jrc.__version__ == ironcliw.__version__ and jrc.__version__[0].isdigit()


# Images


def test_operations() -> None:
    processor, image = jrc.RustImageProcessor(), picture()
    for operation, params, shape in [
        ("auto_process", None, (48, 64, 3)),
        ("resize", {"width": 32, "height": 24}, (24, 32, 3)),
        ("convolve", {"kernel": "gaussian_3x3"}, (48, 64, 3)),
        ("convolve", {"kernel": [[0, 0, 0], [0, 1, 0], [0, 0, 0]]}, (48, 64, 3)),
        ("denoise", {"strength": 0.5}, (48, 64, 3)),
        ("sharpen", {"amount": 0.5}, (48, 64, 3)),
    ]:
        result = processor.process_numpy_image(image, operation, params)
        assert result.shape == shape and result.dtype == np.uint8, operation
    assert (result == processor.process_numpy_image(image, operation="sharpen", params={"amount": 0.5})).all()
    identity = processor.process_numpy_image(image, "convolve", {"kernel": [[0, 0, 0], [0, 1, 0], [0, 0, 0]]})
    assert (identity == image).all()


def test_gaussian_is_the_binomial_kernel() -> None:
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 4] = 160
    blurred = jrc.RustImageProcessor().process_numpy_image(image, "convolve", {"kernel": "gaussian_3x3"})
    assert blurred[3:6, 3:6, 0].tolist() == [[10, 20, 10], [20, 40, 20], [10, 20, 10]]
    assert blurred.sum() == 160


def test_gray_is_one_channel() -> None:
    processor = jrc.RustImageProcessor()
    assert processor.process_numpy_image(picture(20, 30)).shape == (20, 30, 1)
    resized = processor.process_numpy_image(picture(20, 30), "resize", {"width": 6, "height": 5})
    assert resized.shape == (5, 6, 1)
    assert processor.process_numpy_image(picture(20, 30, 4)).shape == (20, 30, 4)


def test_batches_keep_their_order() -> None:
    images = [np.full((8 + n, 9, 3), n, np.uint8) for n in range(30)]
    for results in (
        jrc.RustImageProcessor().process_batch_zero_copy(images),
        jrc.process_image_batch(images),
        jrc.process_image_batch(images, {"denoise_strength": 0.1}, operation="denoise"),
    ):
        assert [result.shape for result in results] == [image.shape for image in images]
        assert all((result == image).all() for result, image in zip(results, images, strict=True))
    small = jrc.process_image_batch(images, operation="resize", params={"width": 4, "height": 3})
    assert all(result.shape == (3, 4, 3) for result in small)
    assert jrc.process_image_batch([]) == []


def test_configuration_takes_effect() -> None:
    image = picture()
    off = jrc.RustImageProcessor({"denoise_strength": 0.0, "sharpen_amount": 0.0, "mine": "kept"})
    assert (off.process_numpy_image(image) == image).all()
    assert off.get_config()["mine"] == "kept"
    off.update_config("sharpen_amount", 1.0)
    off.update_config("another", [1])
    assert off.get_config()["sharpen_amount"] == 1.0 and off.get_config()["another"] == [1]
    assert (off.process_numpy_image(image) != image).any()
    off.get_config().clear()
    assert off.get_config()


def test_statistics_of_a_processor() -> None:
    processor = jrc.RustImageProcessor()
    processor.process_batch_zero_copy([picture(), picture()])
    refuses(ValueError, processor.process_numpy_image, picture(), "polish")
    stats = processor.get_stats()
    assert stats["images_processed"] == 2 and stats["errors"] == 1
    assert stats["bytes_processed"] == 2 * 48 * 64 * 3 and stats["total_seconds"] > 0


def test_bad_images_are_value_errors() -> None:
    processor = jrc.RustImageProcessor()
    for image in (
        picture(10, 10, 5),
        picture(10),
        picture(0, 10, 3),
        np.zeros((4, 4, 3), np.float32),
        picture(2, 2, 2, 2),
    ):
        refuses(ValueError, processor.process_numpy_image, image)
    refuses(TypeError, processor.process_numpy_image, None)
    refuses(ValueError, processor.process_numpy_image, picture(), "resize")
    refuses(ValueError, processor.process_numpy_image, picture(), "resize", {"width": 0, "height": 5})
    refuses(ValueError, processor.process_numpy_image, picture(), "convolve", {"kernel": "round"})
    refuses(ValueError, processor.process_batch_zero_copy, [picture(), picture(10, 10, 5)])


def test_strided_images() -> None:
    image = picture()
    processor = jrc.RustImageProcessor()
    for view in (image[::-1], image[:, ::2], image[5:20, 3:30]):
        expected = processor.process_numpy_image(np.ascontiguousarray(view))
        assert (processor.process_numpy_image(view) == expected).all()


def test_it_works_inside_a_coroutine() -> None:
    async def main() -> None:
        assert jrc.RustImageProcessor().process_numpy_image(picture()).shape == (48, 64, 3)
        assert jrc.RustAdvancedMemoryPool().check_leaks() == []
        asyncio.get_running_loop()

    asyncio.run(main())


# Analyses


def test_dominant_colors() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:30] = (250, 10, 10)
    colors = jrc.extract_dominant_colors(image, num_colors=2)
    assert len(colors) == 2 and len(colors[0]) == 3
    assert colors[0][0] > 200 and max(colors[1]) < 50
    assert len(jrc.extract_dominant_colors(picture())) == 5


def test_texture_and_layout() -> None:
    flat = np.full((30, 60, 3), 77, np.uint8)
    texture = jrc.analyze_texture(flat)
    assert abs(texture["mean"] - 77) < 1 and texture["std_dev"] < 0.01 and texture["entropy"] < 0.01
    assert texture["edge_density"] == jrc.calculate_edge_density(flat) == 0.0
    assert jrc.analyze_texture(picture())["entropy"] > 5
    assert 0 < jrc.calculate_edge_density(picture()) <= 1
    layout = jrc.analyze_spatial_layout(flat)
    assert (layout["width"], layout["height"], layout["channels"]) == (60, 30, 3)
    assert layout["aspect_ratio"] == 2.0 and abs(layout["center_brightness"] - 77) < 1
    assert layout["edge_density"] == 0.0


# Memory


def test_memory_pool() -> None:
    pool = jrc.RustMemoryPool()
    buffer = pool.allocate(1024 * 1024)
    assert buffer.size() == 1024 * 1024
    array = buffer.as_numpy()
    assert array.shape == (1024 * 1024,) and array.dtype == np.uint8 and not array.any()
    array[5] = 9
    assert buffer.as_numpy()[5] == 9 and np.shares_memory(array, buffer.as_numpy())
    assert all(isinstance(name, str) and isinstance(value, int) for name, value in pool.stats())
    assert dict(pool.stats())["total_active"] >= 1
    refuses(ValueError, pool.allocate, 0)
    refuses((ValueError, MemoryError), pool.allocate, 2**63)  # type: ignore[arg-type]


def test_advanced_pool() -> None:
    pool = jrc.RustAdvancedMemoryPool()
    before = pool.stats()["total_active"]
    buffer = pool.allocate(4096)
    other = pool.allocate(4096)
    assert buffer.len() == 4096 and buffer.id() != other.id()
    other.release()
    buffer.as_numpy()[:] = 7
    stats = pool.stats()
    assert stats["total_active"] == before + 1
    assert stats["total_allocated_bytes"] >= 4096
    assert stats["memory_pressure"] in ("Low", "Medium", "High", "Critical")
    assert {"size", "available", "capacity", "high_water_mark"} <= stats["size_classes"][0].keys()
    assert pool.check_leaks() == []
    buffer.release()
    refuses(ValueError, buffer.as_numpy)
    refuses(ValueError, buffer.release)
    assert pool.stats()["total_active"] == before
    assert pool.check_leaks() == []


def test_zero_copy_array() -> None:
    original = np.arange(24, dtype=np.uint8)
    array = jrc.ZeroCopyArray.from_numpy(original)
    assert array.size() == 24
    for view in (array.as_numpy(), array.as_numpy_2d(4, 6), array.as_numpy_3d(2, 4, 3)):
        assert np.shares_memory(view, original)
    array.as_numpy_2d(4, 6)[1, 1] = 200
    assert original[7] == 200 and array.as_numpy()[7] == 200
    refuses(ValueError, array.as_numpy_2d, 5, 5)
    refuses(ValueError, array.as_numpy_2d, -4, -6)
    strided = jrc.ZeroCopyArray.from_numpy(picture(6, 8)[:, :4])
    assert strided.as_numpy().shape == (6, 4)
    refuses(ValueError, strided.as_numpy_2d, 4, 6)


# Inference


def test_quantized_model() -> None:
    rng = np.random.default_rng(3)
    weights, bias = rng.normal(size=(128, 256)).astype(np.float32), rng.normal(size=128).astype(np.float32)
    model = jrc.RustQuantizedModel(use_simd=True, thread_count=4)
    refuses(ValueError, model.infer, np.zeros((1, 256), np.float32))
    model.add_linear_layer(weights, bias)
    for shape in [(256,), (1, 256), (1, 16, 16, 256)]:
        x = rng.normal(size=shape).astype(np.float32)
        result, expected = model.infer(x), x @ weights.T + bias
        assert result.shape == expected.shape and result.dtype == np.float32
        assert np.linalg.norm(result - expected) < 0.03 * np.linalg.norm(expected)
    model.add_linear_layer(rng.normal(size=(10, 128)).astype(np.float32))
    assert model.infer(x.astype(np.float64)).shape == (1, 16, 16, 10)
    refuses(ValueError, model.infer, np.zeros((1, 255), np.float32))
    refuses(ValueError, model.infer, np.zeros((1, 256), np.int32))
    refuses(ValueError, model.add_linear_layer, np.zeros(5, np.float32))
    portable = jrc.RustQuantizedModel(use_simd=False)
    portable.add_linear_layer(weights, bias)
    assert portable.infer(x).shape == (1, 16, 16, 128)


def test_quantized_weights() -> None:
    weights = np.random.default_rng(4).normal(size=(7, 9)).astype(np.float32)
    quantized = jrc.quantize_model_weights(weights)
    assert quantized.dtype == np.int8 and quantized.shape == (63,) and len(quantized) == weights.size
    assert np.abs(quantized - weights.ravel() * (127 / np.abs(weights).max())).max() <= 0.5 + 1e-4
    assert not jrc.quantize_model_weights(np.zeros((3, 4), np.float32)).any()


# Runtime


def test_runtime_manager() -> None:
    manager = jrc.RustRuntimeManager(worker_threads=2, enable_cpu_affinity=False)
    assert manager.run_cpu_task(lambda: sum(range(100))) == 4950
    assert "no" in str(refuses(KeyError, manager.run_cpu_task, lambda: {}["no"]))
    stats = manager.stats()
    assert stats["total_spawned"] == 2 and stats["active_workers"] == 2
    assert {"active_tasks", "total_completed", "queue_depth"} <= stats.keys()
    refuses(ValueError, jrc.RustRuntimeManager, 0)
    refuses(TypeError, manager.run_cpu_task, 5)


def main() -> int:
    """Runs every test of this file and returns how many failed, at most 1."""
    failed = 0
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        try:
            test()
        except Exception:
            failed += 1
            print(f"FAILED {name}")
            traceback.print_exc()
        else:
            print(f"ok     {name}")
    print(f"{len(tests) - failed} of {len(tests)} tests passed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
