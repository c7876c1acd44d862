"""What goes wrong around extensions in general, tried on this one: each in a process of its own, with a limit
of time.

`test_exit.py` is about how interpreters end, `test_bridge.py` about awaiting; the rest is here: interrupts
while closing, forks with work in hand, sub-interpreters, thread-local storage, a collector that never rests,
threads that die, and every actor crashing under load.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_exit import finish, interrupted, posix, start

HELPERS = """
import collections, gc, logging, warnings, weakref
from ironcliw import testing
signal.signal(signal.SIGINT, signal.default_int_handler)
network = ironcliw.Model().linear(np.ones((64, 64), np.float32))

def backlog(rt):
    "Work for one image worker: a call that ends when it is cancelled, and others that wait behind it."
    # Minutes on any machine, though the answer is small.
    first = rt.images.run(ironcliw.Pipeline().resize((1024, 1024)).resize((8, 8)), [image] * 100_000)
    # No more than a mailbox holds: what waits outside of it is refused when the runtime closes.
    return first, [rt.images.resize(image[:30, :40], (8, 8)) for _ in range(100)]

def tell_when_closing(rt):
    "Prints `ready` once the runtime closes."
    def look():
        while rt.status() == "running": time.sleep(0.001)
        print("ready", flush=True)
    threading.Thread(target=look).start()
"""


def prints(program: str, *arguments: str) -> str:
    """What it wrote, having ended well and complained of nothing."""
    code, out, err = finish(start(HELPERS + program, *arguments))
    assert (code, err) == (0, ""), out
    return out


# Ctrl-C while closing

CLOSINGS = {
    "awaits close": """
async def main():
    await rt.close()
asyncio.run(main())
""",
    "leaves a context": """
with rt: pass
""",
    "leaves a context of a loop": """
async def main():
    async with rt: pass
asyncio.run(main())
""",
    "waits for close": """
rt.close().result()
""",
}


@posix
@pytest.mark.parametrize("where", CLOSINGS)
def test_ctrl_c_interrupts_a_program_that(where: str) -> None:
    """The work goes on being drained, and whoever closes again joins in."""
    block = "".join(f"    {line}\n" for line in CLOSINGS[where].strip().splitlines())
    program = f"""
rt = ironcliw.Runtime(image_workers=1)
endless, calls = backlog(rt)
tell_when_closing(rt)
try:
{block}
except KeyboardInterrupt:
    print("interrupted", rt.status(), endless.done(), calls[-1].done())
endless.cancel()
rt.close().result(timeout=20)
print(rt.status(), [call.exception() for call in calls] == [None] * len(calls))
"""
    assert interrupted(HELPERS + program) == (0, "interrupted closing False False\nclosed True\n", "")


def test_closing_drains_for_as_long_as_it_is_told() -> None:
    program = """
rt = ironcliw.Runtime(image_workers=1)
endless, calls = backlog(rt)
closing = rt.close(60)
time.sleep(6)  # longer than an actor has that is stopped for another reason
print(rt.status(), calls[-1].done())
endless.cancel()
closing.result()
print([call.exception() for call in calls] == [None] * len(calls))
"""
    assert prints(program) == "closing False\nTrue\n"


# Memory


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_calls_that_nobody_awaits_give_their_memory_back() -> None:
    """An allocator keeps what a crowd took at its peak: a crowd is small beside what all would leave."""
    program = """
rt = ironcliw.Runtime()

def resident():
    with open("/proc/self/statm") as file: return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

async def crowd():
    calls = [rt.ping() for _ in range(10_000)]
    alive = weakref.WeakSet(calls)
    assert len(alive) == 10_000
    calls.clear()
    assert len(alive) == 0
    await rt.ping()
    gc.collect()

async def main():
    for _ in range(5): await crowd()
    before = resident()
    for _ in range(40): await crowd()
    grown = resident() - before
    print(grown < 20_000_000 or grown)
asyncio.run(main())
rt.close().result()
"""
    assert prints(program) == "True\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_answered_calls_leave_nothing_behind_that_waits_for_their_timeouts() -> None:
    program = """
