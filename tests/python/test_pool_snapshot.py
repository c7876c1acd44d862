"""Snapshots of the pool: exact where they say so, the same after a file, and pictures that open."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import unicodedata
import urllib.request
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import eventually
from ironcliw import PoolSnapshot
from ironcliw.memory.text import table

NASTY = "<script>alert('<!--')</script>\"&;\n\x00 \u2028 ö"
"""A name that would do harm if it were taken for markup, a script or a separator."""


def document(**changes: Any) -> dict[str, Any]:
    """A snapshot of one owner that holds three leases of 1 KiB, two of them recorded, and one of 5 KiB."""
    lease = {
        "owner": "python",
        "size": 1024,
        "block_bytes": 1024,
        "bytes": 1000,
        "kind": "plain",
        "age_s": 2.5,
        "too_old": False,
        "weight": 1.5,
        "site": None,
        "task": "Task-1",
        "stack": 0,
    }
    sample = {"held_bytes": 9000, "live_bytes": 8192, "limit_bytes": 1 << 20, "pressure": "Low"}
    names = "live live_bytes idle_bytes retain_bytes high_water_bytes allocations recycled failures"
    return {
        "format": "ironcliw.pool",
        "version": 1,
        "taken_at_unix_s": 1_800_000_000.5,
        "pressure": "Low",
        "totals": {
            **dict.fromkeys(names.split(), 0),
            "live": 4,
            "live_bytes": 8192,
            "held_bytes": 9000,
            "limit_bytes": 1 << 20,
            "dropped_unreleased": 1,
        },
        "classes": [
            {
                "size": size,
                "live": live,
                "live_bytes": live * size,
                "idle_in_caches": 0,
                "idle_on_shelf": 1,
                "capacity": 1024,
                "high_water": 4,
                "allocations": 4,
                "recorded": recorded,
                "waste_bytes": 72 if recorded else None,
            }
            for size, live, recorded in ((1024, 3, 2), (5120, 1, 0))
        ],
        "owners": [
            {
                "owner": "python",
                "live": 4,
                "live_bytes": 8192,
                "allocations": 4,
                "dropped_unreleased": 1,
                "classes": [
                    {"size": 1024, "live": 3, "live_bytes": 3072, "unrecorded_bytes": 0},
                    {"size": 5120, "live": 1, "live_bytes": 5120, "unrecorded_bytes": 5120},
                ],
            }
        ],
        "tracking": {"level": "simple", "sample_every": 128, "recorded_leases": 3, "dropped_events": 0},
        "leases": [
            {**lease, "id": 1},
            {**lease, "id": 2, "site": "app.py:7", "stack": None, "too_old": True},
        ],
        "leaks": [
            {
                "kind": "dropped_unreleased",
                "owner": "python",
                "class_size": 1024,
                "equal": 1,
                "bytes": 900,
                "age_s": 0.5,
                "site": "app.py:9",
                "stack": 0,
            }
        ],
        "stacks": {
            "frames": [
                {"function": "inner", "file": "app.py", "line": 3},
                {"function": "outer", "file": "app.py", "line": 8},
                {"function": "ironcliw_actors::leak::recorder::acquired", "file": "recorder.rs", "line": 1},
                {"function": "ironcliw_actors::pool::allocate", "file": None, "line": None},
                {"function": "_PyEval_EvalFrameDefault", "file": None, "line": None},
            ],
            "calls": [[0, 1, 2, 3, 4]],
        },
        "history": [
            {**sample, "at_unix_s": 1_799_999_990.0, "owners": [["python", 4096], ["images/0", 4096]]},
            {**sample, "at_unix_s": 1_800_000_000.5, "owners": [["python", 8192]]},
        ],
        "marks": [
            {"at_unix_s": 1_799_999_995.0, "kind": "crash", "text": "images/0: panicked"},
            {"at_unix_s": 1_799_999_996.0, "kind": "pressure", "text": "Low to High"},
        ],
        **changes,
    }


def nasty() -> dict[str, Any]:
    """The same with harmful names in every place for one."""
    data = document()
    data["owners"][0]["owner"] = NASTY
    for lease in data["leases"]:
        lease |= {"owner": NASTY, "task": NASTY, "site": lease["site"] and NASTY}
    data["leaks"][0] |= {"owner": NASTY, "site": NASTY, "kind": NASTY}
    for frame in data["stacks"]["frames"][:2]:
        frame |= {"function": NASTY, "file": f"{NASTY}.py"}
    for sample in data["history"]:
        sample["owners"] = [[NASTY, 4096]]
    data["marks"][0]["text"] = NASTY
    return data


def snapshot_of(data: object) -> PoolSnapshot:
    return PoolSnapshot(json.dumps(data).encode())


def numerous(count: int) -> dict[str, Any]:
    """So many leases of two sites."""
    data = document()
    lease = data["leases"][0]
    data["leases"] = [{**lease, "id": n, "weight": 1.0, "site": f"app.py:{n % 2}"} for n in range(count)]
    held = {"size": 1024, "live": count, "live_bytes": count * 1024, "unrecorded_bytes": 0}
    data["owners"][0] |= {"live": count, "live_bytes": count * 1024, "classes": [held]}
    data["totals"] |= {"live": count, "live_bytes": count * 1024}
    return data


def nothing() -> dict[str, Any]:
    """A pool that nobody has used."""
    data = document(classes=[], owners=[], leases=[], leaks=[], marks=[])
    data["totals"] |= {"live": 0, "live_bytes": 0, "held_bytes": 0, "dropped_unreleased": 0}
    data["history"] = [{**data["history"][0], "live_bytes": 0, "held_bytes": 0, "owners": []}]
    return data


def folded_bytes(snapshot: PoolSnapshot, folder: Path) -> int:
    snapshot.to_flamegraph(folder / "pool.folded")
    lines = (folder / "pool.folded").read_text(encoding="utf-8").splitlines()
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines)


def test_it_is_what_the_pool_holds(rt: ironcliw.Runtime) -> None:
    rt.leaks.level = "paranoid"
    held = [rt.pool.try_allocate(3000) for _ in range(5)] + [rt.pool.try_allocate(70_000)]
    snapshot = rt.pool.snapshot()
    stats = rt.pool.stats()
    assert snapshot.totals.live == stats["total_active"] == 6
    assert snapshot.totals.live_bytes == stats["active_bytes"] == 5 * 3072 + 81920
    assert snapshot.totals.held_bytes == stats["total_allocated_bytes"]
    assert snapshot.totals.limit_bytes == stats["limit_bytes"]
    assert {
        each.owner: {of.size: of.live for of in each.classes} for each in snapshot.owners
    } == rt.leaks.counts()
    assert sorted(lease.id for lease in snapshot.leases) == sorted(buffer.id for buffer in held)
    assert all(lease.weight == 1.0 and not lease.too_old for lease in snapshot.leases)
    assert {lease.bytes: lease.block_bytes for lease in snapshot.leases} == {3000: 3072, 70_000: 81920}
    waste = {each.size: each.waste_bytes for each in snapshot.classes}
    assert waste == {3072: 5 * 72, 81920: 11920}
    assert abs(snapshot.taken_at - time.time()) < 60
    assert repr(snapshot).startswith("<ironcliw.PoolSnapshot: ") and len(repr(snapshot)) < 120
    assert re.search(r"^python +3 KiB +5 +15 KiB$", str(snapshot), re.M)
    del held
    assert eventually(lambda: rt.pool.snapshot().totals.live == 0)
    assert snapshot.totals.live == 6, "a snapshot does not change"


def test_a_sampled_snapshot_adds_up_to_the_exact_bytes(tmp_path: Path, photo: np.ndarray) -> None:
    with ironcliw.Runtime(image_workers=2, leak_level="simple") as rt:
        held: list[object] = [rt.pool.try_allocate(2000 + n % 3 * 1000) for n in range(3000)]
        held += [rt.pool.try_allocate(2000, tracked=True) for _ in range(3)]
        held += [rt.images.resize(photo, (30, 20 + n)).result() for n in range(20)]
        snapshot = rt.pool.snapshot()
        assert 3 <= len(snapshot.leases) < 300
        assert snapshot.totals.live == 3023
        sites = snapshot.sites()
        assert sum(site.live_bytes for site in sites) == pytest.approx(snapshot.totals.live_bytes)
        assert (
            folded_bytes(snapshot, tmp_path) == snapshot.totals.live_bytes == rt.pool.stats()["active_bytes"]
        )
        for buffer in held:
            if isinstance(buffer, ironcliw.Buffer):
                buffer.release()


def test_a_leak_is_in_it_and_stays_new_to_the_tracker() -> None:
    with ironcliw.Runtime() as rt:
        rt.pool.try_allocate(3000, tracked=True)
        assert eventually(lambda: rt.pool.snapshot().totals.live == 0)
        (leak,) = rt.pool.snapshot().leaks
        assert (leak.kind, leak.equal, leak.bytes, leak.owner) == ("dropped_unreleased", 1, 3000, "python")
        assert leak.site is not None and leak.site.startswith(__file__)
        (report,) = rt.leaks.check().result(timeout=10)
        assert report.equal == 1


def test_the_history_has_the_curve_and_the_crash(rt: ironcliw.Runtime) -> None:
    held = rt.pool.try_allocate(1 << 20)
    with pytest.raises(ironcliw.ActorPanicked):
        rt._crash("images/0").result(timeout=10)
    assert eventually(lambda: len(rt.pool.snapshot().history) >= 3, seconds=30)
    snapshot = rt.pool.snapshot()
    times = [sample.at for sample in snapshot.history]
    assert times == sorted(times) and times[-1] == snapshot.taken_at
    assert snapshot.history[-1].owners == {"python": 1 << 20}
    (crash,) = [mark.text for mark in snapshot.marks if mark.kind == "crash"]
    assert crash.startswith("images/0: ")
    del held


def test_a_change_of_pressure_is_marked() -> None:
    with ironcliw.Runtime(memory_limit=1 << 20) as rt:
        held = rt.pool.try_allocate(1_000_000)
        assert eventually(lambda: bool(rt.pool.snapshot().marks), seconds=30)
        mark = rt.pool.snapshot().marks[0]
        assert mark.kind == "pressure" and " to " in mark.text
        held.release()


def test_a_closed_runtime_shows_what_is_still_held() -> None:
    rt = ironcliw.Runtime()
    held = rt.pool.try_allocate(5000)
    rt.close().result(timeout=15)
    assert rt.pool.snapshot().totals.live == 1
    held.release()
    assert rt.pool.snapshot().totals.live == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_told_that_the_runtime_is_not_its_own() -> None:
    program = """
