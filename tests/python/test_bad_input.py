"""Bad input gives a typed error or simply works; it never crashes, hangs or leaks.

The `rt` fixture asserts for every test that no buffer is left outstanding.
"""

from __future__ import annotations

import contextlib
import gc
import math
import struct
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import active, encoded, eventually, photograph

MEAN, STD = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)

OPERATIONS: dict[str, Callable[[ironcliw.Runtime, Any], ironcliw.Call[Any]]] = {
    "encode": lambda rt, image: rt.images.encode(image, "png"),
    "resize": lambda rt, image: rt.images.resize(image, (10, 10)),
    "convert": lambda rt, image: rt.images.convert(image, "gray"),
    "normalize": lambda rt, image: rt.images.normalize(image, MEAN, STD),
    "convolve": lambda rt, image: rt.images.convolve(image, "gaussian_3x3"),
    "denoise": lambda rt, image: rt.images.denoise(image, 0.5),
    "sharpen": lambda rt, image: rt.images.sharpen(image, 0.5),
    "auto_process": lambda rt, image: rt.images.auto_process(image),
    "dominant_colors": lambda rt, image: rt.images.dominant_colors(image, 3),
    "edge_density": lambda rt, image: rt.images.edge_density(image),
    "texture": lambda rt, image: rt.images.texture(image),
    "spatial_layout": lambda rt, image: rt.images.spatial_layout(image),
    "run": lambda rt, image: rt.images.run(ironcliw.Pipeline().resize((4, 4)), [image]),
}

BAD_IMAGES: dict[str, Any] = {
    "zero rows": np.zeros((0, 10, 3), np.uint8),
    "zero columns": np.zeros((10, 0, 3), np.uint8),
    "zero channels": np.zeros((10, 10, 0), np.uint8),
    "two channels": np.zeros((10, 10, 2), np.uint8),
    "five channels": np.zeros((10, 10, 5), np.uint8),
    "no dimensions": np.zeros((), np.uint8),
    "one dimension": np.zeros(10, np.uint8),
    "seven dimensions": np.zeros((1, 2, 1, 2, 1, 2, 3), np.uint8),
    "float": np.zeros((10, 10, 3), np.float32),
    "signed": np.zeros((10, 10, 3), np.int8),
    "bool": np.zeros((10, 10, 3), bool),
    "objects": np.full((10, 10, 3), None),
    "structured": np.zeros((10, 10), [("r", np.uint8)]),
    "none": None,
    "a list": [[1, 2], [3, 4]],
    "text": "image",
    "a number": 7,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_what_is_no_image_is_refused_by_the_call_itself(
    rt: ironcliw.Runtime, operation: str, kind: str
) -> None:
    image = BAD_IMAGES[kind]
    refusal = ironcliw.InvalidInput if isinstance(image, np.ndarray) else TypeError
    if (operation, kind) == ("run", "one dimension"):
        # It is read as a file.
        refusal = ironcliw.DecodeError
    with pytest.raises(refusal) as caught:
        OPERATIONS[operation](rt, image)
    assert str(caught.value)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 7, 3), (7, 1, 4), (3, 2000, 3), (2, 2)])
