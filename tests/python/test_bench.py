"""The Python benchmarks: they measure every row, and leave a report that other programs can read."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benches" / "python"
ROWS = [
    "64 in flight",
    "1024 in flight",
    "in async def tasks, 64 in flight",
    "sequential, median",
    "result already there",
    "one awaitable for 10,000 requests",
    "CPU, 64 in flight",
    "loop lag beside saturated workers, p99",
    "job rate beside it",
    "6.2 MB frame in, the submit",
    "6.2 MB result out, taking it",
    "6.2 MB result out, page faults",
    "4 loops in 4 threads",
    "4 loops in 4 threads, by one loop's",
]
MEMORY_ROWS = [
    "6.2 MB output, one, filled",
    "6.2 MB output, one, page faults",
    "6.2 MB output, eight at a time, filled",
    "6.2 MB output, eight at a time, page faults",
    "720p resized to 1080p",
    "720p resized to 1080p, page faults",
    "allocate+release, 64 B",
    "allocate+release, 6.2 MB",
    "tracking at simple, above disabled",
    "tracking at paranoid, 16 frames, above disabled",
    "1080p pipeline, 32 in flight, held at most",
    "1080p pipeline, 32 in flight, at the start",
    "1080p pipeline, 32 in flight",
    "1080p pipeline, 32 in flight, page faults",
]

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the benchmarks are not part of this checkout")


def bench(folder: Path, *arguments: str, area: str = "awaits") -> subprocess.CompletedProcess[str]:
    """Runs one in `folder`, where it leaves its report."""
    return subprocess.run(
        [sys.executable, "-m", area, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(
    importlib.util.find_spec("ironcliw_peers") is None,
    reason="the peers' extension is not built: make bench-await",
)
def test_it_writes_a_row_for_each_system_and_a_goal_for_each_comparison(tmp_path: Path) -> None:
    ran = bench(tmp_path, "--rounds", "1", "--seconds", "0.02", "--without", "ray", "--loop", "asyncio")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "target" / "bench" / "await.json").read_text())
    assert list(report) == ["machine", "rows", "goals"]
    assert {"cpu", "cores", "system", "python"} <= report["machine"].keys()
    assert {row["name"] for row in report["rows"]} >= {f"{row}, asyncio" for row in ROWS}
    for row in report["rows"]:
        assert row.keys() == {"name", "system", "median", "min", "max", "unit"}
        assert 0 <= row["min"] <= row["median"] <= row["max"]
    systems = {row["system"] for row in report["rows"] if row["name"] == "64 in flight, asyncio"}
    assert {
        "ironcliw",
        "future_into_py (thread)",
        "future_into_py (task)",
        "to_thread",
        "executor",
    } <= systems
    assert report["goals"]
    values = {(row["name"], row["system"]): row["median"] for row in report["rows"]}
    for goal in report["goals"]:
        assert goal.keys() == {"name", "ours", "peer", "peer_median", "ratio", "must"}
        row, _, peer = goal["name"].rpartition("/")
        assert peer == goal["peer"] and goal["ours"] == values[row, "ironcliw"]
        assert peer == "limit" or goal["peer_median"] == values[row, peer]
        assert math.isfinite(goal["ratio"]) and goal["must"] > 0
        assert f"{row}, " in ran.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process tells what it held at most")
def test_memory_has_every_row_beside_those_of_the_rust_half(tmp_path: Path) -> None:
    rust = {"name": "allocate+release, 1 KiB", "system": "ironcliw", "median": 9.0, "min": 9.0, "max": 9.0}
    stale = {**rust, "name": MEMORY_ROWS[0], "system": "gone"}
    goal = {"name": f"{rust['name']}/limit", "ours": 9.0, "peer": "limit", "peer_median": 12.0}
    path = tmp_path / "target" / "bench" / "memory.json"
    path.parent.mkdir(parents=True)
    earlier = {
        "machine": {"cpu": "old"},
        "rows": [rust, stale],
        "goals": [{**goal, "ratio": 1.3, "must": 1.0}],
    }
    path.write_text(json.dumps(earlier))
    ran = bench(tmp_path, "--rounds", "1", "--seconds", "0.01", area="memory")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(path.read_text())
    assert list(report) == ["machine", "rows", "goals"] and report["machine"]["cpu"] != "old"
    assert rust in report["rows"] and stale not in report["rows"]
    values = {(row["name"], row["system"]): row["median"] for row in report["rows"]}
    assert {name for name, _ in values} >= {*MEMORY_ROWS, rust["name"]}
    for row in MEMORY_ROWS:
        assert values[row, "ironcliw"] >= 0 and f"{row}, " in ran.stdout
    assert values["1080p pipeline, 32 in flight, held at most", "ironcliw (bounded)"] > 0
    assert {goal["name"] for goal in report["goals"]} >= {
        f"{rust['name']}/limit",
        "6.2 MB output, one, page faults/limit",
        "tracking at paranoid, 16 frames, above disabled/limit",
    }
    # One table of all goals, whichever half measured them.
    goals = ran.stdout.partition("\nGoals")[2]
    assert rust["name"] in goals and MEMORY_ROWS[1] in goals


def test_a_memory_peer_that_is_not_there_is_named_with_the_reason(tmp_path: Path) -> None:
    # Where the package is installed, nobody finds it.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'pyarrow' else find(name, *rest)\n"
    )
    arguments = ("--rounds", "1", "--seconds", "0.01", "--only", "release, 64 B")
    ran = subprocess.run(
        [sys.executable, "-m", "memory", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(FOLDER)])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert "not measured: pyarrow is not installed" in ran.stdout


def test_a_memory_row_and_a_system_can_be_left_out(tmp_path: Path) -> None:
    arguments = ("--rounds", "1", "--seconds", "0.01", "--only", "release, 64 B", "--without", "bytearray")
    ran = bench(tmp_path, *arguments, area="memory")
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "target" / "bench" / "memory.json").read_text())
    assert {row["name"] for row in report["rows"]} == {"allocate+release, 64 B"}
    systems = {row["system"] for row in report["rows"]}
    assert systems >= {"ironcliw", "numpy.empty"} and "bytearray" not in systems


def test_memory_lists_its_rows_and_measures_none(tmp_path: Path) -> None:
    ran = bench(tmp_path, "--list", area="memory")
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.splitlines()) >= set(MEMORY_ROWS)
    assert not (tmp_path / "target").exists()


def test_it_lists_its_rows_and_measures_none(tmp_path: Path) -> None:
    ran = bench(tmp_path, "--list", "--loop", "asyncio")
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.splitlines()) >= {f"{row}, asyncio" for row in ROWS}
    one = bench(tmp_path, "--list", "--loop", "asyncio", "--only", "1024")
    assert one.stdout == "1024 in flight, asyncio\n"
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "--rounds"),
        (["--seconds", "inf"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--loop", "trio"], "--loop"),
        (["--list", "--only", "no such row"], "no such row"),
        (["--list", "--without", "ray,rey"], "called rey\n"),
    ],
)
def test_it_says_what_is_wrong_with_an_option(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    ran = bench(tmp_path, *arguments)
    assert ran.returncode == 2
    assert complaint in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "--rounds"),
        (["--loop", "asyncio"], "--loop"),
        (["--list", "--only", "no such row"], "no such row"),
        (["--list", "--without", "pillow,pilow"], "called pilow\n"),
    ],
)
def test_memory_says_what_is_wrong_with_an_option(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    ran = bench(tmp_path, *arguments, area="memory")
    assert ran.returncode == 2
    assert complaint in ran.stderr and "Traceback" not in ran.stderr


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import harness.report

    yield harness
    for name in [name for name in sys.modules if name.partition(".")[0] == "harness"]:
        del sys.modules[name]


def test_a_ratio_is_above_one_where_ours_is_better(harness: ModuleType) -> None:
    rounds, report = harness.rounds, harness.report
    higher, lower = rounds.Better.HIGHER, rounds.Better.LOWER

    def judged(better: object, goal: object, **values: float) -> object:
        outcome = rounds.Outcome(rounds.Row("row", "unit", better, [goal]), {})
        outcome.values = {system: [value] for system, value in values.items()}
        return report.judge(outcome, "ours")

    assert judged(higher, rounds.Against("peer", 3), ours=8.0, peer=2.0) == [
        report.Judged("peer", 2.0, 4.0, 3)
    ]
    assert judged(lower, rounds.Against("peer", 3), ours=8.0, peer=2.0) == [
        report.Judged("peer", 2.0, 0.25, 3)
    ]
    assert judged(lower, rounds.Limit(1.0), ours=0.5) == [report.Judged("limit", 1.0, 2.0, 1.0)]
    assert judged(higher, rounds.Limit(5.0), ours=10.0) == [report.Judged("limit", 5.0, 2.0, 1.0)]
    # No page fault is what is allowed: none is met, one is not.
    assert judged(lower, rounds.Limit(0.0), ours=0.0) == [report.Judged("limit", 0.0, 1.0, 1.0)]
    assert judged(lower, rounds.Limit(0.0), ours=1.0) == [report.Judged("limit", 0.0, 0.0, 1.0)]
    # A peer that is not there is no goal.
    assert judged(higher, rounds.Against("peer", 3), ours=8.0) == []
