"""`ironcliw doctor` says what it sees, warns where it would pay, and fails on nothing that is missing."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ironcliw
import pytest
from ironcliw.cli import main
from ironcliw.cli.doctor import advice, facts, in_units, machine


@pytest.fixture(scope="module")
def healthy() -> facts.Facts:
    """The facts of this machine, as they would be where all is well."""
    found = facts.gather()
    found["build"].update(assertions=False, features=["simd-accel"])
    found["cpu"].update(cores=4, allowed_cores=4, quota_cores=None, threads_to_pin=4, threads_pinned=4)
    found["memory"].update(
        allowed_bytes=8 << 30, pool_limit_bytes=4 << 30, overcommit="heuristic", pressure="Low"
    )
    found["event_loop"].update(asyncio_debug=False, python_debug_build=False)
    return found


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ironcliw", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_it_tells_a_person() -> None:
    done = run(IRONCLIW_CACHE="/nowhere")
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        ironcliw.__version__,
        "rustc",
        "allowed cores",
        "pool limit bytes",
        "uvloop",
        "/nowhere",
        "images/0",
    ):
        assert said in done.stdout, said
    assert done.stdout.splitlines()[-1] in ("all is well", "usable")


def test_it_tells_a_program() -> None:
    done = run("--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["ok"] is True and told["versions"]["ironcliw"] == ironcliw.__version__
    assert told["cpu"]["allowed_cores"] >= 1 and told["memory"]["pool_limit_bytes"] > 0
    assert {"level", "what", "advice"} >= {key for remark in told["remarks"] for key in remark}


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("build", {"assertions": True}, "debug build"),
        ("build", {"features": []}, "without SIMD"),
        ("cpu", {"allowed_cores": 1}, "one core"),
        ("cpu", {"allowed_cores": 2}, "2 of 4 cores"),
        ("cpu", {"quota_cores": 1.5}, "1.5 cores' worth"),
        ("cpu", {"threads_pinned": 1}, "3 threads could not be pinned"),
        ("memory", {"allowed_bytes": 100 << 20}, "100 MiB"),
        ("memory", {"pool_limit_bytes": 1 << 20}, "the pool holds at most 1 MiB"),
        ("memory", {"overcommit": "never"}, "promises no memory"),
        ("memory", {"pressure": "Critical"}, "critical"),
        ("event_loop", {"python_debug_build": True}, "debug build of Python"),
        ("event_loop", {"asyncio_debug": True}, "debug mode"),
    ],
)
def test_it_warns_of(healthy: facts.Facts, section: str, change: dict[str, Any], said: str) -> None:
    assert advice.remarks(healthy) == []
    changed: Any = copy.deepcopy(healthy)
    changed[section].update(change)
    (remark,) = advice.remarks(changed)
    assert said in remark.what and remark.level == "warning" and remark.advice.endswith(".")


def test_a_runtime_that_does_not_run_is_an_error_and_the_exit_code(
    healthy: facts.Facts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = copy.deepcopy(healthy)
    broken["runtime"]["status"] = "degraded"
    monkeypatch.setattr("ironcliw.cli.doctor.gather", lambda: broken)
    assert main(["doctor"]) == 1
    assert "error: the runtime is degraded" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "max 100000"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/hidden\n3:memory:/x",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "4:cpu:/", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, None),
        ({"proc/self/cgroup": "garbage\n::\n", "sys/fs/cgroup/cpu.max": "\x00"}, None),
    ],
)
def test_it_reads_the_quota_of_either_version(
    files: dict[str, str], quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert machine.cpu_quota() == quota
    assert machine.overcommit() is None and machine.huge_pages() is None


def test_it_reads_what_the_kernel_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    for name, text in {
        "proc/sys/vm/overcommit_memory": "2\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (machine.overcommit(), machine.huge_pages(), machine.control_groups()) == (
        "never",
        "madvise",
        "v2",
    )


def test_sizes_are_for_people() -> None:
    assert [in_units(n) for n in (0, 1023, 1536, 5 << 30, 3 << 50)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3072.0 TiB",
    ]