rt = ironcliw.Runtime()

def resident():
    with open("/proc/self/statm") as file: return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

async def main():
    await asyncio.gather(*(rt.images.resize(image, (4, 4), timeout=3600) for _ in range(1000)))
    before = resident()
    for _ in range(200):
        await asyncio.gather(*(rt.images.resize(image, (4, 4), timeout=3600) for _ in range(1000)))
    grown = resident() - before
    print(grown < 20_000_000 or grown)

image = np.zeros((8, 8, 3), np.uint8)
asyncio.run(main())
rt.close().result()
"""
    assert prints(program) == "True\n"


def test_a_collector_that_never_rests_takes_nothing_that_is_in_use() -> None:
    program = """
over = threading.Event()

def storm():
    while not over.is_set():
        gc.collect(); gc.freeze(); gc.unfreeze()

async def client(rt, model, number):
    for turn in range(15):
        frame = np.full((40, 60, 3), number, np.uint8)
        holder = []
        call = rt.images.resize(frame, (20, 10))
        holder.append((holder, call, frame))
        del frame
        forgotten = rt.images.denoise(np.zeros((50, 50, 3), np.uint8), 0.5)
        forgotten.add_done_callback(lambda _, cycle=[forgotten]: cycle.clear())
        del forgotten
        small, x, n, _ = await asyncio.gather(
            call, model(np.ones((1, 64), np.float32)), rt.scheduler.run(lambda: number), rt.ping_many(3))
        assert (small == number).all() and n == number and x[0, 0] > 0

async def main():
    gc.set_threshold(1)
    async with ironcliw.Runtime() as rt:
        model = await rt.inference.load(network)
        await asyncio.gather(*[client(rt, model, number) for number in range(16)])
        over.set()
        thread.join()
        gc.collect()
        deadline = time.monotonic() + 10
        while rt.pool.stats()["total_active"] and time.monotonic() < deadline: await asyncio.sleep(0.01)
        print(rt.pool.stats()["total_active"], await rt.leaks.check())
thread = threading.Thread(target=storm); thread.start()
try: asyncio.run(main())
finally: over.set()
"""
    assert prints(program) == "0 []\n"


# Processes, interpreters, libraries

CHILD = """
warnings.simplefilter("ignore", DeprecationWarning)
rt = ironcliw.Runtime()
answered, running, go = rt.ping(), threading.Event(), threading.Event()
answered.result()
def work():
    running.set()
    return go.wait(20)
pending = rt.scheduler.run(work)
async def wait():
    await pending
# CPython 3.11's child hangs if another thread is just entering the interpreter: PyOS_AfterFork_Child takes
# a lock that it makes whole only later.
running.wait(20)
child = os.fork()
if child == 0:
    signal.alarm(10)
    try:
        %s
        os._exit(0)
    finally: os._exit(1)
_, status = os.waitpid(child, 0)
go.set()
assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
assert pending.result(timeout=10)
rt.close().result()
"""

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def in_child(*lines: str) -> str:
    return prints(CHILD % "\n        ".join(lines))


@fork
def test_result_of_a_call_from_before_a_fork_raises_in_the_child() -> None:
    out = in_child(
        "try: pending.result()",
        "except ironcliw.RuntimeClosed as error: print(error, flush=True)",
        "print(answered.result(), flush=True)",
    )
    assert out == "scheduler.run was made before the process forked: its answer goes to the parent\n1\n"


@fork
@pytest.mark.parametrize(
    "form",
    [
        "wait()",
        "asyncio.create_task(pending)",
        "asyncio.shield(pending)",
        "asyncio.gather(pending, pending)",
        "asyncio.wait({pending})",
    ],
)
def test_awaiting_a_call_from_before_a_fork_raises_in_the_child(form: str) -> None:
    out = in_child(
        "async def main():",
        f"    async with asyncio.timeout(2): await {form}",
        "try: asyncio.run(main())",
        "except ironcliw.RuntimeClosed: print('closed', flush=True)",
    )
    assert out == "closed\n"


@fork
def test_a_child_forked_while_a_function_runs_exits_at_once() -> None:
    program = """
