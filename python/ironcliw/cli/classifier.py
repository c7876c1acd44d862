"""The classifier of the main job: which picture was this tile cut from?

It is trained once on tiles that the runtime itself cuts to size and normalises, so that training and the
job see the very same numbers, and is cached by a hash of the pictures and of the recipe.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import ironcliw

from .console import Complaint, Progress
from .network import ConvWeights, Exported, Network, train
from .pictures import SMALLEST, Grid, Picture


@dataclass(frozen=True)
class Recipe:
    """Everything that the weights depend on, apart from the pictures. `version`: of the code around it."""

    version: int = 1
    input_side: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channels: tuple[int, ...] = (3, 16, 32, 64)
    tiles_per_picture: int = 400
    epochs: int = 12
    batch: int = 64
    peak_rate: float = 4e-3
    decay: float = 0.05
    smoothing: float = 0.05
    seed: int = 7

    def pipeline(self) -> ironcliw.Pipeline:
        """From a tile of any size to the network's input."""
        side = self.input_side
        return ironcliw.Pipeline().resize((side, side)).normalize(self.mean, self.std)


RECIPE = Recipe()


def grid_of(picture: Picture, image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Grid:
    """Its grid, or a complaint that it is too small to be divided."""
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        raise Complaint(
            f"{picture.name} is {width}x{height}; pictures of {SMALLEST}x{SMALLEST} or more are needed"
        )
    return Grid.over(height, width)


def survey(rt: ironcliw.Runtime, pictures: list[Picture]) -> list[Grid]:
    """Decodes every picture once: its grid, or a complaint about the first that is no picture."""
    grids = []
    for picture in pictures:
        try:
            grids.append(grid_of(picture, rt.images.decode(picture.data).result()))
        except ironcliw.DecodeError as error:
            raise Complaint(f"{picture.name}: {error}") from error
    return grids


def describe(exported: Exported) -> ironcliw.Model:
    """The network as the runtime takes it."""
    model = ironcliw.Model()
    for convolution in exported.convolutions:
        model.conv2d(convolution.weights, convolution.bias, stride=2, padding=1).relu()
    return model.global_avg_pool().flatten().linear(exported.linear, exported.bias)


def trained(rt: ironcliw.Runtime, pictures: list[Picture], grids: list[Grid]) -> ironcliw.Model:
    """The classifier for these pictures: from the cache, else trained now and put there."""
    path = cache_folder() / f"tiles-{key(pictures)}.npz"
    exported = load(path)
    if exported is None:
        exported = fit(rt, pictures, grids)
        save(path, exported)
    else:
        print(f"classifier: from {path}")
    return describe(exported)


def fit(rt: ironcliw.Runtime, pictures: list[Picture], grids: list[Grid]) -> Exported:
    """Cuts the training tiles and trains on them; always the same for the same pictures."""
    rng = np.random.default_rng(RECIPE.seed)
    side, each = RECIPE.input_side, RECIPE.tiles_per_picture
    tiles = np.empty((len(pictures), each, 3, side, side), np.float32)
    for index, (picture, grid) in enumerate(zip(pictures, grids, strict=True)):
        image = rt.images.decode(picture.data).result()
        cuts = [grid.training_window(rng).of(image) for _ in range(each)]
        tiles[index] = rt.images.run(RECIPE.pipeline(), cuts).result()

    network = Network(list(RECIPE.channels), len(pictures), rng)
    steps = RECIPE.epochs * (len(pictures) * each // RECIPE.batch)
    with Progress("training", steps, "steps") as progress:
        for _ in train(
            network,
            tiles.reshape(-1, 3, side, side),
            np.repeat(np.arange(len(pictures)), each),
            epochs=RECIPE.epochs,
            batch=RECIPE.batch,
            peak_rate=RECIPE.peak_rate,
            decay=RECIPE.decay,
            smoothing=RECIPE.smoothing,
            rng=rng,
        ):
            progress.advance()
    return network.export()


def key(pictures: list[Picture]) -> str:
    """Changes with any picture, their order, or the recipe."""
    digest = hashlib.sha256(repr(RECIPE).encode())
    for picture in pictures:
        digest.update(hashlib.sha256(picture.data).digest())
    return digest.hexdigest()[:20]


def cache_folder() -> Path:
    """`IRONCLIW_CACHE`, else the user's cache folder."""
    if own := os.environ.get("IRONCLIW_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "ironcliw" if base else Path.home() / ".cache" / "ironcliw"


def load(path: Path) -> Exported | None:
    """What `save` wrote, or None if there is no such file or only a part of one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            layers = range(len(RECIPE.channels) - 1)
            convolutions = [ConvWeights(arrays[f"weights{i}"], arrays[f"bias{i}"]) for i in layers]
            return Exported(convolutions, arrays["linear"], arrays["bias"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save(path: Path, exported: Exported) -> None:
    """Writes the weights in one step, so that a run that is interrupted leaves no half of them."""
    arrays = {"linear": exported.linear, "bias": exported.bias}
    for i, convolution in enumerate(exported.convolutions):
        arrays |= {f"weights{i}": convolution.weights, f"bias{i}": convolution.bias}
    partial = path.with_name(f".{path.stem}-{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(partial, allow_pickle=False, **arrays)
        partial.replace(path)
    except OSError as error:
        print(f"classifier: cannot be kept for the next run: {error}", file=sys.stderr)