import os, sys, ironcliw
rt = ironcliw.Runtime()
child = os.fork()
if child == 0:
    try:
        rt.pool.snapshot()
    except ironcliw.RuntimeClosed:
        os._exit(7)
    os._exit(1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
rt.close().result()
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60)
    assert done.returncode == 7


def test_what_was_lost_is_read_and_nothing_was_in_a_file_that_does_not_say() -> None:
    data = document()
    before = snapshot_of(data).tracking
    assert (before.lost_records, before.lost_stacks) == (0, 0)
    data["tracking"] |= {"lost_records": 3, "lost_stacks": 2}
    told = snapshot_of(data).tracking
    assert (told.lost_records, told.lost_stacks) == (3, 2)


def test_a_file_has_all_of_it(rt: ironcliw.Runtime, tmp_path: Path) -> None:
    held = rt.pool.try_allocate(5000, tracked=True)
    snapshot = rt.pool.snapshot()
    snapshot.to_json(tmp_path / "pool.json")
    again = PoolSnapshot.from_json(tmp_path / "pool.json")
    figures, lists = (
        ("taken_at", "pressure", "totals", "tracking"),
        ("classes", "owners", "leases", "leaks", "threads"),
    )
    for name in (*figures, *lists, "history", "marks"):
        assert getattr(again, name) == getattr(snapshot, name)
    assert again.leases[0].site is not None
    held.release()


