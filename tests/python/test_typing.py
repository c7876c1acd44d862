"""The stubs say what the native module has, and the package passes a strict type checker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ironcliw
import pytest

pytest.importorskip("mypy")


def run(*arguments: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "MYPY_CACHE_DIR": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stubs_are_those_of_the_native_module(tmp_path: Path) -> None:
    allowed = Path(__file__).with_name("stubtest.allow")
    # An entry may be for other versions of Python.
    run(
        "mypy.stubtest",
        "ironcliw._native",
        "--allowlist",
        str(allowed),
        "--ignore-unused-allowlist",
        folder=tmp_path,
    )


def test_the_packages_pass_a_strict_type_checker(tmp_path: Path) -> None:
    run("mypy", "--strict", "-p", "ironcliw", "-p", "jarvis_rust_core", folder=tmp_path)


def test_every_public_name_is_exported() -> None:
    for name in ironcliw.__all__:
        assert getattr(ironcliw, name) is not None
    assert issubclass(ironcliw.Error, Exception)