warnings.simplefilter("ignore", DeprecationWarning)
rt = ironcliw.Runtime()
running, go = threading.Event(), threading.Event()
def work(): running.set(); return go.wait(20)
call = rt.scheduler.run(work)
running.wait()
if os.fork() == 0: sys.exit(0)
_, status = os.wait()
go.set()
print(os.waitstatus_to_exitcode(status), call.result())
"""
    # One that had waited would have complained of the function.
    assert prints(program) == "0 True\n"


@fork
def test_the_workers_of_a_process_pool_that_was_forked_make_runtimes_of_their_own() -> None:
    program = """
import multiprocessing
warnings.simplefilter("ignore", DeprecationWarning)
rt = ironcliw.Runtime()

def work(side):
    try: rt.ping()
    except ironcliw.RuntimeClosed: inherited = "closed"
    with ironcliw.Runtime(image_workers=1, scheduler_threads=1) as own:
        return inherited, own.images.resize(image, (side, side)).result(timeout=20).shape

endless, calls = backlog(rt)
with multiprocessing.get_context("fork").Pool(2) as pool:
    answers = pool.map(work, range(1, 9))
assert answers == [("closed", (side, side, 3)) for side in range(1, 9)], answers
assert not endless.done()
endless.cancel()
for call in calls: call.result(timeout=20)
rt.close().result()
print("done")
"""
    assert prints(program) == "done\n"


SUBINTERPRETER = """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
if sys.version_info >= (3, 13): number = interpreters.create("isolated" if isolated else "legacy")
else: number = interpreters.create(isolated=isolated)
code = '''
import sys
sys.path[:] = {path!r}
try: import ironcliw
except ImportError as error: print("ImportError:", error, flush=True)
else: print("imported", flush=True)
'''.format(path=sys.path)
interpreters.run_string(number, code)
interpreters.destroy(number)
rt = ironcliw.Runtime(); rt.ping().result(timeout=10); rt.close().result()
"""


@pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "legacy"])
def test_a_sub_interpreter_is_refused(isolated: bool) -> None:
    out = prints(f"isolated = {isolated}\n{SUBINTERPRETER}")
    assert out.startswith("ImportError: ") and "interpreter" in out


HUNGRY = """
static __thread __attribute__((tls_model("initial-exec"))) volatile char block[BYTES];
int touch(void) { for (int i = 0; i < BYTES; i++) block[i]++; return block[BYTES - 1]; }
"""

TLS = """
import ctypes, sys

def fits(library):
    try: return ctypes.CDLL(library).touch() == 1
    except OSError as error:
        if "static TLS" not in str(error): raise
        return False

def work():
    import ironcliw
    with ironcliw.Runtime(image_workers=1) as rt:
        assert rt.images.resize(numpy.ones((9, 9, 3), numpy.uint8), (4, 4)).result(timeout=20).all()
"""

SIZES = (1 << 17, 1 << 16, *range(4096, 0, -128))
"""Bytes: what only a tunable of glibc makes room for, and around what it keeps for late libraries."""

ROOMS = {"usual": "", "much": "glibc.rtld.optional_static_tls=200000"}


@pytest.fixture(scope="module")
def hungry(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Libraries that need so much static thread-local storage each, the hungriest first."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("tls")
    source = folder / "hungry.c"
    source.write_text(HUNGRY)
    libraries = [folder / f"hungry{size}.so" for size in SIZES]
    for size, library in zip(SIZES, libraries, strict=True):
        options = [f"-DBYTES={size}", "-shared", "-fPIC", "-ftls-model=initial-exec"]
        subprocess.run(["cc", *options, "-o", library, source], check=True)
    return libraries


@pytest.mark.parametrize("room", ROOMS)
def test_it_takes_no_room_from_those_who_are_hungry_for_thread_local_storage(
    hungry: list[Path], room: str
) -> None:
    """The largest that fits beside numpy alone fits before ironcliw, when it leaves nothing, and after it."""

    def bare(program: str, *libraries: Path) -> str:
        environment = {**os.environ, "GLIBC_TUNABLES": ROOMS[room]}
        command = [sys.executable, "-c", TLS + program, *libraries]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    found = bare("import numpy; print(next(filter(fits, sys.argv[1:]), ''))", *hungry)
    if not found or (room == "much" and Path(found) != hungry[0]):
        pytest.skip("this C library has no such room to give")
    bare("assert fits(sys.argv[1]); import numpy; work()", Path(found))
    bare("import numpy; assert fits(sys.argv[1]); work()", Path(found))
    bare("import numpy; work(); assert fits(sys.argv[1])", Path(found))


# Other loops


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_anyio_takes_calls(uvloop: bool) -> None:
    pytest.importorskip("anyio")
    if uvloop:
        pytest.importorskip("uvloop")
    program = """