def test_the_smallest_and_oddest_shapes_work(
    rt: ironcliw.Runtime, operation: str, shape: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if operation == "normalize" and shape[2:] != (3,):
        with pytest.raises(ironcliw.InvalidInput):
            OPERATIONS[operation](rt, image)
    else:
        assert OPERATIONS[operation](rt, image).result(timeout=10) is not None


def test_arrays_that_overlap_themselves_are_read_as_they_are(rt: ironcliw.Runtime) -> None:
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    wide = np.broadcast_to(pixel, (500, 700, 3))
    assert (rt.images.resize(wide, (7, 5)).result(timeout=10) == pixel).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda rt, image: rt.images.resize(image, (0, 10)),
        lambda rt, image: rt.images.resize(image, (10, -1)),
        lambda rt, image: rt.images.resize(image, (2**31, 2**31)),
        lambda rt, image: rt.images.resize(image, (2**63, 1)),
        lambda rt, image: rt.images.resize(image, (2**70, 1)),
        lambda rt, image: rt.images.encode(image, "gif"),
        lambda rt, image: rt.images.encode(image, "jpeg", 0),
        lambda rt, image: rt.images.encode(image, "jpeg", 101),
        lambda rt, image: rt.images.encode(image, "jpeg", -1),
        lambda rt, image: rt.images.convert(image, "cmyk"),
        lambda rt, image: rt.images.normalize(image, (0.5,), STD),
        lambda rt, image: rt.images.normalize(image, MEAN, (0.0, 1.0, 1.0)),
        lambda rt, image: rt.images.normalize(image, (math.nan,) * 3, STD),
        lambda rt, image: rt.images.normalize(image, MEAN, (math.inf,) * 3),
        lambda rt, image: rt.images.convolve(image, "gaussian_4x4"),
        lambda rt, image: rt.images.convolve(image, np.zeros((2, 2), np.float32)),
        lambda rt, image: rt.images.convolve(image, np.zeros((9, 9), np.float32)),
        lambda rt, image: rt.images.convolve(image, np.zeros((1, 3), np.float32)),
        lambda rt, image: rt.images.convolve(image, np.zeros((0, 3), np.float32)),
        lambda rt, image: rt.images.convolve(image, np.full((3, 3), np.nan, np.float32)),
        lambda rt, image: rt.images.convolve(image, np.zeros((3, 3, 3), np.float32)),
        lambda rt, image: rt.images.denoise(image, -0.1),
        lambda rt, image: rt.images.denoise(image, 1.1),
        lambda rt, image: rt.images.denoise(image, math.nan),
        lambda rt, image: rt.images.sharpen(image, -1.0),
        lambda rt, image: rt.images.sharpen(image, math.inf),
        lambda rt, image: rt.images.dominant_colors(image, 0),
        lambda rt, image: rt.images.dominant_colors(image, -1),
        lambda rt, image: rt.images.run(ironcliw.Pipeline(), []),
        lambda rt, image: rt.images.run(ironcliw.Pipeline().resize((0, 5)), [image]),
        lambda rt, image: rt.images.run(ironcliw.Pipeline().convert("hsv"), [image]),
        lambda rt, image: rt.images.run(ironcliw.Pipeline().normalize((0.5,), (1.0,)), [image]),
        lambda rt, image: rt.images.resize(image, (5, 5), timeout=0),
        lambda rt, image: rt.images.resize(image, (5, 5), timeout=-1.0),
        lambda rt, image: rt.images.resize(image, (5, 5), timeout=math.nan),
    ],
)
def test_bad_arguments_are_invalid_input(
    rt: ironcliw.Runtime, call: Callable[[ironcliw.Runtime, np.ndarray], ironcliw.Call[Any]]
) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        call(rt, photograph(20, 30)).result(timeout=10)


def test_a_size_that_no_pool_can_hold_is_refused(rt: ironcliw.Runtime) -> None:
    with pytest.raises((ironcliw.InvalidInput, ironcliw.PoolExhausted)):
        rt.images.resize(photograph(20, 30), (65535, 65535)).result(timeout=10)


