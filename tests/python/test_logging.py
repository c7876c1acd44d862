"""The runtime's events arrive in Python's `logging`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import ironcliw
import ironcliw.testing
import pytest
from conftest import eventually


class Records(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def find(self, text: str) -> list[logging.LogRecord]:
        return [record for record in self.records if text in record.getMessage()]


@pytest.fixture
def seen() -> Iterator[Records]:
    """What the logger `ironcliw` handles. Its level is restored afterwards."""
    logger, handler = logging.getLogger("ironcliw"), Records()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def restarts(rt: ironcliw.Runtime) -> int:
    """Restarts that are over: they are kept as events after they were logged."""
    return sum(event["event"] == "restarted" for event in rt.snapshot()["events"])


def crash(rt: ironcliw.Runtime, path: str = "images/0") -> None:
    """Returns when the restart is over, and was logged."""
    before = restarts(rt)
    with pytest.raises(ironcliw.ActorPanicked):
        ironcliw.testing.crash(rt, path).result(timeout=10)
    assert eventually(lambda: restarts(rt) > before)


def test_a_crash_is_an_error_and_a_restart_a_warning_unless_told_otherwise(
    rt: ironcliw.Runtime, seen: Records
) -> None:
    begin = time.time()
    crash(rt)
    assert eventually(lambda: seen.find("restarted") != [])
    (panicked,) = seen.find("an actor panicked")
    (restarted,) = seen.find("restarted")
    assert (panicked.levelno, restarted.levelno) == (logging.ERROR, logging.WARNING)
    assert "path=images/0" in panicked.getMessage() and "a crash was asked for" in panicked.getMessage()
    fields = panicked.ironcliw  # type: ignore[attr-defined]
    assert fields["path"] == "images/0" and fields["message"] == "an actor panicked"
    assert fields["target"].startswith("ironcliw::")
    assert panicked.name.startswith("ironcliw.") and "::" not in panicked.name
    assert panicked.pathname.endswith(".rs") and panicked.lineno > 0 and panicked.filename.endswith(".rs")
    assert panicked.threadName not in ("", None, threading.current_thread().name, "ironcliw-log")
    assert begin - 1 < panicked.created <= restarted.created < time.time() + 1
    assert 0 <= panicked.msecs < 1000 and panicked.process == os.getpid()


def test_the_logging_of_pytest_sees_it(rt: ironcliw.Runtime, caplog: pytest.LogCaptureFixture) -> None:
    crash(rt)
    assert eventually(lambda: any("an actor panicked" in message for message in caplog.messages))


def test_a_change_of_level_takes_effect_at_once(rt: ironcliw.Runtime, seen: Records) -> None:
    logger = logging.getLogger("ironcliw")
    logger.setLevel(logging.CRITICAL)
    crash(rt)
    logger.setLevel(logging.NOTSET)
    crash(rt, "images/1")
    assert eventually(lambda: seen.find("restarted") != [])
    assert {record.ironcliw["path"] for record in seen.records} == {"images/1"}  # type: ignore[attr-defined]


def test_a_nearer_logger_decides_for_its_own(rt: ironcliw.Runtime, seen: Records) -> None:
    nearer = logging.getLogger("ironcliw.supervision")
    try:
        nearer.setLevel(logging.CRITICAL)
        crash(rt)
        assert eventually(lambda: seen.find("an actor panicked") != [])
        assert not seen.find("restarted")
        nearer.setLevel(logging.NOTSET)
        crash(rt)
        assert eventually(lambda: seen.find("restarted") != [])
    finally:
        nearer.setLevel(logging.NOTSET)


def test_logging_disable_is_heard_too(rt: ironcliw.Runtime, seen: Records) -> None:
    logging.disable(logging.CRITICAL)
    try:
        crash(rt)
    finally:
        logging.disable(logging.NOTSET)
    crash(rt, "images/1")
    assert eventually(lambda: seen.find("restarted") != [])
    assert {record.ironcliw["path"] for record in seen.records} == {"images/1"}  # type: ignore[attr-defined]


def test_finer_levels_come_when_asked_for(rt: ironcliw.Runtime, seen: Records) -> None:
    logging.getLogger("ironcliw").setLevel(logging.INFO)
    small = ironcliw.Runtime(workers=1, image_workers=1, scheduler_threads=1, memory_limit=1 << 20)
    kept = small.pool.try_allocate(900_000)
    assert eventually(lambda: seen.find("memory pressure changed") != [])
    (first, *_) = seen.find("memory pressure changed")
    assert first.levelno == logging.INFO and first.name.startswith("ironcliw.pool.")
    kept.release()
    small.close().result(timeout=10)


def test_a_handler_may_use_ironcliw_and_may_raise(
    rt: ironcliw.Runtime, seen: Records, capfd: pytest.CaptureFixture[str]
) -> None:
    answers, told = [], []

    def complaints() -> int:
        told.append(capfd.readouterr().err)
        return "".join(told).count("ValueError: a handler of no use")

    class Curious(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            answers.append(rt.ping().result(timeout=10))
            logging.getLogger("ironcliw").setLevel(logging.WARNING)
            raise ValueError("a handler of no use")

    handler = Curious()
    logger = logging.getLogger("ironcliw")
    logger.addHandler(handler)
    try:
        crash(rt)
        crash(rt, "images/1")
        # Each crash is two records, and each of them is handled although the one before it raised.
        assert eventually(lambda: complaints() == 4)
        assert len(answers) == 4
    finally:
        logger.removeHandler(handler)


PRELUDE = (
    "import logging, os, sys, threading, time\nfrom pathlib import Path\nimport ironcliw, ironcliw.testing\n"
)
CRASH = """
def crash(rt, path="images/0"):
    try: ironcliw.testing.crash(rt, path).result(10)
    except ironcliw.ActorPanicked: pass
    while not any(event["event"] == "restarted" for event in rt.snapshot()["events"]): time.sleep(0.002)
