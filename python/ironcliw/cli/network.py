"""A small convolutional network in plain numpy: forward, backward and Adam, enough to train the demo's
classifier.

It knows no pictures and no runtime. Arrays are float32; inputs are `(N, C, H, W)` as the runtime's
`normalize` makes them, while the inside works on `(N, H, W, C)`, where a convolution is one matrix product
over gathered patches. Every convolution is 3x3 with stride 2 and padding 1, followed by batch normalisation
and ReLU; after the last one comes the average over the picture and one linear layer. `export` folds the
normalisation into the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

KERNEL = 3
BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.1
"""The usual values; with fewer than 50 steps an average with this momentum would still remember its start."""


@dataclass
class ConvWeights:
    """A convolution as `ironcliw.Model.conv2d` takes it: `(out, in, 3, 3)` and `(out,)`."""

    weights: Array
    bias: Array


@dataclass
class Exported:
    """A trained network, ready to be described to the runtime."""

    convolutions: list[ConvWeights]
    linear: Array
    bias: Array


def patches(x: Array) -> Array:
    """Every 3x3 patch at stride 2 of `(N, H, W, C)`, zero-padded by 1, as rows `(N * H/2 * W/2, 9 * C)`."""
    n, h, w, c = x.shape
    padded = np.zeros((n, h + 2, w + 2, c), np.float32)
    padded[:, 1:-1, 1:-1] = x
    out_h, out_w = (h + 1) // 2, (w + 1) // 2
    columns = np.empty((n, out_h, out_w, KERNEL * KERNEL, c), np.float32)
    for i in range(KERNEL):
        for j in range(KERNEL):
            columns[:, :, :, i * KERNEL + j] = padded[:, i : i + 2 * out_h : 2, j : j + 2 * out_w : 2]
    return columns.reshape(n * out_h * out_w, KERNEL * KERNEL * c)


def scatter(columns: Array, shape: tuple[int, int, int, int]) -> Array:
    """The transpose of `patches`: adds every patch to where it came from."""
    n, h, w, c = shape
    out_h, out_w = (h + 1) // 2, (w + 1) // 2
    columns = columns.reshape(n, out_h, out_w, KERNEL * KERNEL, c)
    padded = np.zeros((n, h + 2, w + 2, c), np.float32)
    for i in range(KERNEL):
        for j in range(KERNEL):
            padded[:, i : i + 2 * out_h : 2, j : j + 2 * out_w : 2] += columns[:, :, :, i * KERNEL + j]
    return padded[:, 1:-1, 1:-1]


class ConvBlock:
    """Convolution, batch normalisation and ReLU, with what its backward pass needs of the last forward
    pass."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        fan_in = KERNEL * KERNEL * inputs
        self.weights = rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, outputs)).astype(np.float32)
        self.gamma = np.ones(outputs, np.float32)
        self.beta = np.zeros(outputs, np.float32)
        self.mean = np.zeros(outputs, np.float32)
        self.variance = np.ones(outputs, np.float32)

    @property
    def parameters(self) -> list[Array]:
        return [self.weights, self.gamma, self.beta]

    def forward(self, x: Array, training: bool) -> Array:
        n, h, w, _ = x.shape
        columns = patches(x)
        out = columns @ self.weights
        if training:
            mean, variance = out.mean(axis=0), out.var(axis=0)
            self.mean += BATCH_NORM_MOMENTUM * (mean - self.mean)
            self.variance += BATCH_NORM_MOMENTUM * (variance - self.variance)
        else:
            mean, variance = self.mean, self.variance
        inverse = 1.0 / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
        normal = (out - mean) * inverse
        y = np.maximum(normal * self.gamma + self.beta, 0.0)
        if training:
            self._saved = (x.shape, columns, normal, inverse, y)
        picture: Array = y.reshape(n, (h + 1) // 2, (w + 1) // 2, -1)
        return picture

    def backward(self, grad: Array, wants_input: bool) -> tuple[list[Array], Array | None]:
        """The gradients of the parameters, and of the input if somebody wants it."""
        shape, columns, normal, inverse, y = self._saved
        grad = grad.reshape(y.shape) * (y > 0)
        grad_beta = grad.sum(axis=0)
        grad_gamma = (grad * normal).sum(axis=0)
        rows = np.float32(len(grad))
        centred = grad - grad_beta / rows - normal * (grad_gamma / rows)
        grad = np.asarray((self.gamma * inverse) * centred, dtype=np.float32)
        gradients = [columns.T @ grad, grad_gamma, grad_beta]
        return gradients, scatter(grad @ self.weights.T, shape) if wants_input else None

    def export(self) -> ConvWeights:
        scale = self.gamma / np.sqrt(self.variance + np.float32(BATCH_NORM_EPSILON))
        folded = (self.weights * scale).reshape(KERNEL, KERNEL, -1, len(scale))
        return ConvWeights(
            np.ascontiguousarray(folded.transpose(3, 2, 0, 1), dtype=np.float32),
            (self.beta - self.mean * scale).astype(np.float32),
        )


class Network:
    """The whole classifier."""

    def __init__(self, channels: list[int], classes: int, rng: np.random.Generator) -> None:
        pairs = pairwise(channels)
        self.blocks = [ConvBlock(a, b, rng) for a, b in pairs]
        self.linear = rng.normal(0.0, np.sqrt(1.0 / channels[-1]), (channels[-1], classes)).astype(np.float32)
        self.bias = np.zeros(classes, np.float32)

    @property
    def parameters(self) -> list[Array]:
        return [*(p for block in self.blocks for p in block.parameters), self.linear, self.bias]

    def forward(self, x: Array, training: bool = False) -> Array:
        """Scores `(N, classes)` of pictures `(N, C, H, W)`."""
        hidden = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        for block in self.blocks:
            hidden = block.forward(hidden, training)
        pooled = hidden.mean(axis=(1, 2))
        if training:
            self._saved = (hidden.shape, pooled)
        scores: Array = pooled @ self.linear + self.bias
        return scores

    def backward(self, grad: Array) -> list[Array]:
        """The gradients of `parameters`, for the gradient of the scores."""
        shape, pooled = self._saved
        gradients = [pooled.T @ grad, grad.sum(axis=0)]
        area = np.float32(shape[1] * shape[2])
        spread: Array | None = np.broadcast_to((grad @ self.linear.T / area)[:, None, None], shape)
        for i, block in reversed(list(enumerate(self.blocks))):
            assert spread is not None
            own, spread = block.backward(spread, wants_input=i > 0)
            gradients = own + gradients
        return gradients

    def export(self) -> Exported:
        return Exported([block.export() for block in self.blocks], self.linear.T.copy(), self.bias.copy())


def cross_entropy(scores: Array, labels: npt.NDArray[np.intp], smoothing: float) -> tuple[float, Array]:
    """The mean loss, and its gradient by the scores. Smoothed targets keep the weights, and so INT8, well
    behaved."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full_like(log_p, smoothing / scores.shape[1])
    target[np.arange(len(labels)), labels] += np.float32(1.0 - smoothing)
    gradient = np.asarray((np.exp(log_p) - target) / np.float32(len(labels)), dtype=np.float32)
    return float(-(target * log_p).sum(axis=1).mean()), gradient


class Adam:
    """Adam with decoupled weight decay."""

    def __init__(self, parameters: list[Array], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.first = [np.zeros_like(p) for p in parameters]
        self.second = [np.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, gradients: list[Array], rate: float) -> None:
        self.steps += 1
        correct1, correct2 = 1.0 - 0.9**self.steps, 1.0 - 0.999**self.steps
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m += np.float32(0.1) * (g - m)
            v += np.float32(0.001) * (g * g - v)
            p -= np.float32(rate) * (
                np.float32(1 / correct1) * m / (np.sqrt(v * np.float32(1 / correct2)) + np.float32(1e-8))
                + np.float32(self.decay if p.ndim > 1 else 0.0) * p
            )


def one_cycle(progress: float) -> float:
    """The share of the peak rate: up in a line over the first fifth, then down along a cosine."""
    return progress / 0.2 if progress < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (progress - 0.2) / 0.8)


def train(
    network: Network,
    pictures: Array,
    labels: npt.NDArray[np.intp],
    *,
    epochs: int,
    batch: int,
    peak_rate: float,
    decay: float,
    smoothing: float,
    rng: np.random.Generator,
) -> Iterator[float]:
    """Trains in place under a one-cycle rate; yields the loss after every step, `epochs * (N // batch)` in
    all.

    Pictures are mirrored at random, left to right.
    """
    adam = Adam(network.parameters, decay)
    steps = epochs * (len(pictures) // batch)
    for _ in range(epochs):
        order = rng.permutation(len(pictures))
        for start in range(0, len(pictures) - batch + 1, batch):
            chosen = order[start : start + batch]
            x = pictures[chosen]
            mirrored = rng.random(batch) < 0.5
            x[mirrored] = x[mirrored, :, :, ::-1]
            loss, grad = cross_entropy(network.forward(x, training=True), labels[chosen], smoothing)
            adam.step(network.backward(grad), peak_rate * one_cycle(adam.steps / steps))
            yield loss