# Codecs


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_every_truncation_is_a_decode_error(rt: ironcliw.Runtime, format: str) -> None:
    data = encoded(photograph(), format)
    cuts = [0, 1, 2, 3, 8, 20, 33, 100, *range(150, len(data) - 64, max(1, len(data) // 40))]
    for cut in cuts:
        with pytest.raises(ironcliw.DecodeError) as caught:
            rt.images.decode(data[:cut]).result(timeout=10)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(100), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9", bytes(99)]
)
def test_what_is_no_picture_is_a_decode_error(rt: ironcliw.Runtime, data: bytes) -> None:
    with pytest.raises(ironcliw.DecodeError):
        rt.images.decode(data).result(timeout=10)


def lying_png(width: int, height: int) -> bytes:
    """A small PNG whose header, with a good checksum, claims another size."""
    data = bytearray(encoded(photograph(20, 20), "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def lying_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose frame header claims another size."""
    data = bytearray(encoded(photograph(20, 20), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        lying_png(2**31 - 1, 2**31 - 1),
        lying_png(60_000, 60_000),
        lying_png(0, 20),
        lying_png(20, 400),
        lying_jpeg(65_535, 65_535),
        lying_jpeg(0, 20),
        lying_jpeg(20, 4_000),
    ],
    ids=["png 2G", "png 60k", "png 0", "png taller", "jpeg 65k", "jpeg 0", "jpeg taller"],
)
def test_a_lying_header_is_a_decode_error_at_once(rt: ironcliw.Runtime, data: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises((ironcliw.DecodeError, ironcliw.PoolExhausted)):
        rt.images.decode(data).result(timeout=30)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_damaged_bytes_decode_or_say_that_they_do_not(rt: ironcliw.Runtime, format: str) -> None:
    rng = np.random.default_rng(8)
    data = encoded(photograph(40, 50), format)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 6))):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        with contextlib.suppress(ironcliw.DecodeError, ironcliw.PoolExhausted):
            assert rt.images.decode(damaged).result(timeout=10).ndim == 3
    assert rt.snapshot()["restarts"] == 0


@pytest.mark.parametrize("data", [None, "text", 5, [1, 2]])
def test_what_has_no_bytes_is_a_type_error(rt: ironcliw.Runtime, data: Any) -> None:
    with pytest.raises(TypeError):
        rt.images.decode(data)


# Sizes


@pytest.mark.parametrize("size", [0, -1, 2**63, 2**64, 2**100])
def test_impossible_sizes_are_typed_errors(rt: ironcliw.Runtime, size: int) -> None:
    expected = ironcliw.InvalidInput if size <= 0 else (ironcliw.InvalidInput, ironcliw.PoolExhausted)
    with pytest.raises(expected):
        rt.pool.try_allocate(size)
    with pytest.raises(expected):
        rt.pool.allocate(size).result(timeout=10)


class Unspeakable(float):
    def __repr__(self) -> str:
        raise LookupError


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (-1, "n must be at least 1, not -1"),
        (-(10**5000), "n must be at least 1, not a very long int"),
        (2**100, f"n must be below 2**{(sys.maxsize + 1).bit_length()}, not {2**100}"),
    ],
    ids=["-1", "very negative", "2**100"],
)
def test_an_impossible_size_is_told_by_the_border_that_it_crosses(
    rt: ironcliw.Runtime, size: int, said: str
) -> None:
    with pytest.raises(ironcliw.InvalidInput) as refused:
        rt.pool.try_allocate(size)
    assert str(refused.value) == said


def test_what_an_error_shows_is_short_and_true(rt: ironcliw.Runtime) -> None:
    for kind, said in (
        (Unspeakable(3), "not a Unspeakable that cannot be shown"),
        ("x" * 1000, "not a very long str"),
        ("old", "not 'old'"),
    ):
        with pytest.raises(ironcliw.InvalidInput, match=f"{said}$"):
            rt.leaks.age_limit = {kind: 1.0}  # type: ignore[dict-item]
    for limit in (10**400, -1):
        with pytest.raises(ironcliw.InvalidInput, match=r"^an age limit must be a number of seconds"):
            rt.leaks.age_limit = limit


@pytest.mark.parametrize("size", [None, "10", 1.5])
def test_sizes_are_whole_numbers(rt: ironcliw.Runtime, size: Any) -> None:
    with pytest.raises(TypeError):
        rt.pool.try_allocate(size)


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"image_workers": 0},
        {"image_workers": -1},
        {"scheduler_threads": 0},
        {"memory_limit": 0},
        {"memory_limit": -5},
        {"leak_level": "loud"},
        {"niceness": 99},
    ],
)
def test_a_runtime_refuses_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        ironcliw.Runtime(**options)


# Models