def test_idle_blocks_are_shown_with_the_thread_that_keeps_them(rt: ironcliw.Runtime) -> None:
    released, looked = threading.Event(), threading.Event()

    def work() -> None:
        held = [rt.pool.try_allocate(3000) for _ in range(2)] + [rt.pool.try_allocate(20_000)]
        for buffer in held:
            buffer.release()
        released.set()
        looked.wait(timeout=30)

    worker = threading.Thread(target=work, name="a worker with a long name")
    worker.start()
    assert released.wait(timeout=30)
    snapshot = rt.pool.snapshot()
    looked.set()
    worker.join()
    (thread,) = snapshot.threads
    assert {kept.size: kept.idle for kept in thread.classes} == {3072: 2, 20480: 1}
    assert thread.idle_bytes == snapshot.totals.idle_bytes == 2 * 3072 + 20480
    assert {each.size: each.idle_in_caches for each in snapshot.classes} == {3072: 2, 20480: 1}
    if sys.platform == "linux":
        assert (thread.name, thread.id) == (worker.name, worker.native_id)
        assert str(thread) == f"{worker.name} ({worker.native_id})"
    # A thread that ends leaves its blocks to all, a moment after Python has joined it.
    deadline = time.monotonic() + 30
    while (after := rt.pool.snapshot()).threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert after.threads == () and after.totals.idle_bytes == thread.idle_bytes
    assert {each.size: each.idle_on_shelf for each in after.classes} == {3072: 2, 20480: 1}


