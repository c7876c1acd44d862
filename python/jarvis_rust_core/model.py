"""Quantized inference: linear layers with INT8 weights."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from ironcliw import LoadedModel, Model, ModelError, Runtime

from ._runtime import outside_loop, shared


class RustQuantizedModel:
    """Linear layers, one after the other, quantized to INT8 by output channel.

    `use_simd=False` takes the portable path. `thread_count`: how many inferences may run at once, at most
    one a core.
    """

    def __init__(self, use_simd: bool = True, thread_count: int | None = None) -> None:
        if thread_count is not None and thread_count < 1:
            raise ModelError(f"thread_count is 1 or more, not {thread_count}")
        self._simd = use_simd
        self._replicas = min(thread_count or 1, os.cpu_count() or 1)
        self._model = Model()
        self._lock = threading.Lock()
        self._loaded: tuple[Runtime, LoadedModel] | None = None

    def add_linear_layer(
        self, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None = None
    ) -> None:
        """`weights` `(out, in)`, `bias` `(out,)`, float32; both are copied."""
        with self._lock:
            self._model.linear(weights, bias)
            self._loaded = None

    def infer(self, x: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """`x` of any rank whose last axis is the first layer's `in`; the same shape with the last layer's
        `out` last."""
        if not isinstance(x, np.ndarray):
            raise TypeError(f"a model's input is a numpy array, not {type(x).__name__}")
        if x.dtype.kind != "f":
            raise ModelError(f"a model's input is a float array, not {x.dtype}")
        with outside_loop():
            return self._load()(x.astype(np.float32, copy=False)).result()

    def _load(self) -> LoadedModel:
        runtime = shared()
        with self._lock:
            # A forked process has a runtime of its own, which knows no model of the parent's.
            if self._loaded is None or self._loaded[0] is not runtime:
                call = runtime.inference.load(
                    self._model, precision="int8", replicas=self._replicas, simd=self._simd
                )
                self._loaded = runtime, call.result()
            return self._loaded[1]

    def __repr__(self) -> str:
        return f"<RustQuantizedModel of {len(self._model)} layers>"


def quantize_model_weights(weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int8]:
    """Flat int8 in row-major order, one symmetric scale: `round(w * 127 / max|w|)`; zeros for zeros."""
    return shared().inference.quantize(weights)