import anyio

async def main():
    async with ironcliw.Runtime() as rt:
        answers = []
        async def client(): answers.append(await rt.ping())
        async with anyio.create_task_group() as group:
            for _ in range(50): group.start_soon(client)
        assert len(set(answers)) == 50

        # A timeout, a deadline that raises, and a scope that was cancelled before: each cancels its call.
        call = rt.scheduler.run(time.sleep, 0.3)
        with anyio.move_on_after(0.02) as scope: await call
        assert scope.cancelled_caught and call.cancelled()
        try:
            with anyio.fail_after(0.02): await rt.scheduler.run(time.sleep, 0.3)
        except TimeoutError as error: assert not isinstance(error, ironcliw.Error)
        else: raise AssertionError
        with anyio.CancelScope() as scope:
            scope.cancel()
            call = rt.scheduler.run(time.sleep, 0.01)
            await call
        assert scope.cancelled_caught and call.cancelled()

        # A failure in one task cancels the call that its sibling awaits.
        call = rt.scheduler.run(time.sleep, 0.3)
        async def sibling(): await call
        async def failing(): await rt.images.decode(b"no picture")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(sibling); group.start_soon(failing)
        except* ironcliw.DecodeError as errors: assert len(errors.exceptions) == 1
        else: raise AssertionError
        assert call.cancelled()

        with anyio.CancelScope() as scope:
            scope.cancel()
            with anyio.CancelScope(shield=True): assert await rt.ping()
        assert await anyio.to_thread.run_sync(lambda: rt.ping().result())
        assert await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(rt.ping))
    print("done")

anyio.run(main, backend_options={"use_uvloop": sys.argv[1] == "True"})
"""
    assert prints(program, str(uvloop)) == "done\n"


def test_a_loop_in_debug_mode_has_nothing_to_complain_of() -> None:
    """Coroutines that were not awaited, callbacks from another thread, resources left open."""
    program = """
async def main():
    async with ironcliw.Runtime() as rt:
        abandoned = rt.images.resize(image, (9, 9)); del abandoned
        task = asyncio.create_task(rt.scheduler.run(time.sleep, 0.2))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, rt.ping(), asyncio.shield(rt.ping()), return_exceptions=True)
        call = rt.scheduler.run(time.sleep, 0.2)
        await asyncio.wait({call}, timeout=0.01)
        await asyncio.to_thread(call.result)
        asyncio.get_running_loop().call_soon(call.cancel)
with asyncio.Runner(debug=True) as runner:
    runner.get_loop().slow_callback_duration = 60
    runner.run(main())
print("done")
"""
    assert prints(program) == "done\n"


# Threads


def test_threads_that_die_with_calls_pending_take_nobody_along() -> None:
    program = """
threading.excepthook = lambda args: None
rt = ironcliw.Runtime(image_workers=1)
fds = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
kept = []

def dies(how):
    calls = [rt.images.resize(image, (50, 50)) for _ in range(20)]
    if how == "without a loop": raise SystemExit
    if how == "keeping its calls": kept.extend(calls); return
    async def main():
        tasks = [asyncio.ensure_future(asyncio.shield(call)) for call in calls]
        own = [rt.images.resize(image, (50, 50)) for _ in range(20)]
        await asyncio.sleep(0)
        if how == "in its loop": raise LookupError
        kept.append(own)
    asyncio.run(main())