def w(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    "build",
    [
        lambda model: model,
        lambda model: model.linear(w(3)),
        lambda model: model.linear(w(0, 4)),
        lambda model: model.linear(w(3, 4, 5)),
        lambda model: model.linear(w(3, 4), w(4)),
        lambda model: model.linear(w(3, 4).astype(np.int32)),
        lambda model: model.linear(np.full((3, 4), np.nan, np.float32)),
        lambda model: model.linear(w(3, 4)).linear(w(3, 4)),
        lambda model: model.conv2d(w(3, 4)),
        lambda model: model.conv2d(w(4, 3, 3, 3), stride=0),
        lambda model: model.conv2d(w(4, 3, 3, 3), padding=-1),
        lambda model: model.conv2d(w(4, 3, 3, 3), groups=3),
        lambda model: model.conv2d(w(4, 3, 3, 3), w(5)),
        lambda model: model.conv2d(w(4, 3, 3, 3)).conv2d(w(4, 3, 3, 3)),
        lambda model: model.conv2d(w(4, 3, 3, 3)).batch_norm2d(w(3), w(3), w(3), w(3)),
        lambda model: model.conv2d(w(4, 3, 3, 3)).max_pool2d(0),
    ],
)
def test_a_model_that_cannot_be_is_a_model_error(
    rt: ironcliw.Runtime, build: Callable[[ironcliw.Model], ironcliw.Model]
) -> None:
    with pytest.raises(ironcliw.ModelError) as caught:
        rt.inference.load(build(ironcliw.Model())).result(timeout=10)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 5), np.float32),
        np.zeros((), np.float32),
        np.zeros((4, 3), np.float32),
        np.zeros((2, 4), np.float64),
        np.zeros((2, 4), np.int8),
        np.zeros((2, 4), np.complex64),
    ],
)
def test_a_wrong_input_is_a_model_error(rt: ironcliw.Runtime, x: np.ndarray) -> None:
    model = rt.inference.load(ironcliw.Model().linear(w(3, 4))).result(timeout=10)
    with pytest.raises(ironcliw.ModelError):
        model(x).result(timeout=10)
    assert model(np.zeros((2, 4), np.float32)).result(timeout=10).shape == (2, 3)


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (3, 8, 8), (1, 3, 2, 2), (1, 1, 3, 8, 8)])
def test_a_convolution_refuses_other_shapes(rt: ironcliw.Runtime, shape: tuple[int, ...]) -> None:
    model = rt.inference.load(ironcliw.Model().conv2d(w(4, 3, 3, 3))).result(timeout=10)
    with pytest.raises(ironcliw.ModelError):
        model(np.zeros(shape, np.float32)).result(timeout=10)


def test_an_empty_batch_is_empty_or_refused(rt: ironcliw.Runtime) -> None:
    model = rt.inference.load(ironcliw.Model().linear(w(3, 4))).result(timeout=10)
    try:
        assert model(np.zeros((0, 4), np.float32)).result(timeout=10).shape == (0, 3)
    except ironcliw.ModelError as error:
        assert str(error)


def test_inputs_that_are_no_numbers_answer_and_harm_nobody(rt: ironcliw.Runtime) -> None:
    for precision in ("fp32", "fp16", "int8", "int4"):
        model = rt.inference.load(ironcliw.Model().linear(w(3, 32)), precision).result(timeout=10)
        for value in (np.nan, np.inf, -np.inf, 3e38):
            x = np.zeros((2, 32), np.float32)
            x[0, 0] = value
            # Quantized layers refuse what has no place on their scale.
            with contextlib.suppress(ironcliw.ModelError):
                assert model(x).result(timeout=10).shape == (2, 3)
    assert rt.snapshot()["restarts"] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda rt: rt.inference.load(ironcliw.Model().linear(w(3, 4)), "int2"),
        lambda rt: rt.inference.load(ironcliw.Model().linear(w(3, 4)), replicas=0),
        lambda rt: rt.inference.quantize(np.array([1.0, np.nan], np.float32)),
        lambda rt: rt.inference.quantize(np.array([1.0, np.inf], np.float32)),
    ],
)
def test_bad_arguments_of_inference_are_invalid_input(
    rt: ironcliw.Runtime, call: Callable[[ironcliw.Runtime], Any]
) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        call(rt)


def test_a_model_is_needed(rt: ironcliw.Runtime) -> None:
    with pytest.raises(TypeError):
        rt.inference.load("model.onnx")  # type: ignore[arg-type]
    model = rt.inference.load(ironcliw.Model().linear(w(3, 4))).result(timeout=10)
    with pytest.raises(TypeError):
        model([1.0, 2.0, 3.0, 4.0])  # type: ignore[arg-type]


# Runtimes that nobody closes


def test_a_runtime_that_is_dropped_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        rt = ironcliw.Runtime()
        calls = [rt.images.denoise(photograph(), 0.5) for _ in range(20)]
        del rt
        gc.collect()
        for call in calls:
            try:
                call.result(timeout=10)
            except ironcliw.Error as error:
                assert isinstance(error, ironcliw.ActorStopped | ironcliw.RuntimeClosed)
        del calls, call
        gc.collect()
    assert capfd.readouterr() == ("", "")


def test_an_unawaited_failure_is_silent(rt: ironcliw.Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(10):
        rt.images.decode(b"no picture")
    rt.ping().result(timeout=10)
    gc.collect()
    assert eventually(lambda: active(rt) == 0)
    assert capfd.readouterr() == ("", "")
