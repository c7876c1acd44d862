"""The command line: the main job on small folders, and what it says when it cannot run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ironcliw.cli import classifier, main, network, pictures
from PIL import Image


def texture(seed: int, height: int = 260, width: int = 330) -> Image.Image:
    """A picture that is easy to tell from another: its own colour and its own waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.sin(x / rng.uniform(3, 20) + y / rng.uniform(3, 20))[:, :, None]
    pixels = rng.uniform(60, 190, 3) + 40 * waves + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IRONCLIW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "RECIPE", classifier.Recipe(tiles_per_picture=64, epochs=6, batch=16))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    return pictures


def test_the_main_job_accounts_for_every_frame(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        texture(seed).save(folder / f"{seed}.{'png' if seed else 'jpg'}")
    assert main(["run", str(folder), "--frames", "90", "--in-flight", "16", "--workers", "2"]) == 0
    first = capsys.readouterr().out
    assert re.search(r"^training", first, re.M)
    assert main(["run", str(folder), "--frames", "30"]) == 0
    second = capsys.readouterr().out
    assert "classifier: from" in second and "training" not in second
    for pattern in (
        r"frames +90 of 90$",
        r"frames/s +\d+",
        r"latency p50 / p99 +[\d.]+ / [\d.]+ ms",
        r"loop lag p99 / max +[\d.]+ / [\d.]+ ms",
        r"float32 agreement +(100|9\d)\.\d%",
        r"restarts +1$",
        r"retries +\d+$",
        r"buffers outstanding +0$",
        r"leaks +0$",
    ):
        assert re.search(pattern, first, re.M), pattern
    accuracy = re.search(r"accuracy +([\d.]+)%", first)
    assert accuracy is not None and float(accuracy[1]) > 90


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command that cannot run writes."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("ironcliw: ") and err.count("\n") == 1
    return err


def test_it_says_what_is_wrong_with_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a folder" in complaint(capsys, "run", str(folder / "nowhere"))
    assert "holds 0" in complaint(capsys, "run", str(folder))
    texture(1).save(folder / "good.png")
    (folder / "notes.txt").write_text("no picture")
    assert "holds 1" in complaint(capsys, "run", str(folder))
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert "bad.png" in complaint(capsys, "run", str(folder))
    texture(2, 30, 30).save(folder / "bad.png")
    assert "bad.png is 30x30" in complaint(capsys, "run", str(folder))


def test_it_says_which_packages_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "PICTURES", {"no_such_package_here": ("data", "a.png")})
    assert "pip install 'ironcliw[demo]'" in complaint(capsys, "run")


@pytest.mark.parametrize("arguments", [["run", "--frames", "0"], ["run", "--in-flight", "x"], ["fly"], []])
def test_bad_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err


def test_an_endpoint_that_cannot_be_served_is_a_complaint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        texture(seed).save(folder / f"{seed}.png")
    complaint(capsys, "run", str(folder), "--endpoint", "203.0.113.1:80")


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ironcliw", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("ironcliw ")


# The parts


@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (172, 448), (191, 384), (512, 512), (3000, 4000), (64, 5000)]
)
def test_training_tiles_and_test_tiles_share_no_pixel(height: int, width: int) -> None:
    grid, rng = pictures.Grid.over(height, width), np.random.default_rng(0)
    seen = np.zeros((height, width), np.uint8)
    for _ in range(60):
        window = grid.training_window(rng)
        assert window.of(seen).shape == (window.side, window.side)
        window.of(seen)[:] = 1
    for _ in range(60):
        window = grid.held_out_window(rng)
        assert window.of(seen).shape == (window.side, window.side)
        assert not window.of(seen).any()


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    net = network.Network([3, 4, 5], 3, rng)
    x, labels = rng.normal(size=(6, 3, 8, 8)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2])

    def loss() -> float:
        return network.cross_entropy(net.forward(x, training=True), labels, 0.1)[0]

    _, grad = network.cross_entropy(net.forward(x, training=True), labels, 0.1)
    for parameter, gradient in zip(net.parameters, net.backward(grad), strict=True):
        direction = gradient / np.linalg.norm(gradient)
        step = np.float32(3e-3)
        parameter += step * direction
        above = loss()
        parameter -= 2 * step * direction
        below = loss()
        parameter += step * direction
        assert (above - below) / (2 * step) == pytest.approx(np.linalg.norm(gradient), rel=0.05)


def test_a_damaged_cache_is_trained_anew(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    assert classifier.load(path) is None
    exported = network.Network(list(classifier.RECIPE.channels), 3, np.random.default_rng(0)).export()
    classifier.save(path, exported)
    loaded = classifier.load(path)
    assert loaded is not None and (loaded.linear == exported.linear).all()
    path.write_bytes(path.read_bytes()[:200])
    assert classifier.load(path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.npz"]
