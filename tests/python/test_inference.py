"""Models against numpy, at every precision."""

from __future__ import annotations

import asyncio

import ironcliw
import numpy as np
import pytest

TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.03, "int4": 0.2}
"""Relative Frobenius error on normally distributed weights and inputs, above what the formats cost by
themselves."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def error(result: np.ndarray, expected: np.ndarray) -> float:
    assert result.shape == expected.shape and result.dtype == np.float32
    return float(np.linalg.norm(result - expected) / np.linalg.norm(expected))


def convolved(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, padding: int, groups: int
) -> np.ndarray:
    """By definition."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    parts = [
        np.einsum("nchwij,ocij->nohw", xs, ws)
        for xs, ws in zip(np.split(windows, groups, axis=1), np.split(w, groups, axis=0), strict=True)
    ]
    return (np.concatenate(parts, axis=1) + b[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("shape", [(256,), (1, 256), (7, 256), (65, 256), (1, 16, 16, 256)])
def test_linear_takes_any_rank(rt: ironcliw.Runtime, precision: str, shape: tuple[int, ...]) -> None:
    w, b, x = normal(128, 256), normal(128, seed=1), normal(*shape, seed=2)
    model = rt.inference.load(ironcliw.Model().linear(w, b), precision).result()
    assert error(model(x).result(), x @ w.T + b) < TOLERANCE[precision]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 1), (1, 1, 2), (1, 1, 8)])
def test_conv2d_is_the_definition(
    rt: ironcliw.Runtime, precision: str, stride: int, padding: int, groups: int
) -> None:
    x, w, b = normal(2, 8, 13, 17), normal(16, 8 // groups, 3, 3, seed=1), normal(16, seed=2)
    described = ironcliw.Model().conv2d(w, b, stride=stride, padding=padding, groups=groups)
    model = rt.inference.load(described, precision).result()
    assert error(model(x).result(), convolved(x, w, b, stride, padding, groups)) < TOLERANCE[precision]


def test_a_network_of_layers_is_their_composition(rt: ironcliw.Runtime) -> None:
    w1, b1, w2, b2 = normal(6, 3, 3, 3), normal(6), normal(6, 6, 1, 1, seed=3), normal(6, seed=4)
    w3, b3 = normal(4, 6, seed=5), normal(4, seed=6)
    gamma, beta, mean, var = normal(6), normal(6, seed=1), normal(6, seed=2), normal(6, seed=3) ** 2 + 0.5
    described = (
        ironcliw.Model()
        .conv2d(w1, b1, stride=2, padding=1)
        .batch_norm2d(gamma, beta, mean, var)
        .relu()
        .residual(ironcliw.Model().conv2d(w2, b2))
        .max_pool2d(2)
        .global_avg_pool()
        .flatten()
        .linear(w3, b3)
        .softmax()
    )
    x = normal(3, 3, 16, 16, seed=9)
    y = convolved(x, w1, b1, 2, 1, 1)
    scale = gamma / np.sqrt(var + 1e-5)
    y = np.maximum(y * scale[:, None, None] + (beta - mean * scale)[:, None, None], 0)
    y = y + convolved(y, w2, b2, 1, 0, 1)
    y = y.reshape(3, 6, 4, 2, 4, 2).max(axis=(3, 5)).mean(axis=(2, 3))
    y = y @ w3.T + b3
    y = np.exp(y - y.max(axis=1, keepdims=True))
    y = y / y.sum(axis=1, keepdims=True)
    model = rt.inference.load(described, "fp32").result()
    result = model(x).result()
    assert error(result, y) < 1e-4
    np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("gelu", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    ],
)
def test_activations(rt: ironcliw.Runtime, name: str, function: object) -> None:
    x = normal(5, 64) * 4
    described = getattr(ironcliw.Model().linear(np.eye(64, dtype=np.float32)), name)()
    result = rt.inference.load(described, "fp32").result()(x).result()
    # The two common forms of gelu differ by less than this.
    np.testing.assert_allclose(result, function(x), atol=2e-3)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pools_are_the_definition(rt: ironcliw.Runtime, kind: str) -> None:
    x = normal(2, 3, 9, 11)
    described = getattr(ironcliw.Model(), f"{kind}_pool2d")(3, stride=2)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    expected = windows.max(axis=(-2, -1)) if kind == "max" else windows.mean(axis=(-2, -1))
    np.testing.assert_allclose(
        rt.inference.load(described, "fp32").result()(x).result(), expected, rtol=1e-5, atol=1e-6
    )