def test_a_name_that_is_no_unicode_takes_no_other_threads_name(rt: ironcliw.Runtime) -> None:
    looked = threading.Event()

    def work(ready: threading.Event) -> None:
        rt.pool.try_allocate(3000).release()
        ready.set()
        looked.wait(20)

    names = ["\ud800", "the other"]
    workers = []
    for name in names:
        ready = threading.Event()
        workers.append(threading.Thread(target=work, args=(ready,), name=name))
        workers[-1].start()
        ready.wait(20)
    snapshot = rt.pool.snapshot()
    looked.set()
    for worker in workers:
        worker.join()
    shown = {thread.id: thread.name for thread in snapshot.threads}
    if sys.platform == "linux":
        assert shown[workers[1].native_id] == "the other" and workers[0].native_id in shown


def test_a_thread_is_called_by_what_is_known_of_it() -> None:
    kept = {"idle_bytes": 64, "classes": [{"size": 64, "idle": 1}]}
    named = [("worker", 7), ("worker", None), (None, 7), (None, None)]
    threads = snapshot_of(document(threads=[{"name": name, "id": id, **kept} for name, id in named])).threads
    assert [str(thread) for thread in threads] == ["worker (7)", "worker", "thread 7", "a thread"]


def test_a_file_from_before_threads_were_told_of_is_read() -> None:
    assert "threads" not in document() and snapshot_of(document()).threads == ()


def broken() -> list[tuple[str, Any]]:
    """Paths into a document, and what does not belong there."""
    return [
        ("format", "something"),
        ("version", 2),
        ("version", True),
        ("pressure", "high"),
        ("pressure", ["Low"]),
        ("taken_at_unix_s", 1e300),
        ("taken_at_unix_s", -1),
        ("taken_at_unix_s", "now"),
        ("totals", None),
        ("totals.live", -1),
        ("totals.live", 1.5),
        ("totals.live_bytes", 10**400),
        ("totals.live_bytes", 1 << 64),
        ("classes", {}),
        ("classes.0", 1),
        ("owners.0.owner", 5),
        ("owners.0.classes.0.size", None),
        ("tracking.level", "sometimes"),
        ("threads", 5),
        ("threads.0.id", -1),
        ("threads.0.name", 1),
        ("threads.0.classes.0.idle", None),
        ("leases.0.stack", 1),
        ("leases.0.weight", "many"),
        ("leases.0.weight", 1e300),
        ("leases.0.too_old", 1),
        ("leases.1.kind", "loose"),
        ("leaks.0.site", 9),
        ("stacks.calls.0", [9]),
        ("stacks.calls.0", [True]),
        ("stacks.calls.0", 5),
        ("stacks.frames.0.line", "3"),
        ("history.0.owners.0", ["python"]),
        ("history.0.owners.0", ["python", -1]),
        ("history.0.owners.0", ["python", True]),
        ("history.0.owners.0", ["python", 10**400]),
        ("marks.0.kind", "wedding"),
    ]


