"""The pictures of the main job: where they come from, and which part of each is held out.

A picture is divided into a grid of cells about as large as a tile. One cell in five is held out, a chess
knight's move from the next. Training tiles are cut anywhere that touches no held-out cell, test tiles only
inside of one: so they share no pixel, and yet the held-out part is typical of its picture.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .console import Complaint

Image = npt.NDArray[np.uint8]

PICTURES = {
    "skimage": (
        "data",
        "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png "
        "grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png retina.jpg "
        "rocket.jpg text.png",
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}
"""Photographs and scanned pages, by the package that ships them; logos, masks and phantoms are left out."""

SUFFIXES = {".jpg", ".jpeg", ".png"}

FEWEST, MOST = 2, 64
"""Pictures in a folder: one is nothing to tell apart, and the training time grows with their number."""

CELL = 112
"""Pixels of a cell's side in a small picture; in a large one, an eighth of its shorter side."""

SMALLEST = 64
"""Pixels of the shorter side of a picture that still has two rows of cells worth looking at."""


@dataclass(frozen=True)
class Window:
    """A square part of a picture."""

    top: int
    left: int
    side: int

    def of(self, image: Image) -> Image:
        """A view of it: no pixel is copied."""
        return image[self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True)
class Grid:
    """How a picture of this size is divided."""

    rows: int
    columns: int
    cell_height: int
    cell_width: int

    @classmethod
    def over(cls, height: int, width: int) -> Grid:
        cell = max(CELL, min(height, width) // 8)
        rows, columns = max(2, height // cell), max(2, width // cell)
        return cls(rows, columns, height // rows, width // columns)

    @property
    def side(self) -> int:
        """Pixels of the largest square tile that fits into a cell."""
        return min(self.cell_height, self.cell_width)

    def held_out_cells(self) -> list[tuple[int, int]]:
        cells = ((row, column) for row in range(self.rows) for column in range(self.columns))
        return [(row, column) for row, column in cells if (2 * row + column) % 5 == 1]

    def held_out_window(self, rng: np.random.Generator) -> Window:
        """A tile inside of a held-out cell."""
        cells = self.held_out_cells()
        row, column = cells[rng.integers(len(cells))]
        top = row * self.cell_height + int(rng.integers(self.cell_height - self.side + 1))
        left = column * self.cell_width + int(rng.integers(self.cell_width - self.side + 1))
        return Window(top, left, self.side)

    def training_window(self, rng: np.random.Generator) -> Window:
        """A tile of 70 % to 100 % of the largest side that touches no held-out cell."""
        side = int(self.side * rng.uniform(0.7, 1.0))
        height, width = self.rows * self.cell_height, self.columns * self.cell_width
        while True:  # The cell at the top left is free, so a place is found sooner or later.
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            if not any(self._touches(cell, top, left, side) for cell in self.held_out_cells()):
                return Window(top, left, side)

    def _touches(self, cell: tuple[int, int], top: int, left: int, side: int) -> bool:
        above, before = cell[0] * self.cell_height, cell[1] * self.cell_width
        return (
            top < above + self.cell_height
            and top + side > above
            and left < before + self.cell_width
            and left + side > before
        )


@dataclass(frozen=True)
class Picture:
    """A file, encoded as it is on the disk."""

    name: str
    data: bytes


def find_pictures(folder: Path | None) -> list[Picture]:
    """The pictures of a folder, or those that the demo's packages ship."""
    paths = shipped() if folder is None else in_folder(folder)
    try:
        return [Picture(path.name, path.read_bytes()) for path in paths]
    except OSError as error:
        raise Complaint(f"{error.filename}: {error.strerror}") from error


def shipped() -> list[Path]:
    """Paths of `PICTURES`; the packages are looked up but not imported."""
    paths = []
    for package, (folder, names) in PICTURES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise Complaint(
                "the pictures of the demo are not installed: pip install 'ironcliw[demo]', "
                "or name a folder with some of your own: ironcliw run DIR"
            )
        paths += [Path(spec.origin).parent / folder / name for name in names.split()]
    return [path for path in paths if path.exists()]


def in_folder(folder: Path) -> list[Path]:
    """Its JPEG and PNG files by name."""
    if not folder.is_dir():
        raise Complaint(f"{folder} is not a folder")
    try:
        paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise Complaint(f"{folder}: {error.strerror}") from error
    if len(paths) < FEWEST:
        raise Complaint(f"{folder} holds {len(paths)} JPEG or PNG files, and at least {FEWEST} are needed")
    if len(paths) > MOST:
        print(f"{folder} holds {len(paths)} pictures: taking the first {MOST} by name")
    return paths[:MOST]
