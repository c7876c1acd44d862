"""The guide's snippets run word for word, one after the other, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


def snippets() -> list[tuple[str, str]]:
    """Each Python snippet with the heading above it."""
    found, heading = [], ""
    pattern = re.compile(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", re.M | re.S)
    for part in pattern.finditer(GUIDE.read_text(encoding="utf-8")):
        if part[1]:
            heading = part[1]
        elif part[2] == "python":
            found.append((heading, part[3]))
    return found


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the guide takes as given; names that a snippet binds are there for the next."""
    images = np.random.default_rng(1).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
    return {"img1": images[0], "img2": images[1], "img3": images[2]}


def test_the_guide_has_its_snippets() -> None:
    assert [heading for heading, _ in snippets()] == [
        "Image Processing",
        "Memory Management",
        "Quantized Inference",
        "Runtime Management",
    ]


@pytest.mark.parametrize(("heading", "code"), snippets(), ids=[heading for heading, _ in snippets()])
def test_snippet(heading: str, code: str, names: dict[str, Any]) -> None:
    if heading != "Image Processing":
        exec("import jarvis_rust_core as jrc\nimport numpy as np", names)
    exec(compile(code, f"guide: {heading}", "exec"), names)
    check = CHECKS.get(heading)
    if check is not None:
        check(names)


def images(names: dict[str, Any]) -> None:
    assert names["processed"].shape == names["image"].shape
    assert [result.shape for result in names["batch_results"]] == [(48, 64, 3)] * 3


def memory(names: dict[str, Any]) -> None:
    assert names["buffer"].size() == 1024 * 1024
    assert names["buffer_id"] == names["tracked_buffer"].id()
    assert names["leaks"] == []
    # Merely dropping it would be the leak that the pool watches for.
    names["tracked_buffer"].release()


def inference(names: dict[str, Any]) -> None:
    assert names["quantized"].dtype == np.int8 and len(names["quantized"]) == names["weights"].size
    assert names["model"].infer(np.zeros((2, 256), np.float32)).shape == (2, 128)


def runtime(names: dict[str, Any]) -> None:
    assert names["stats"]["active_workers"] >= 1


CHECKS = {
    "Image Processing": images,
    "Memory Management": memory,
    "Quantized Inference": inference,
    "Runtime Management": runtime,
}