@pytest.mark.parametrize("path, value", broken(), ids=str)
def test_a_file_that_is_none_is_refused_with_the_place(tmp_path: Path, path: str, value: Any) -> None:
    threads = [{"id": 7, "name": "worker", "idle_bytes": 64, "classes": [{"size": 64, "idle": 1}]}]
    data = document(threads=threads)
    *outer, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    at: Any = data
    for key in outer:
        at = at[key]
    at[last] = value
    (tmp_path / "pool.json").write_text(json.dumps(data))
    with pytest.raises(ironcliw.InvalidInput, match=str(last) if isinstance(last, str) else str(outer[-1])):
        PoolSnapshot.from_json(tmp_path / "pool.json")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[", b"[]", b"null", b"{}", b"[" * 100_000, b'{"format": NaN}', b"1" * 10_000]
)
def test_what_is_no_document_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pool.json").write_bytes(data)
    with pytest.raises(ironcliw.InvalidInput):
        PoolSnapshot.from_json(tmp_path / "pool.json")


def test_keys_of_a_newer_version_are_left_alone() -> None:
    data = document(news={"a": 1})
    data["leases"][0]["news"] = 1
    assert snapshot_of(data).leases == snapshot_of(document()).leases


def test_the_largest_figures_that_a_file_may_have_are_drawn(tmp_path: Path) -> None:
    most = (1 << 64) - 1
    data = document()
    data["totals"] = dict.fromkeys(data["totals"], most)
    data["leases"][0] |= {"bytes": most, "block_bytes": most, "weight": 1e15, "age_s": 1e11}
    data["owners"][0]["classes"][0] |= {"live": most, "live_bytes": most, "unrecorded_bytes": most}
    data["history"][0] |= {"held_bytes": most, "live_bytes": most, "owners": [["python", most]]}
    snapshot = snapshot_of(data)
    assert "EiB" in str(snapshot) and snapshot.sites() and str(snapshot.diff(snapshot_of(document())))
    snapshot.to_html(tmp_path / "pool.html")
    snapshot.to_chrome_trace(tmp_path / "trace.json")
    for suffix in ("svg", "html", "folded", "json"):
        snapshot.to_flamegraph(tmp_path / f"pool.{suffix}")


def test_a_snapshot_goes_to_another_process(rt: ironcliw.Runtime) -> None:
    held = rt.pool.try_allocate(5000, tracked=True)
    snapshot = rt.pool.snapshot()
    again = pickle.loads(pickle.dumps(snapshot))
    assert type(again) is PoolSnapshot
    assert (again.totals, again.leases, again.threads) == (snapshot.totals, snapshot.leases, snapshot.threads)
    assert copy.deepcopy(snapshot).owners == snapshot.owners
    held.release()


@pytest.mark.parametrize("source", [None, "pool.json", {}, 5])
def test_a_snapshot_of_something_else_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="from_json"):
        PoolSnapshot(source)


def test_an_owner_called_others_keeps_its_counter(tmp_path: Path) -> None:
    data = document()
    data["history"] = [{**data["history"][0], "owners": [["others", 4096], ["python", 1000]]}]
    snapshot_of(data).to_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    (counter,) = [event["args"] for event in events if event["name"] == "leased by owner"]
    assert counter["others"] == 4096 and sorted(counter.values()) == [1000, 3096, 4096]


def test_a_difference_names_what_grew(tmp_path: Path) -> None:
    later = copy.deepcopy(document())
    later["taken_at_unix_s"] += 60
    later["owners"][0] |= {"live": 5, "live_bytes": 13312}
    later["owners"][0]["classes"][1] |= {"live": 2, "live_bytes": 10240, "unrecorded_bytes": 10240}
    later["classes"][1] |= {"live": 2, "live_bytes": 10240}
    later["totals"] |= {"live": 5, "live_bytes": 13312}
    before, after = snapshot_of(document()), snapshot_of(later)
    diff = after.diff(before)
    assert (diff.seconds, diff.total.bytes, diff.total.leases) == (60, 5120, 1)
    assert [(each.name, each.bytes) for each in diff.owners] == [("python", 5120)]
    assert [(each.name, each.bytes, each.leases) for each in diff.classes] == [("5 KiB", 5120, 1)]
    assert [(each.name, each.bytes) for each in diff.sites] == [("python  (not recorded)", 5120)]
    assert "+5 KiB" in str(diff) and "python" in str(diff) and "+5 KiB" in repr(diff)
    assert before.diff(after).total.bytes == -5120
    same = before.diff(before)
    assert (same.owners, same.classes, same.sites) == ((), (), ())
    with pytest.raises(TypeError):
        before.diff({})  # type: ignore[arg-type]