hows = ["without a loop", "keeping its calls", "in its loop", "closing its loop"]
threads = [threading.Thread(target=dies, args=(how,)) for how in hows * 3]
for thread in threads: thread.start()
for thread in threads: thread.join()
for call in kept:
    if isinstance(call, ironcliw.Call): assert call.result(timeout=20).shape == (50, 50, 3)
del call
kept.clear()
deadline = time.monotonic() + 20
def left():
    rt.ping().result(); gc.collect()  # what ended on a worker is freed with the next call
    open_ = len(os.listdir("/proc/self/fd")) - fds if fds else 0
    queued = sum(actor["queued"] for actor in rt.snapshot()["actors"])
    return queued, rt.pool.stats()["total_active"], open_
while any(found := left()) and time.monotonic() < deadline: time.sleep(0.02)
print(found, rt.status(), rt.leaks.check().result())
rt.close().result()
"""
    assert prints(program) == "(0, 0, 0) running []\n"


def test_a_loop_that_nobody_closes_is_collected_with_the_calls_that_it_awaits() -> None:
    """As asyncio's own futures are."""
    program = """
warnings.simplefilter("ignore", ResourceWarning)
logging.disable()  # asyncio says of each task that it was destroyed while it was pending
rt = ironcliw.Runtime(image_workers=1)

def leave():
    loop = asyncio.new_event_loop()
    async def main():
        async def one(call): await call
        tasks = [asyncio.ensure_future(one(rt.images.resize(image, (50, 50)))) for _ in range(20)]
        await asyncio.sleep(0)
    loop.run_until_complete(main())
    return weakref.ref(loop)

loop = leave()
deadline = time.monotonic() + 5
while (loop() or rt.pool.stats()["total_active"]) and time.monotonic() < deadline:
    rt.ping().result(); gc.collect(); time.sleep(0.02)
print(loop(), rt.pool.stats()["total_active"])
rt.close().result()
"""
    assert prints(program) == "None 0\n"


def test_the_interpreter_exits_while_threads_sit_in_result() -> None:
    """Native work, which nothing at exit waits for, unlike the functions of `scheduler.run`."""
    program = """
rt = ironcliw.Runtime(image_workers=1)
_, calls = backlog(rt)
def sit(call, **options):
    while True: call.result(**options)
for number, call in enumerate(calls[-8:]):
    options = {"timeout": 30} if number % 2 else {}
    threading.Thread(target=sit, args=(call,), kwargs=options, daemon=True).start()
async def awaits():
    await asyncio.wait([rt.images.texture(image) for _ in range(4)])
threading.Thread(target=lambda: asyncio.run(awaits()), daemon=True).start()
threading.Thread(target=lambda: rt.scheduler.run(calls[-1].result).result(), daemon=True).start()
time.sleep(0.3)
assert not any(call.done() for call in calls)
print("end", flush=True)
sys.exit(5)
"""
    process = start(HELPERS + program)
    assert finish(process) == (5, "end\n", "")


def test_the_interpreter_exits_while_a_thread_closes_the_runtime() -> None:
    program = """
rt = ironcliw.Runtime(image_workers=1)
endless, calls = backlog(rt)
threading.Thread(target=lambda: rt.close(60).result(), daemon=True).start()
while rt.status() == "running": time.sleep(0.001)
print(rt.status(), flush=True)
"""
    assert prints(program) == "closing\n"


# Crashes

