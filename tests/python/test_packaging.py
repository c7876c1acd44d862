"""The package as it is installed: quiet under every warning, typed, and with all that it needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import ironcliw
import pytest
from ironcliw import _native

ROOT = Path(__file__).resolve().parent.parent.parent

USE = """
import asyncio, threading
import numpy as np
import ironcliw, ironcliw.errors, ironcliw.testing, ironcliw.types, ironcliw.cli, jarvis_rust_core

image = np.zeros((48, 64, 3), np.uint8)

async def use():
    # A runtime is made on the loop here; that this takes a while is not what is looked for.
    asyncio.get_running_loop().slow_callback_duration = 30
    async with ironcliw.Runtime(endpoint="127.0.0.1:0") as rt:
        small = await rt.images.resize(image, (8, 6))
        both = await asyncio.gather(rt.images.encode(small, "png"), rt.scheduler.run(pow, 2, 10))
        assert both[1] == 1024 and (await rt.images.decode(both[0])).shape == (6, 8, 3)
        assert await rt.scheduler.map(str, range(3), progress=lambda *_: None) == ["0", "1", "2"]
        model = await rt.inference.load(ironcliw.Model().linear(np.ones((4, 8), np.float32)))
        assert (await model(np.ones((2, 8), np.float32))).shape == (2, 4)
        with rt.pool.try_allocate(1000) as buffer: np.asarray(buffer)[:] = 1
        call = rt.images.denoise(image, 0.5); call.cancel()
        task = asyncio.create_task(rt.ping()); await task
        rt.snapshot(); repr(rt)

asyncio.run(use())
jarvis_rust_core.RustImageProcessor().process_numpy_image(image)
"""


@pytest.mark.parametrize(
    "program", ["import ironcliw, jarvis_rust_core", "import ironcliw; rt = ironcliw.Runtime()", USE]
)
def test_it_is_quiet_in_development_mode_with_warnings_as_errors(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_versions_agree() -> None:
    assert importlib.metadata.version("ironcliw") == ironcliw.__version__ == _native.__version__


@pytest.mark.parametrize("package", ["ironcliw", "jarvis_rust_core"])
def test_a_type_checker_finds_the_types(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    assert (folder / "py.typed").exists()
    assert package != "ironcliw" or (folder / "_native.pyi").exists()


def test_the_module_says_how_it_was_built() -> None:
    built = _native._build_info()
    assert built["rustc"].startswith("rustc ") and built["profile"] in ("release", "debug")
    assert "python-bindings" in built["features"]
    assert built["allocator"] in ("mimalloc", "system")
    suffix = Path(_native.__file__ or "").name
    assert built["abi3"] == ("abi3" in suffix or suffix.endswith(".pyd"))


def test_pyright_finds_nothing() -> None:
    pytest.importorskip("basedpyright")
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--project", str(ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_is_built_from_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11"
    locked = {package["name"] for package in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    assert {"ironcliw", "ironcliw-actors", "ironcliw-python", "pyo3", "numpy"} <= locked
