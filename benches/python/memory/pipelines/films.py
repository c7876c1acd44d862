"""The frames: JPEG files of 1920x1080 in a folder, each of another picture."""

from __future__ import annotations

from pathlib import Path

import ironcliw
import numpy as np
import numpy.typing as npt
from ironcliw.cli.console import Complaint
from ironcliw.cli.pictures import shipped

Image = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 1080, 1920
FILMS = 8
QUALITY = 90
# The least side of a picture that is worth enlarging.
LEAST = 400
# What a camera adds, in gray levels: without it an enlarged photograph is too easy to decode.
GRAIN = 3.0
# Of a generated picture: cells across at each of its scales.
SCALES = (4, 9, 21, 55, 144)


def write_films(rt: ironcliw.Runtime, folder: Path) -> None:
    """Photographs where the demo's packages are installed, else generated pictures."""
    random = np.random.default_rng(11)
    pictures = [picture for path in photographs() if (picture := read(rt, path)) is not None][:FILMS]
    while len(pictures) < FILMS:
        pictures.append(generated(rt, random))
    for number, picture in enumerate(pictures):
        frame = rt.images.resize(cropped(picture), (WIDTH, HEIGHT)).result()
        grainy = frame + random.normal(0.0, GRAIN, frame.shape).astype(np.float32)
        frame = np.clip(grainy, 0, 255).astype(np.uint8)
        (folder / f"{number}.jpg").write_bytes(rt.images.encode(frame, "jpeg", QUALITY).result())


def photographs() -> list[Path]:
    try:
        return shipped()
    except Complaint:
        return []


def read(rt: ironcliw.Runtime, path: Path) -> Image | None:
    """The picture, if it is large enough and has colours."""
    picture = rt.images.decode(path.read_bytes()).result()
    large = min(picture.shape[:2]) >= LEAST
    colourful = np.any(picture[::16, ::16, 0] != picture[::16, ::16, 1])
    return picture if large and colourful else None


def cropped(picture: Image) -> Image:
    """Its middle, of the frame's proportions."""
    height, width = picture.shape[:2]
    across, down = min(width, height * WIDTH // HEIGHT), min(height, width * HEIGHT // WIDTH)
    top, left = (height - down) // 2, (width - across) // 2
    return picture[top : top + down, left : left + across]


def generated(rt: ironcliw.Runtime, random: np.random.Generator) -> Image:
    """Clouds: noise of many scales, the coarse ones strongest, as in a photograph."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for cells in SCALES:
        noise = random.integers(0, 256, (cells, cells * 2, 3), np.uint8)
        picture += rt.images.resize(noise, (WIDTH, HEIGHT)).result().astype(np.float32) / cells
    return np.asarray(picture * (255 / picture.max()), np.uint8)
