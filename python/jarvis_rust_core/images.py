"""Image processing: the processor, the batch function and the analyses.

Images are uint8 arrays, `(H, W)` or `(H, W, C)` with 1, 3 or 4 channels, borrowed without a copy. Processed
images come back as `(H, W, C)`; their memory is pooled and goes back when the last view of it dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ironcliw import Call, InvalidInput
from ironcliw.types import SpatialLayout, Texture

from ._runtime import outside_loop, shared

Image = npt.NDArray[np.uint8]

DEFAULTS: dict[str, Any] = {"denoise_strength": 0.2, "sharpen_amount": 0.3}
"""The configuration keys that take effect, with values that keep `auto_process` mild."""


def _start(image: Image, operation: str, params: Mapping[str, Any], config: Mapping[str, Any]) -> Call[Image]:
    """Queues one operation. A parameter that is not given comes from the configuration; unknown ones are
    ignored."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image is a numpy array, not {type(image).__name__}")
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    images = shared().images
    match operation:
        case "auto_process":
            return images.auto_process(
                image,
                denoise_strength=params.get("denoise_strength", config["denoise_strength"]),
                sharpen_amount=params.get("sharpen_amount", config["sharpen_amount"]),
            )
        case "resize":
            if "width" not in params or "height" not in params:
                raise InvalidInput("resize needs params={'width': …, 'height': …}")
            return images.resize(image, (params["width"], params["height"]))
        case "convolve":
            kernel = params.get("kernel", "gaussian_3x3")
            return images.convolve(
                image, kernel if isinstance(kernel, str) else np.asarray(kernel, np.float32)
            )
        case "denoise":
            return images.denoise(image, params.get("strength", config["denoise_strength"]))
        case "sharpen":
            return images.sharpen(image, params.get("amount", config["sharpen_amount"]))
    known = "auto_process, resize, convolve, denoise, sharpen"
    raise InvalidInput(f"unknown operation {operation!r}; there are {known}")


def _finish(call: Call[Image]) -> Image:
    image = call.result()
    return image if image.ndim == 3 else image[:, :, np.newaxis]


def _process(
    images: Iterable[Image], operation: str, params: Mapping[str, Any] | None, config: Mapping[str, Any]
) -> list[Image]:
    """All of them, in order; the workers take them in parallel. The first failure cancels the rest."""
    calls: list[Call[Image]] = []
    with outside_loop():
        try:
            for image in images:
                calls.append(_start(image, operation, params or {}, config))
            return [_finish(call) for call in calls]
        except BaseException:
            for call in calls:
                call.cancel()
            raise


class RustImageProcessor:
    """Runs operations on images, with a configuration: `denoise_strength`, `sharpen_amount`, and what you
    add.

    Operations: `auto_process` (a mild denoise and sharpen), `resize` (`width`, `height`), `convolve`
    (`kernel`, a name such as `"gaussian_3x3"` or a square of numbers), `denoise` (`strength`), `sharpen`
    (`amount`).
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._config = {**DEFAULTS, **(config or {})}
        self._images = 0
        self._bytes = 0
        self._errors = 0
        self._seconds = 0.0

    def process_numpy_image(
        self, image: Image, operation: str = "auto_process", params: Mapping[str, Any] | None = None
    ) -> Image:
        """One image, as `(H, W, C)`."""
        return self.process_batch_zero_copy([image], operation, params)[0]

    def process_batch_zero_copy(
        self,
        images: Iterable[Image],
        operation: str = "auto_process",
        params: Mapping[str, Any] | None = None,
    ) -> list[Image]:
        """Every image, in order; the inputs are read where they are."""
        images = list(images)
        begin = time.perf_counter()
        try:
            results = _process(images, operation, params, self._config)
        except Exception:
            self._errors += 1
            raise
        finally:
            self._seconds += time.perf_counter() - begin
        self._images += len(results)
        self._bytes += sum(image.nbytes for image in images)
        return results

    def get_stats(self) -> dict[str, int | float]:
        """What this processor did: `images_processed`, `bytes_processed`, `errors` and `total_seconds`."""
        return {
            "images_processed": self._images,
            "bytes_processed": self._bytes,
            "errors": self._errors,
            "total_seconds": self._seconds,
        }

    def update_config(self, key: str, value: Any) -> None:
        """Sets one key. Keys that mean nothing here are kept for the caller."""
        self._config[key] = value

    def get_config(self) -> dict[str, Any]:
        """A copy of the configuration."""
        return dict(self._config)

    def __repr__(self) -> str:
        return f"<RustImageProcessor {self._images} images, {self._config}>"


def process_image_batch(
    images: Iterable[Image],
    config: Mapping[str, Any] | None = None,
    operation: str = "auto_process",
    params: Mapping[str, Any] | None = None,
) -> list[Image]:
    """`RustImageProcessor(config).process_batch_zero_copy(images, operation, params)`."""
    return RustImageProcessor(config).process_batch_zero_copy(images, operation, params)


def extract_dominant_colors(image: Image, num_colors: int = 5) -> list[tuple[int, int, int]]:
    """At most `num_colors` colours as `(r, g, b)`, the most frequent first."""
    with outside_loop():
        return shared().images.dominant_colors(image, num_colors).result()


def calculate_edge_density(image: Image) -> float:
    """The share of pixels that lie on an edge, 0 to 1."""
    with outside_loop():
        return shared().images.edge_density(image).result()


def analyze_texture(image: Image) -> Texture:
    """`mean`, `std_dev` (of gray, 0 to 255), `entropy` (bits) and `edge_density`."""
    with outside_loop():
        return shared().images.texture(image).result()


def analyze_spatial_layout(image: Image) -> SpatialLayout:
    """`width`, `height`, `channels`, `aspect_ratio`, `center_brightness` and `edge_density`."""
    with outside_loop():
        return shared().images.spatial_layout(image).result()