CRASHES = """
logging.getLogger("ironcliw").setLevel(logging.CRITICAL + 1)  # crashes are reported there
seen = collections.Counter()
rt = ironcliw.Runtime(image_workers=2)
frame = image[:300, :400]
jpeg = rt.images.encode(frame, "jpeg").result()
model = rt.inference.load(network).result()
pipeline = ironcliw.Pipeline().resize((32, 32))
x = np.ones((16, 64), np.float32)
METHODS = [
    rt.ping, lambda: rt.ping_many(10), lambda: rt.images.decode(jpeg), lambda: rt.images.texture(frame),
    lambda: rt.images.resize(frame, (9, 9)), lambda: rt.images.run(pipeline, [frame] * 4), lambda: model(x),
    lambda: rt.inference.load(network), lambda: rt.pool.allocate(1000), rt.pool.trim, rt.leaks.check,
    lambda: rt.pool.allocate(1000, timeout=5), lambda: rt.scheduler.run(time.sleep, 0.001),
]

def made():
    calls = []
    for method in METHODS:
        try: calls.append(method())
        except ironcliw.Error as error: seen[type(error)] += 1
    return calls

async def crash(path):
    calls = made() + made()
    try: calls.append(testing.crash(rt, path))
    except ironcliw.InvalidInput: pass  # it has been unloaded, or stopped
    calls += made()
    async with asyncio.timeout(20):
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, ironcliw.Error), repr(outcome)
                seen[type(outcome)] += 1

def paths():
    return sorted({actor["path"] for actor in rt.snapshot()["actors"]})
"""


def test_a_crash_of_every_actor_is_a_typed_error_to_whoever_waits() -> None:
    program = """
from ironcliw import ActorPanicked, ActorRestarting
assert len(paths()) >= 6, paths()
for path in paths():
    asyncio.run(crash(path))
    assert asyncio.run(asyncio.wait_for(rt.images.resize(frame, (5, 5)), 10)).shape == (5, 5, 3)
print(seen[ActorPanicked] > 0, set(seen) <= {ActorPanicked, ActorRestarting} or seen)
rt.close().result()
"""
    assert prints(CRASHES + program) == "True True\n"


def test_crashes_until_the_supervisors_give_up_are_typed_errors_to_the_end() -> None:
    program = """
async def main():
    for _ in range(60):
        for path in paths(): await crash(path)
    print(paths(), rt.status(), len(seen) > 1)
    await crash("images/0")
    await rt.close()
asyncio.run(main())
for method in METHODS:
    try: method()
    except ironcliw.RuntimeClosed: pass
    else: raise AssertionError(method)
"""
    assert prints(CRASHES + program) == "[] degraded True\n"


# Buffers and forks


@fork
@pytest.mark.parametrize("way", ["os.fork", "multiprocessing"])
def test_a_child_of_a_busy_parent_uses_and_releases_the_buffers_it_inherits(way: str) -> None:
    program = """
import multiprocessing
rt = ironcliw.Runtime(image_workers=2)
over = threading.Event()

def hammer(n):
    while not over.is_set():
        held = [rt.pool.try_allocate(n * (1 + turn % 5), zeroed=False) for turn in range(20)]
        held[0].view(1, 9).release()
        if n > 50_000: rt.pool.trim().result(timeout=20)

def child(turn):
    buffer, view = inherited[turn]
    assert bytes(view) == b"abcd" and not np.asarray(buffer)[100:].any()
    twin = copy.copy(buffer)
    view.release(); buffer.release()
    assert bytes(twin)[:4] == b"abcd"
    twin.release()
    try: rt.pool.try_allocate(64)
    except ironcliw.RuntimeClosed: pass
    else: raise AssertionError("a runtime without threads leased")
    if turn % 8 == 0:
        with ironcliw.Runtime(image_workers=1, scheduler_threads=1) as own:
            own.pool.try_allocate(1 << 20).release()
            own.pool.trim().result(timeout=20)

import copy
inherited = []
for _ in range(24):
    buffer = rt.pool.try_allocate(5000)
    buffer[:4] = b"abcd"
    inherited.append((buffer, buffer.view(0, 4)))
threads = [threading.Thread(target=hammer, args=(n,)) for n in (64, 5000, 70_000)]
for thread in threads: thread.start()
codes = []
for turn in range(24):
    if sys.argv[1] == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(turn,))
        process.start(); process.join(30)
        codes.append(process.exitcode)
    else:
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)
            code = 1
            try: child(turn); code = 0
            finally: os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
for thread in threads: thread.join()
print(set(codes))
rt.close().result(timeout=20)
"""
    assert prints("warnings.simplefilter('ignore')\n" + program, way) == "{0}\n"
