"""Image work against Pillow and numpy."""

from __future__ import annotations

import asyncio
import io
import time

import ironcliw
import numpy as np
import pytest
from conftest import decoded, encoded, photograph
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def levels(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference of two images."""
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def gray_of(image: np.ndarray) -> np.ndarray:
    return image[..., :3] @ np.array([0.299, 0.587, 0.114])


# Decode and encode


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_png_of_every_mode_decodes_exactly(rt: ironcliw.Runtime, photo: np.ndarray, mode: str) -> None:
    out = io.BytesIO()
    Image.fromarray(photo).convert(mode).save(out, "PNG")
    image = rt.images.decode(out.getvalue()).result()
    assert levels(image, decoded(out.getvalue())) == 0


def test_map_gives_one_awaitable_for_many_images(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    frames = [photo[: 40 + 10 * n, :50] for n in range(20)]
    sizes = rt.images.map("convert", frames, "gray").result(timeout=30)
    assert [result.shape for result in sizes] == [frame.shape[:2] for frame in frames]
    for frame, gray in zip(frames, sizes, strict=True):
        np.testing.assert_array_equal(gray, rt.images.convert(frame, "gray").result())
    copied = rt.images.map("resize", frames, (20, 10), copy=True, timeout=30)
    copied.copied().result(timeout=30)
    assert [result.shape for result in copied.result(timeout=30)] == [(10, 20, 3)] * 20
    assert rt.images.map("edge_density", iter([])).result(timeout=30) == []


def test_the_first_error_of_a_map_is_the_maps(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    good = rt.images.encode(photo, "png").result(timeout=30)
    with pytest.raises(ironcliw.DecodeError):
        rt.images.map("decode", [good, good[:100], good]).result(timeout=30)
    for wrong in (
        lambda: rt.images.map("run", [photo]),
        lambda: rt.images.map("resize", [photo], (8, 8), out=photo),
        lambda: rt.images.map("resize", [photo, photo.astype(np.float32)], (8, 8)),
    ):
        with pytest.raises(ironcliw.InvalidInput):
            wrong()
    with pytest.raises(TypeError):
        rt.images.map("resize", [photo, None], (8, 8))
    with pytest.raises(TypeError):
        rt.images.map("resize", 5, (8, 8))  # type: ignore[arg-type]


def test_a_map_that_is_cancelled_gives_everything_back(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    live = rt.pool.stats()["total_active"]
    call = rt.images.map("denoise", [photo] * 300, 1.0)
    assert call.cancel()
    call.released().result(timeout=60)
    # Results that had come before the cancel go with the last of the requests.
    for _ in range(10_000):
        if rt.pool.stats()["total_active"] == live:
            break
        time.sleep(0.001)
    assert rt.pool.stats()["total_active"] == live


def test_a_16_bit_png_decodes_to_its_high_bytes(rt: ironcliw.Runtime) -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    image = rt.images.decode(encoded(deep, "PNG")).result()
    expected = np.repeat((deep / 257).round().astype(np.uint8)[:, :, None], 3, axis=2)
    assert levels(image, expected) <= 1


@pytest.mark.parametrize(
    "options", [{"quality": 95}, {"quality": 50}, {"quality": 90, "progressive": True}, {"subsampling": 0}]
)
def test_jpeg_decodes_as_pillow_does(
    rt: ironcliw.Runtime, photo: np.ndarray, options: dict[str, int]
) -> None:
    data = encoded(photo, "JPEG", **options)
    image, expected = rt.images.decode(data).result(), decoded(data)
    assert image.shape == expected.shape
    # Decoders differ in how they round and how they smooth subsampled colour.
    assert np.abs(image.astype(int) - expected).mean() < 2.0


def test_a_gray_jpeg_decodes_to_rgb(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    data = encoded(photo[:, :, 0], "JPEG")
    assert levels(rt.images.decode(data).result(), decoded(data)) <= 2


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda d: np.frombuffer(d, np.uint8)])
def test_anything_with_bytes_decodes(rt: ironcliw.Runtime, photo: np.ndarray, wrap: type) -> None:
    assert levels(rt.images.decode(wrap(encoded(photo, "PNG"))).result(), photo) == 0


@pytest.mark.parametrize("shape", [(33, 47), (33, 47, 3), (33, 47, 4), (1, 1, 3)])
def test_png_round_trips_exactly(rt: ironcliw.Runtime, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    data = rt.images.encode(image, "png").result()
    assert isinstance(data, bytes)
    assert levels(np.asarray(Image.open(io.BytesIO(data))), image) == 0


def test_jpeg_quality_is_obeyed(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    low, high = (rt.images.encode(photo, "jpeg", quality).result() for quality in (20, 95))
    assert len(low) < len(high)
    errors = [np.abs(decoded(data).astype(int) - photo).mean() for data in (low, high)]
    assert errors[1] < errors[0] and errors[1] < 3


# Resize, convert, normalise


@pytest.mark.parametrize("size", [(40, 30), (80, 60), (161, 119), (320, 240), (1, 1), (7, 200)])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_resize_is_pillows_antialiased_bilinear(
    rt: ironcliw.Runtime, size: tuple[int, int], channels: int
) -> None:
    rgba = np.dstack([photograph(), np.full((120, 160), 255, np.uint8)])
    image = rgba[:, :, 0] if channels == 0 else rgba[:, :, :channels]
    small = rt.images.resize(image, size).result()
    squeezed = np.ascontiguousarray(image[:, :, 0] if channels == 1 else image)
    expected = np.asarray(Image.fromarray(squeezed).resize(size, Image.Resampling.BILINEAR))
    if channels == 1:
        assert small.shape == (*expected.shape, 1)
        small = small[:, :, 0]
    assert levels(small, expected) <= 1


def test_resize_to_the_same_size_changes_nothing(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    same = rt.images.resize(photo, (160, 120)).result()
    assert levels(same, photo) == 0 and not np.shares_memory(same, photo)


def test_gray_is_the_weighted_mean(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    gray = rt.images.convert(photo, "gray").result()
    assert gray.shape == (120, 160)
    assert np.abs(gray - gray_of(photo)).max() <= 1.0


def test_alpha_is_added_and_dropped(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    rgba = rt.images.convert(photo, "rgba").result()
    assert levels(rgba[:, :, :3].copy(), photo) == 0 and (rgba[:, :, 3] == 255).all()
    assert levels(rt.images.convert(rgba, "rgb").result(), photo) == 0
    gray = np.ascontiguousarray(photo[:, :, 1])
    assert levels(rt.images.convert(gray, "rgb").result(), np.dstack([gray] * 3)) == 0


def test_normalize_is_the_formula(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    planes = rt.images.normalize(photo, MEAN, STD).result()
    assert planes.shape == (3, 120, 160) and planes.dtype == np.float32
    expected = ((photo / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    np.testing.assert_allclose(planes, expected, atol=2e-5)


def test_a_pipeline_stacks_what_the_steps_give(rt: ironcliw.Runtime) -> None:
    images = [photograph(90, 130), photograph(200, 64)[:, ::-1], photograph(64, 64)]
    pipeline = ironcliw.Pipeline().resize((48, 32)).normalize(MEAN, STD)

    async def main() -> None:
        batch = await rt.images.run(pipeline, images)
        assert batch.shape == (3, 3, 32, 48) and batch.dtype == np.float32
        for image, planes in zip(images, batch, strict=True):
            small = await rt.images.resize(image, (48, 32))
            # The fused form need not round to whole levels between its steps: one level, over the deviation.
            np.testing.assert_allclose(
                planes, await rt.images.normalize(small, MEAN, STD), atol=1.01 / 255 / min(STD)
            )
        grays = await rt.images.run(ironcliw.Pipeline().convert("gray").resize((20, 10)), images)
        assert grays.shape[:3] == (3, 10, 20) and grays.dtype == np.uint8

    asyncio.run(main())


def test_a_pipeline_decodes_files_on_the_way(rt: ironcliw.Runtime) -> None:
    images = [photograph(90, 130), photograph(200, 64)]
    pipeline = ironcliw.Pipeline().resize((48, 32)).normalize(MEAN, STD)

    async def main() -> None:
        files = [await rt.images.encode(image, "png") for image in images]
        expected = await rt.images.run(pipeline, images)
        mixed = [files[0], images[1]]
        for inputs in (files, [bytearray(files[0]), memoryview(files[1])], mixed):
            np.testing.assert_array_equal(await rt.images.run(pipeline, inputs), expected)
        as_arrays = [np.frombuffer(file, np.uint8) for file in files]
        np.testing.assert_array_equal(await rt.images.run(pipeline, as_arrays, copy=True), expected)
        out = np.empty_like(expected)
        assert await rt.images.run(pipeline, files, out=out) is out
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ironcliw.DecodeError):
            rt.images.run(pipeline, [b"no image"])
        damaged = bytearray(files[0])
        damaged[-60] ^= 0xFF
        with pytest.raises(ironcliw.DecodeError):
            await rt.images.run(pipeline, [files[1], damaged])
        with pytest.raises(TypeError):
            rt.images.run(pipeline, [files[0], None])  # type: ignore[list-item]

    asyncio.run(main())


def test_a_pipeline_whose_results_differ_in_shape_is_refused(rt: ironcliw.Runtime) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        rt.images.run(ironcliw.Pipeline().convert("gray"), [photograph(20, 30), photograph(30, 20)]).result()


# Filters


def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """By definition: edges mirrored (reflect 101), rounded, clamped."""
    kh, kw = kernel.shape
    pad = [(kh // 2, kh // 2), (kw // 2, kw // 2)] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image.astype(np.float64), pad, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(0, 1))
    return np.clip(np.round((windows * kernel).sum(axis=(-2, -1))), 0, 255).astype(np.uint8)


GAUSSIAN = np.outer([1, 2, 1], [1, 2, 1]) / 16


def test_the_gaussian_is_the_binomial_one(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    assert levels(rt.images.convolve(photo, "gaussian_3x3").result(), correlate(photo, GAUSSIAN)) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (5, 5), (7, 7)])
def test_any_odd_kernel_convolves(rt: ironcliw.Runtime, shape: tuple[int, int]) -> None:
    kernel = np.random.default_rng(3).normal(0, 0.3, shape).astype(np.float32)
    for image in (photograph(31, 45), photograph(31, 45)[:, :, 0]):
        assert levels(rt.images.convolve(image, kernel).result(), correlate(image, kernel)) <= 1


def test_no_strength_changes_nothing_and_some_does_what_it_says(
    rt: ironcliw.Runtime, photo: np.ndarray
) -> None:
    assert levels(rt.images.denoise(photo, 0.0).result(), photo) == 0
    assert levels(rt.images.sharpen(photo, 0.0).result(), photo) == 0

    flat = np.full((64, 64, 3), 100, np.uint8)
    noisy = (flat + np.random.default_rng(4).normal(0, 10, flat.shape)).clip(0, 255).astype(np.uint8)
    assert rt.images.denoise(noisy, 0.8).result().std() < noisy.std()
    assert rt.images.sharpen(noisy, 1.0).result().std() > noisy.std()
    assert levels(rt.images.sharpen(flat, 1.0).result(), flat) == 0


def test_auto_process_is_mild(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    result = rt.images.auto_process(photo).result()
    assert result.shape == photo.shape
    assert np.abs(result.astype(int) - photo).mean() < 8
    off = rt.images.auto_process(photo, denoise_strength=0.0, sharpen_amount=0.0).result()
    assert levels(off, photo) == 0


# Analyses


def test_dominant_colors_come_by_frequency(rt: ironcliw.Runtime) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:70] = (200, 40, 40)
    image[70:95] = (40, 200, 40)
    image[95:] = (40, 40, 200)
    colors = rt.images.dominant_colors(image, 2).result()
    assert len(colors) == 2 and all(type(value) is int for color in colors for value in color)
    for color, expected in zip(colors, [(200, 40, 40), (40, 200, 40)], strict=True):
        assert np.abs(np.subtract(color, expected)).max() <= 8
    assert len(rt.images.dominant_colors(image, 50).result()) <= 50


def test_texture_is_that_of_the_gray_image(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    texture = rt.images.texture(photo).result()
    gray = gray_of(photo)
    assert texture["mean"] == pytest.approx(gray.mean(), abs=0.6)
    assert texture["std_dev"] == pytest.approx(gray.std(), abs=0.6)
    shares = np.bincount(gray.round().astype(int).ravel(), minlength=256) / gray.size
    shares = shares[shares > 0]
    assert texture["entropy"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=0.1)
    assert 0 <= texture["edge_density"] <= 1


def test_edges_are_where_the_picture_changes(rt: ironcliw.Runtime) -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    stripes = flat.copy()
    stripes[:, ::4] = 255
    one_edge = flat.copy()
    one_edge[:, 32:] = 250
    densities = [rt.images.edge_density(image).result() for image in (flat, one_edge, stripes)]
    assert densities[0] == 0.0 < densities[1] < densities[2] <= 1.0


def test_spatial_layout_measures_the_picture(rt: ironcliw.Runtime) -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    image[20:60, 30:90] = 200
    layout = rt.images.spatial_layout(image).result()
    assert (layout["width"], layout["height"], layout["channels"]) == (120, 80, 3)
    assert layout["aspect_ratio"] == pytest.approx(1.5)
    assert layout["center_brightness"] == pytest.approx(200, abs=20)
    assert 0 <= layout["edge_density"] <= 1


# Borrowing


def odd_views(photo: np.ndarray) -> list[np.ndarray]:
    readonly = photo.copy()
    readonly.flags.writeable = False
    return [
        photo[::-1],
        photo[:, ::-1],
        photo[10:50, 20:90],
        photo[::3, ::2],
        photo[:, :, ::-1],
        np.asfortranarray(photo),
        photo.transpose(1, 0, 2),
        readonly,
        np.lib.stride_tricks.as_strided(photo[:1], photo.shape, (0, *photo.strides[1:])),
    ]


def test_strided_inputs_give_what_their_copies_give(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    for view in odd_views(photo):
        copy = np.ascontiguousarray(view)
        for call in (
            lambda image: rt.images.resize(image, (30, 20)),
            lambda image: rt.images.convert(image, "gray"),
            lambda image: rt.images.convolve(image, "gaussian_3x3"),
            lambda image: rt.images.denoise(image, 0.5),
            lambda image: rt.images.normalize(image, MEAN, STD),
            lambda image: rt.images.texture(image),
        ):
            expected, result = call(copy).result(), call(view).result()
            if isinstance(result, dict):
                assert result == expected
            else:
                np.testing.assert_array_equal(result, expected)


def test_inputs_are_left_as_they_were_and_stay_alive(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    before = photo.copy()
    calls = [rt.images.auto_process(photo.copy()) for _ in range(20)]
    results = [call.result() for call in calls]
    rt.images.auto_process(photo).result()
    assert (photo == before).all()
    assert all((result == results[0]).all() for result in results)


def test_many_in_flight_keep_their_order(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        images = [np.full((20, 20, 3), n, np.uint8) for n in range(200)]
        results = await asyncio.gather(*[rt.images.resize(image, (5, 5)) for image in images])
        assert [int(result[0, 0, 0]) for result in results] == list(range(200))

    asyncio.run(main())