def test_leases_that_grow_at_one_place_are_found(rt: ironcliw.Runtime) -> None:
    rt.leaks.level = "paranoid"
    before = rt.pool.snapshot()
    held = [rt.pool.try_allocate(3000, tracked=True) for _ in range(7)]
    (site,) = rt.pool.snapshot().diff(before).sites
    assert (site.leases, site.bytes) == (7, 7 * 3072) and Path(__file__).name in site.name
    for buffer in held:
        buffer.release()


def test_the_endpoint_serves_the_same_document() -> None:
    with ironcliw.Runtime(endpoint="127.0.0.1:0") as rt:
        held = rt.pool.try_allocate(5000, tracked=True)
        with urllib.request.urlopen(f"{rt.endpoint_url}/api/v1/snapshot/pool", timeout=30) as answer:
            served = PoolSnapshot(answer.read())
        assert served.leases[0].id == held.id
        assert served.owners == rt.pool.snapshot().owners
        held.release()


def test_a_folded_stack_has_no_control_characters_and_as_many_calls_as_ever(tmp_path: Path) -> None:
    data = document()
    for each in (data["owners"][0], *data["leases"]):
        each["owner"] = "a;b \t c\x1b[2J\x07\n\x9b"
    snapshot = snapshot_of(data)
    assert folded_bytes(snapshot, tmp_path) == snapshot.totals.live_bytes
    written = (tmp_path / "pool.folded").read_text(encoding="utf-8")
    assert all(letter.isprintable() or letter == "\n" for letter in written)
    assert "a:b c\\x1b[2J\\x07 \\x9b" in written


@pytest.mark.parametrize(
    "name",
    ["images/" + "画" * 40, "images/" + "e\u0301" * 40, "画" * 9 + "e\u0301" * 30 + "/7"],
    ids=["wide", "accents", "both"],
)
@pytest.mark.parametrize("width", [40, 41, 60])
def test_columns_end_where_they_should_whatever_the_letters(name: str, width: int) -> None:
    def columns(text: str) -> int:
        return sum(
            0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) == "W" else 1
            for letter in text
        )

    whole = table(["owner", "bytes"], [[name, "1 KiB"], ["python", "12 KiB"]]).splitlines()
    assert name in whole[1] and len({columns(line) for line in whole}) == 1
    narrow = table(["owner", "bytes"], [[name, "1 KiB"], ["python", "12 KiB"]], width).splitlines()
    assert len({columns(line) for line in narrow}) == 1 and columns(narrow[0]) <= width
    first, _, last = narrow[1].removesuffix("1 KiB").rstrip().partition("…")
    assert name.startswith(first) and name.endswith(last)


def test_folded_stacks_begin_at_the_owner_and_end_at_the_call(tmp_path: Path) -> None:
    snapshot_of(document()).to_flamegraph(tmp_path / "pool.folded")
    assert (tmp_path / "pool.folded").read_text().splitlines() == [
        "python;(not recorded) 5120",
        "python;app.py:7 1536",
        "python;outer (app.py:8);inner (app.py:3);ironcliw_actors::pool::allocate 1536",
    ]