def test_strided_inputs_give_what_their_copies_give(rt: ironcliw.Runtime) -> None:
    model = rt.inference.load(ironcliw.Model().linear(normal(8, 32))).result()
    x = normal(20, 64)
    readonly = normal(20, 32)
    readonly.flags.writeable = False
    for view in (x[:, ::2], x[::-1, 32:], np.asfortranarray(x[:, :32]), readonly):
        np.testing.assert_array_equal(model(view).result(), model(np.ascontiguousarray(view)).result())


def test_the_portable_path_agrees_with_the_fast_one(rt: ironcliw.Runtime) -> None:
    described, x = ironcliw.Model().linear(normal(96, 200)).relu().linear(normal(10, 96)), normal(33, 200)
    fast, portable = (rt.inference.load(described, simd=simd).result()(x).result() for simd in (True, False))
    assert error(fast, portable) < 1e-3


def test_a_loaded_model_describes_itself(rt: ironcliw.Runtime) -> None:
    described = ironcliw.Model().linear(normal(256, 512))
    assert len(described) == 1
    sizes = []
    for precision in ("fp32", "fp16", "int8", "int4"):
        model = rt.inference.load(described, precision, name=f"m-{precision}").result()
        assert model.name == f"m-{precision}" and model.precision == precision
        assert precision in repr(model) and model.name in repr(model)
        sizes.append(model.weight_bytes)
    assert sizes == sorted(sizes, reverse=True) and sizes[3] < sizes[0] / 4


def test_replicas_answer_alike(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        w = normal(16, 32)
        model = await rt.inference.load(ironcliw.Model().linear(w), "fp32", replicas=2)
        xs = [normal(3, 32, seed=n) for n in range(64)]
        for x, result in zip(xs, await asyncio.gather(*[model(x) for x in xs]), strict=True):
            assert error(result, x @ w.T) < 1e-5

    asyncio.run(main())


def test_a_model_survives_the_crash_of_its_actor(rt: ironcliw.Runtime) -> None:
    from ironcliw import testing

    w, x = normal(16, 32), normal(3, 32)
    model = rt.inference.load(ironcliw.Model().linear(w), "fp32").result()
    before = rt.snapshot()["restarts"]
    paths = [a["path"] for a in rt.snapshot()["actors"] if a["path"].startswith("inference/")]
    assert paths
    for path in paths:
        with pytest.raises(ironcliw.ActorPanicked):
            testing.crash(rt, path).result(timeout=10)
    assert error(model(x).result(timeout=10), x @ w.T) < 1e-5
    assert rt.snapshot()["restarts"] == before + len(paths)


def test_an_unloaded_model_refuses(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        model = await rt.inference.load(ironcliw.Model().linear(normal(4, 4)))
        await model.unload()
        with pytest.raises(ironcliw.ModelError):
            await model(normal(4))

    asyncio.run(main())


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_quantize_is_the_formula(rt: ironcliw.Runtime, scale: float) -> None:
    w = normal(33, 47) * np.float32(scale)
    q = rt.inference.quantize(w)
    assert q.dtype == np.int8 and q.shape == (w.size,)
    exact = w.ravel().astype(np.float64) * 127 / np.abs(w).max()
    assert np.abs(q - exact).max() <= 0.5 + 1e-4
    assert np.abs(q).max() == 127
    assert (rt.inference.quantize(w.T) == q.reshape(33, 47).T.ravel()).all()
    assert not rt.inference.quantize(np.zeros((3, 3), np.float32)).any()
