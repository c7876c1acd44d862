"""Interpreters that end in the worst moment: they exit, promptly and silently, with the code they should.

Each program runs in a process of its own, with warnings as errors and the fault handler on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

PRELUDE = """
import asyncio, os, signal, sys, threading, time
import numpy as np
import ironcliw
# Who starts the tests in the background of a script has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), dtype=np.uint8)
"""

SECONDS = 30
"""A hang, and not a slow machine."""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    # A group of its own, so that a signal sent to it does not reach pytest.
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", PRELUDE + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it hung; it wrote {out!r} and {err!r}")
    return process.returncode, out, err


QUIET = {
    "nothing was closed": "rt = ironcliw.Runtime(); rt.ping().result()",
    "nothing was kept": "ironcliw.Runtime().ping().result()",
    "calls are in flight": """
rt = ironcliw.Runtime()
calls = [rt.images.denoise(image, 0.5) for _ in range(200)]
""",
    "calls are in flight and forgotten": """
rt = ironcliw.Runtime()
for _ in range(200): rt.images.denoise(image, 0.5)
""",
    "calls of a loop are in flight": """
async def main():
    global rt, calls
    rt = ironcliw.Runtime()
    calls = [rt.images.denoise(image, 0.5) for _ in range(100)]
    await calls[0]
asyncio.run(main())
""",
    "tasks await calls": """
async def main():
    rt = ironcliw.Runtime()
    async def forever():
        while True: await rt.images.denoise(image, 0.5)
    tasks = [asyncio.create_task(forever()) for _ in range(20)]
    await asyncio.sleep(0.2)
asyncio.run(main())
""",
    "buffers and results are alive": """
rt = ironcliw.Runtime()
buffer = rt.pool.try_allocate(1 << 20); array = np.asarray(buffer); view = memoryview(buffer)
small = rt.images.resize(image, (64, 64)).result()
sys.kept = [rt, buffer, array, view, small]
""",
    "a model is loaded": """
rt = ironcliw.Runtime()
model = rt.inference.load(ironcliw.Model().linear(np.ones((64, 64), np.float32))).result()
calls = [model(np.ones((64, 64), np.float32)) for _ in range(500)]
""",
    "Python work is queued": """
rt = ironcliw.Runtime()
calls = [rt.scheduler.run(time.sleep, 0.005) for _ in range(20)]
""",
    "a thread waits for a result": """
rt = ironcliw.Runtime(); go = threading.Event()
call = rt.scheduler.run(go.wait, 3)
threading.Thread(target=lambda: call.result(), daemon=True).start()
time.sleep(0.05)
""",
    "callbacks are pending": """
async def main():
    global rt
    rt = ironcliw.Runtime()
    for _ in range(100): rt.images.denoise(image, 0.5).add_done_callback(id)
asyncio.run(main())
""",
    "a reference cycle holds it": """
class Holder: pass
holder = Holder(); holder.self = holder; holder.rt = ironcliw.Runtime(); holder.call = holder.rt.ping()
del holder
""",
    "the endpoint is served": "rt = ironcliw.Runtime(endpoint='127.0.0.1:0')",
    "the synchronous API was used": """
import jarvis_rust_core as jrc
processor = jrc.RustImageProcessor(); processor.process_numpy_image(image)
buffer = jrc.RustMemoryPool().allocate(4096).as_numpy()
manager = jrc.RustRuntimeManager(worker_threads=2); manager.run_cpu_task(int)
""",
    "it was used in a thread": """
def work():
    rt = ironcliw.Runtime(); rt.ping().result(); rt.images.denoise(image, 0.5)
thread = threading.Thread(target=work); thread.start(); thread.join()
""",
}


@pytest.mark.parametrize("situation", QUIET)
def test_it_exits_quietly_when(situation: str) -> None:
    assert finish(start(QUIET[situation])) == (0, "", "")


def test_sys_exit_in_a_context_keeps_its_code() -> None:
    program = """
async def main():
    async with ironcliw.Runtime() as rt:
        calls = [rt.images.denoise(image[:180, :320], 0.5) for _ in range(20)]
        sys.exit(7)
asyncio.run(main())
"""
    assert finish(start(program)) == (7, "", "")


posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")


def interrupted(program: str) -> tuple[int, str, str]:
    """Sends Ctrl-C a moment after the program says `ready`."""
    process = start(program)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    return finish(process)


@posix
def test_ctrl_c_interrupts_a_blocking_result() -> None:
    program = """
rt = ironcliw.Runtime(); go = threading.Event()
call = rt.scheduler.run(go.wait)
try:
    print("ready", flush=True)
    call.result()
except KeyboardInterrupt:
    print("interrupted", call.done())
go.set()
"""
    assert interrupted(program) == (0, "interrupted False\n", "")


@posix
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_ctrl_c_interrupts_a_loop(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    program = f"""
import {loop}
async def main():
    async with ironcliw.Runtime() as rt:
        async def forever():
            while True: await rt.images.resize(image, (64, 64))
        tasks = [asyncio.create_task(forever()) for _ in range(16)]
        print("ready", flush=True)
        await asyncio.gather(*tasks)
try:
    with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner: runner.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    assert interrupted(program) == (0, "interrupted\n", "")


@posix
def test_ctrl_c_ends_the_main_job(tmp_path: object) -> None:
    program = f"""
from pathlib import Path
from PIL import Image
folder = Path({str(tmp_path)!r})
os.environ["IRONCLIW_CACHE"] = str(folder / "cache")
for n in range(2):
    Image.fromarray(np.roll(image, n, axis=2)[:, n * 200:n * 200 + 500]).save(folder / f"{{n}}.png")
from ironcliw.cli import main
print("ready", flush=True)
sys.exit(main(["run", str(folder), "--frames", "1000000"]))
"""
    process = start(program)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for line in process.stdout:
        steps = re.match(r"training: (\d+)/(\d+)", line)
        if steps and steps[1] == steps[2]:
            break
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and "Traceback" not in err and "interrupted" in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gets_a_runtime_of_its_own() -> None:
    program = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
import jarvis_rust_core as jrc
processor = jrc.RustImageProcessor(); processor.process_numpy_image(image)
manager = jrc.RustRuntimeManager(worker_threads=1)
model = jrc.RustQuantizedModel(); model.add_linear_layer(np.ones((4, 8), np.float32))
model.infer(np.ones((1, 8), np.float32))
child = os.fork()
if child == 0:
    ok = processor.process_numpy_image(image).shape == image.shape
    ok = ok and manager.run_cpu_task(lambda: 5) == 5
    ok = ok and model.infer(np.ones((1, 8), np.float32)).shape == (1, 4)
    sys.exit(0 if ok else 9)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid: break
    time.sleep(0.02)
else:
    os.kill(child, signal.SIGKILL); sys.exit("the child hung")
assert os.waitstatus_to_exitcode(status) == 0, status
assert processor.process_numpy_image(image).shape == image.shape
"""
    assert finish(start(program)) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_that_only_inherits_exits() -> None:
    program = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
rt = ironcliw.Runtime(); rt.ping().result()
buffer = rt.pool.try_allocate(1000); array = np.asarray(buffer)
child = os.fork()
if child == 0:
    del array, buffer
    sys.exit(0)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid: break
    time.sleep(0.02)
else:
    os.kill(child, signal.SIGKILL); sys.exit("the child hung")
assert os.waitstatus_to_exitcode(status) == 0, status
rt.close().result()
"""
    assert finish(start(program)) == (0, "", "")
