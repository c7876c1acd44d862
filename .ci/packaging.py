"""Makes the source distribution, and tests what is in `dist/` where a user would: in empty folders and fresh
environments.

    packaging.py sdist          dist/*.tar.gz, with a lock file that is exact for what is in it
    packaging.py test-sdist     builds it in an empty folder with --locked, and uses what came out
    packaging.py test-wheel     installs the wheel for every CPython that there is and runs the tests

`make` calls it with the project's own environment, which has maturin.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
OLDEST = (3, 11)

TEST_NEEDS = ["pytest>=8", "pillow>=11", "uvloop>=0.21; sys_platform != 'win32'"]
"""What the tests of an installed package need."""

LEFT_OUT = ["test_typing.py", "test_cli.py", "test_packaging.py", "test_bench.py"]
"""Types and style are the sources', which `make lint` checks; the demonstration needs scikit-learn."""

SMOKE = """
import asyncio, ironcliw, jarvis_rust_core, numpy as np
async def main():
    async with ironcliw.Runtime() as rt:
        frame = np.zeros((48, 64, 3), np.uint8)
        assert (await rt.images.resize(frame, (8, 6))).shape == (6, 8, 3)
        assert await rt.scheduler.map(abs, [-1, -2]) == [1, 2]
        print(ironcliw.__version__, ironcliw.__file__, rt.status())
asyncio.run(main())
"""

ASK = """
import ensurepip, sys, sysconfig, venv
print(*sys.version_info[:2], sys.implementation.name, sysconfig.get_config_var("Py_GIL_DISABLED") or 0)
"""


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, quiet: bool = False) -> None:
    print("$", *command, flush=True)
    output = subprocess.DEVNULL if quiet else None
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=env, stdout=output)


def newest(pattern: str) -> Path:
    found = sorted(DIST.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        sys.exit(f"there is no dist/{pattern}: make it first")
    return found[-1]


def unpacked(archive: Path, folder: Path) -> Path:
    """The project's folder in it."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project


def maturin() -> str:
    beside = Path(sys.executable).with_name("maturin")
    return str(beside) if beside.exists() else "maturin"


def sdist() -> None:
    """maturin leaves the workspace's other members out, and then the lock file is not exact: `cargo --locked`
    would refuse it. So what only they need is taken out of it here; every version stays.
    """
    run(maturin(), "sdist", "--out", DIST, cwd=ROOT)
    archive = newest("ironcliw-*.tar.gz")
    with tempfile.TemporaryDirectory() as name:
        project = unpacked(archive, Path(name))
        lock = project / "Cargo.lock"
        before = packages(lock)
        # Without network nothing can be updated, only left out.
        run("cargo", "metadata", "--format-version", "1", "--offline", cwd=project, quiet=True)
        after = packages(lock)
        if added := after - before:
            sys.exit(f"the lock file changed by more than what is left out: {sorted(added)}")
        repack(archive, Path(name))
    print(f"{archive.relative_to(ROOT)}: {len(after)} of {len(before)} locked packages")


def packages(lock: Path) -> set[tuple[str, str, str]]:
    """Name, version and checksum of each package in a lock file."""
    locked = tomllib.loads(lock.read_text())["package"]
    return {(package["name"], package["version"], package.get("checksum", "")) for package in locked}


def repack(archive: Path, folder: Path) -> None:
    """The same members with the same metadata, and the files as they are now."""
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
    data = io.BytesIO()
    with gzip.GzipFile(fileobj=data, mode="wb", mtime=0) as packer, tarfile.open(None, "w", packer) as tar:
        for member in members:
            content = (folder / member.name).read_bytes() if member.isfile() else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive.write_bytes(data.getvalue())


def environment(python: str | Path, folder: Path, *packages: str | Path) -> Path:
    """A fresh one with these packages; its interpreter."""
    run(python, "-m", "venv", folder, cwd=ROOT)
    inner = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(inner, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages, cwd=ROOT)
    return inner


def test_sdist() -> None:
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as elsewhere:
        project = unpacked(newest("ironcliw-*.tar.gz"), Path(name))
        # Compiled dependencies are shared with the project's own builds: what is tested is the sources.
        env = {"CARGO_TARGET_DIR": str(ROOT / "target"), **os.environ}
        out = Path(elsewhere)
        build = [maturin(), "build", "--locked", "--profile", "dev", "--interpreter", sys.executable]
        run(*build, "--out", out, cwd=project, env=env)
        (wheel,) = out.glob("*.whl")
        inner = environment(sys.executable, out / "venv", wheel)
        run(inner, "-W", "error", "-c", SMOKE, cwd=out)


def interpreters() -> dict[tuple[int, int], str]:
    """Every CPython from the oldest supported one on: this one, those on the path, and pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [sys.executable, *(shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 20))]
    candidates += [str(path) for path in sorted(pyenv.glob("versions/3.*/bin/python3"))]
    found: dict[tuple[int, int], str] = {}
    for candidate in filter(None, candidates):
        # A shim of pyenv may be there and yet refuse to run.
        told = subprocess.run([candidate, "-c", ASK], capture_output=True, text=True).stdout.split()
        # A free-threaded build takes no abi3 wheel.
        if told[2:] == ["cpython", "0"] and (version := (int(told[0]), int(told[1]))) >= OLDEST:
            found.setdefault(version, candidate)
    return dict(sorted(found.items()))


def test_wheel(only: list[str]) -> None:
    wheel, failed = newest("ironcliw-*.whl"), []
    found = {f"{major}.{minor}": python for (major, minor), python in interpreters().items()}
    print(f"{wheel.name} on CPython {', '.join(found)}")
    for version, python in found.items():
        if only and version not in only:
            continue
        print(f"\n=== CPython {version}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            # Run from elsewhere, so that nothing but what was installed can be imported.
            folder = Path(name)
            inner = environment(python, folder / "venv", wheel, *TEST_NEEDS)
            run(inner, "-W", "error", "-c", SMOKE, cwd=folder)
            left_out = [f"--ignore={ROOT / 'tests/python' / file}" for file in LEFT_OUT]
            settings: list[str | Path] = [
                "-q",
                "-p",
                "no:cacheprovider",
                "-c",
                ROOT / "pyproject.toml",
                "--rootdir",
                ROOT,
            ]
            try:
                run(inner, "-m", "pytest", *settings, ROOT / "tests/python", *left_out, cwd=folder)
            except subprocess.CalledProcessError:
                failed.append(version)
    if failed:
        sys.exit(f"the tests failed on CPython {', '.join(failed)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes and tests the distributions of Ironcliw.")
    parser.add_argument("command", choices=["sdist", "test-sdist", "test-wheel"])
    parser.add_argument("--only", nargs="*", default=[], metavar="3.N", help="these versions of CPython")
    arguments = parser.parse_args()
    DIST.mkdir(exist_ok=True)
    match arguments.command:
        case "sdist":
            sdist()
        case "test-sdist":
            test_sdist()
        case _:
            test_wheel(arguments.only)


if __name__ == "__main__":
    main()
