"""What every test file uses: a runtime that must end with nothing outstanding, and pictures that do not
change."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Callable, Iterator

import ironcliw
import numpy as np
import pytest
from PIL import Image


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes true within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def active(rt: ironcliw.Runtime) -> int:
    """Leases that were not given back."""
    return rt.pool.stats()["total_active"]


@pytest.fixture
def rt() -> Iterator[ironcliw.Runtime]:
    """A runtime with two image workers. At the end no buffer may be outstanding, and none may have leaked."""
    runtime = ironcliw.Runtime(image_workers=2)
    yield runtime
    gc.collect()
    assert eventually(lambda: active(runtime) == 0), runtime.leaks.counts()
    assert runtime.leaks.check().result(timeout=10) == []
    runtime.close().result(timeout=15)


def photograph(height: int = 120, width: int = 160) -> np.ndarray:
    """A smooth RGB picture with some noise: like a photograph to a codec, and the same every time."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / 17 + k) * 60 + np.cos(y / 23 - k) * 50 + 128 for k in range(3)]
    return np.clip(np.stack(waves, axis=2) + rng.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def photo() -> np.ndarray:
    return photograph()


def encoded(image: np.ndarray, format: str, **options: object) -> bytes:
    """By Pillow."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format, **options)
    return out.getvalue()


def decoded(data: bytes, mode: str = "RGB") -> np.ndarray:
    """By Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))