"""


def run(program: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", PRELUDE + CRASH + program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def test_without_a_handler_warnings_are_printed_at_the_latest_at_exit() -> None:
    code, out, err = run("crash(ironcliw.Runtime(image_workers=1))")
    assert (code, out) == (0, "")
    assert "an actor panicked (path=images/0" in err and "restarted (path=images/0" in err


def test_a_process_without_a_runtime_has_no_thread_for_it() -> None:
    program = """
def count():
    found = 0
    for task in os.listdir("/proc/self/task"):
        try: found += Path(f"/proc/self/task/{task}/comm").read_text().strip() == "ironcliw-log"
        except OSError: pass  # It has ended meanwhile.
    return found
before = count()
kept = [ironcliw.Runtime(image_workers=1) for _ in range(2)]
print(before, count())
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("threads are counted the Linux way")
    assert run(program) == (0, "0 1\n", "")


def test_a_flood_is_bounded_and_what_was_dropped_is_counted() -> None:
    program = """
logger, go, texts = logging.getLogger("ironcliw"), threading.Event(), []
class Slow(logging.Handler):
    def emit(self, record):
        go.wait(30)
        texts.append(record.getMessage())
logger.addHandler(Slow())
logger.propagate = False
rt = ironcliw.Runtime(image_workers=1)
events = known = 0
while events < 5000:
    rt.pool.try_allocate(64, tracked=True)
    # A check that finds something new is an event.
    now = sum(report.equal for report in rt.leaks.check().result(10))
    events, known = events + (now > known), now
go.set()
deadline = time.monotonic() + 20
leaks = dropped = 0
while leaks + dropped < 5000 and time.monotonic() < deadline:
    time.sleep(0.01)
    leaks = sum("buffers leaked" in text for text in texts)
    dropped = sum(int(text.split()[0]) for text in texts if "were dropped" in text)
# The tracker looks every ten seconds by itself, and may add a line or two.
print(0 <= leaks + dropped - 5000 <= 10, 4096 <= leaks < 5000)
"""
    code, out, err = run(program)
    assert (code, out, err) == (0, "True True\n", "")


def test_at_exit_what_is_queued_is_handed_over_and_one_that_hangs_is_left() -> None:
    begin = """
def told(record): HOW; print("told", flush=True)
handler = logging.NullHandler(); handler.handle = told
logger = logging.getLogger("ironcliw"); logger.addHandler(handler); logger.propagate = False
rt = ironcliw.Runtime(image_workers=1)
rt.pool.try_allocate(64, tracked=True); rt.leaks.check().result(10)
"""
    assert run(begin.replace("HOW", "time.sleep(0.2)")) == (0, "told\n", "")
    started = time.monotonic()
    assert run(begin.replace("HOW", "threading.Event().wait()")) == (0, "", "")
    assert time.monotonic() - started < 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_logs_once_it_has_a_runtime_of_its_own() -> None:
    program = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
texts = []
class Keep(logging.Handler):
    def emit(self, record): texts.append(record.process)
logger = logging.getLogger("ironcliw"); logger.addHandler(Keep()); logger.propagate = False
rt = ironcliw.Runtime(image_workers=1)
def leak(rt):
    rt.pool.try_allocate(64, tracked=True); rt.leaks.check().result(10)
    deadline = time.monotonic() + 10
    while os.getpid() not in texts and time.monotonic() < deadline: time.sleep(0.002)
    return os.getpid() in texts
child = os.fork()
if child == 0:
    logger.setLevel(logging.ERROR); logger.setLevel(logging.NOTSET)
    inherited = rt
    rt = ironcliw.Runtime(image_workers=1)
    sys.exit(0 if leak(rt) else 9)
pid, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), leak(rt))
"""
    assert run(program) == (0, "0 True\n", "")
    alone = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
rt = ironcliw.Runtime(image_workers=1)
child = os.fork()
if child == 0: sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(alone) == (0, "3\n", "")


def test_the_filter_of_standard_error_works_beside_it() -> None:
    program = """
logging.getLogger("ironcliw").addHandler(logging.NullHandler())
logging.getLogger("ironcliw").propagate = False
crash(ironcliw.Runtime(image_workers=1))
"""
    assert run(program) == (0, "", "")
    code, _, err = run(program, IRONCLIW_LOG="error")
    assert code == 0 and "ERROR" in err and "an actor panicked" in err and "restarted" not in err


def test_a_disabled_event_is_not_even_made(seen: Records) -> None:
    rt = ironcliw.Runtime(image_workers=1)
    logger = logging.getLogger("ironcliw")
    logger.setLevel(logging.CRITICAL)
    for _ in range(50):
        rt.pool.try_allocate(64, tracked=True)
        rt.leaks.check().result(timeout=10)
    logger.setLevel(logging.NOTSET)
    rt.pool.try_allocate(64, tracked=True)
    rt.leaks.check().result(timeout=10)
    assert eventually(lambda: len(seen.records) == 1)
    rt.close().result(timeout=10)