@pytest.mark.parametrize("make", [document, nasty, nothing, lambda: numerous(5000)])
def test_every_flame_graph_has_the_exact_bytes(make: Any, tmp_path: Path) -> None:
    snapshot = snapshot_of(make())
    live = snapshot.totals.live_bytes
    assert folded_bytes(snapshot, tmp_path) == live
    lines = (tmp_path / "pool.folded").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"[^;]+(;[^;]+)* \d+", line) for line in lines)

    snapshot.to_flamegraph(tmp_path / "pool.json")
    speedscope = json.loads((tmp_path / "pool.json").read_text())
    assert speedscope["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = speedscope["profiles"]
    assert (profile["type"], profile["unit"]) == ("sampled", "bytes")
    assert sum(profile["weights"]) == profile["endValue"] == live and profile["startValue"] == 0
    assert len(profile["samples"]) == len(profile["weights"])
    frames = speedscope["shared"]["frames"]
    assert all(0 <= place < len(frames) for sample in profile["samples"] for place in sample)
    assert all(
        isinstance(frame["name"], str) and "<!--" not in frame.get("file", "x") for frame in frames[:1]
    )

    snapshot.to_flamegraph(tmp_path / "pool.svg")
    picture = ElementTree.parse(tmp_path / "pool.svg").getroot()
    titles = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0].startswith("leased: ") and titles[0].endswith(f"({live} bytes)")
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}script"))) == 1
    snapshot.to_flamegraph(tmp_path / "pool.html")
    assert loads_nothing(tmp_path / "pool.html")


def test_what_an_owner_holds_is_side_by_side_in_speedscope(tmp_path: Path) -> None:
    data = document()
    owners = [{**data["owners"][0], "owner": name} for name in ("b", "a")]
    lease = data["leases"][0]
    leases = [{**lease, "id": n, "owner": "ab"[n % 2], "site": f"app.py:{n % 3}"} for n in range(12)]
    snapshot_of(document(owners=owners, leases=leases)).to_flamegraph(tmp_path / "pool.json")
    drawn = json.loads((tmp_path / "pool.json").read_text())
    names = [frame["name"] for frame in drawn["shared"]["frames"]]
    outermost = [names[sample[0]] for sample in drawn["profiles"][0]["samples"]]
    assert outermost == sorted(outermost) and set(outermost) == {"a", "b"}


def test_a_flame_graph_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ironcliw.InvalidInput, match="svg"):
        snapshot_of(document()).to_flamegraph(tmp_path / "pool.png")
    assert list(tmp_path.iterdir()) == []


def test_a_trace_has_what_viewers_ask_for(tmp_path: Path) -> None:
    for make in (document, nasty, nothing, lambda: numerous(3000)):
        snapshot = snapshot_of(make())
        snapshot.to_chrome_trace(tmp_path / "trace.json")
        events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        processes = {event["pid"] for event in events if event["name"] == "process_name"}
        for event in events:
            assert event["ph"] in "MCibe" and event["pid"] in processes and event["ts"] >= 0
            assert event["ph"] != "C" or all(type(value) is int for value in event["args"].values())
            assert event["ph"] != "i" or event["s"] == "g"
        begun = {(event["id2"]["local"], event["pid"]): event["ts"] for event in events if event["ph"] == "b"}
        ended = {(event["id2"]["local"], event["pid"]): event["ts"] for event in events if event["ph"] == "e"}
        assert len(begun) == len(snapshot.leases) and begun.keys() == ended.keys()
        assert all(begun[key] <= ended[key] for key in begun)
        counters = [event for event in events if event["ph"] == "C"]
        assert len(counters) == 2 * len(snapshot.history)
        assert all(event["cat"] == "lease" for event in events if event["ph"] in "be")
    times = [event["ts"] for event in events if event["ph"] == "b"]
    assert times == [pytest.approx(8_000_000)] * 3000, "microseconds from the first sample"


class Page(HTMLParser):
    """What a page has in it: its elements, and what they would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "data", "action")]


def loads_nothing(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    styles = re.findall(r"url\(|@import", text)
    return set(page.loaded) <= {"data:,"} and not styles and "alert(" not in "".join(page.tags)


@pytest.mark.parametrize("make", [document, nasty, nothing, lambda: numerous(20_000)])
def test_a_page_loads_nothing_and_runs_no_name(make: Any, tmp_path: Path) -> None:
    snapshot = snapshot_of(make())
    snapshot.to_html(tmp_path / "pool.html")
    text = (tmp_path / "pool.html").read_text(encoding="utf-8")
    assert loads_nothing(tmp_path / "pool.html")
    assert Page(text).tags.count("script") == 2 and text.count("<!--") == 0
    assert len(text) < 200_000
    notebook = snapshot._repr_html_()
    assert Page(notebook).tags == ["iframe"] and 'sandbox="allow-scripts"' in notebook
