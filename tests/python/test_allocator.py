"""What the allocator and the system say of memory: in the program, in the snapshot, at the endpoint and in
`doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request

import ironcliw
import numpy as np
import pytest
from ironcliw import _native, types

MIB = 1 << 20
COUNTS = [name for name, kind in types.AllocatorStats.__annotations__.items() if "int" in str(kind)]

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells less")


def test_it_says_what_its_type_says() -> None:
    stats = ironcliw.allocator_stats()
    assert stats.keys() == types.AllocatorStats.__annotations__.keys()
    assert stats["name"] == _native._build_info()["allocator"]
    for name in COUNTS:
        value = stats[name]  # type: ignore[literal-required]
        assert value is None or (isinstance(value, int) and value >= 0), name


def test_mimalloc_tells_what_it_holds_and_its_version() -> None:
    stats = ironcliw.allocator_stats()
    if stats["name"] != "mimalloc":
        pytest.skip("this build has the system's allocator")
    version = (stats["version"] or "").split(".")
    assert len(version) == 3 and all(part.isdecimal() for part in version)
    committed, peak, reserved = (
        stats["committed_bytes"],
        stats["committed_peak_bytes"],
        stats["reserved_bytes"],
    )
    assert committed is not None and peak is not None and reserved is not None
    assert 0 < committed <= peak <= reserved
    assert stats["details"]["pages"]["current"] > 0


def test_what_rust_code_holds_is_in_it() -> None:
    def committed() -> int:
        value = ironcliw.allocator_stats()["committed_bytes"]
        if value is None:
            pytest.skip("this allocator does not tell")
        return value

    with ironcliw.Runtime(memory_limit=256 * MIB) as rt:
        before = committed()
        # Small enough to come from the allocator, and more than it can have had idle.
        held = [rt.pool.try_allocate(64 << 10) for _ in range(128 * 16)]
        after = committed()
        # What it had idle before is in both figures.
        assert after - before > 64 * MIB
        del held


@linux
def test_what_python_holds_is_resident() -> None:
    before = ironcliw.allocator_stats()
    held = np.ones(128 * MIB, np.uint8)
    after = ironcliw.allocator_stats()
    assert before["resident_bytes"] is not None and after["resident_bytes"] is not None
    assert after["resident_bytes"] - before["resident_bytes"] > 100 * MIB
    assert after["resident_peak_bytes"] is not None
    assert after["resident_peak_bytes"] >= after["resident_bytes"] - MIB
    assert before["page_faults"] is not None and after["page_faults"] is not None
    # With huge pages a fault brings 2 MiB.
    assert after["page_faults"] - before["page_faults"] >= 32
    assert held[-1] == 1


def test_asking_disturbs_nobody(rt: ironcliw.Runtime) -> None:
    """Threads that allocate, threads that ask, threads that end: nothing is torn, nothing hangs."""
    wrong: list[object] = []

    def work() -> None:
        try:
            for size in range(1, 200):
                with rt.pool.try_allocate(size * 64):
                    stats = ironcliw.allocator_stats()
                    if stats.keys() != types.AllocatorStats.__annotations__.keys():
                        wrong.append(stats)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_snapshot_and_the_endpoint_have_it() -> None:
    with ironcliw.Runtime(endpoint="127.0.0.1:0") as rt:
        name = ironcliw.allocator_stats()["name"]
        assert rt.snapshot()["allocator"]["name"] == name
        with urllib.request.urlopen(f"{rt.endpoint_url}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        with urllib.request.urlopen(f"{rt.endpoint_url}/api/v1/snapshot", timeout=10) as answer:
            shown = json.load(answer)
    assert f'ironcliw_allocator_info{{name="{name}"' in metrics
    told = {line.split()[0] for line in metrics.splitlines() if line.startswith("ironcliw_allocator_")}
    if sys.platform == "linux":
        assert {"ironcliw_allocator_resident_bytes", "ironcliw_allocator_page_faults_total"} <= told
    if name == "mimalloc":
        assert {"ironcliw_allocator_committed_bytes", "ironcliw_allocator_purged_bytes_total"} <= told
    assert name in json.dumps(shown)


def test_doctor_says_which_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ironcliw", "doctor", "--json"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    stats = ironcliw.allocator_stats()
    assert told["build"]["allocator"].startswith(stats["name"])
    assert (stats["version"] or "") in told["build"]["allocator"]
    assert sys.platform != "linux" or told["memory"]["resident_bytes"] > 0
