"""Interpreters that exit while actors written in Python are alive: promptly, silently, with the code they
should."""

from __future__ import annotations

import os
import signal
import time

import pytest
from test_exit import finish, start

ACTORS = """
# Crashes are logged, which is not what is tested here.
import logging; logging.disable()
class Sleeper(ironcliw.Actor):
    def __init__(self, *rest): self.rest = rest
    async def on_message(self, message):
        if message is None: raise ValueError("no message")
        await asyncio.sleep(message)
        return message
    async def on_stop(self): print("stopped", flush=True)
"""

QUIET = {
    "nothing was closed": """
async def main():
    global rt, ref
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper)
    assert await ref.ask(0) == 0
asyncio.run(main())
""",
    "a handler is suspended and messages wait": """
async def main():
    global rt, ref, calls
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper)
    calls = [ref.ask(100) for _ in range(100)]
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "the loop is not closed either": """
async def main():
    global rt, ref, calls
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper)
    calls = [ref.ask(100) for _ in range(100)]
    await asyncio.sleep(0.05)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
asyncio.get_event_loop_policy().set_event_loop(None)
os._exit(0) if sys.version_info < (3, 11) else None
for task in asyncio.all_tasks(loop): task._log_destroy_pending = False
loop.__class__.__del__ = lambda self: None
""",
    "actors have loops of their own": """
rt = ironcliw.Runtime()
refs = [rt.spawn(Sleeper, loop="own").result() for _ in range(3)]
calls = [ref.ask(100) for ref in refs for _ in range(10)]
time.sleep(0.05)
""",
    "the runtime is dropped, and an actor has a loop of its own": """
rt = ironcliw.Runtime()
ref = rt.spawn(Sleeper, loop="own").result()
del rt
""",
    "an actor crashes again and again": """
async def main():
    global rt
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper, backoff=(0, 0))
    for _ in range(100): ref.tell(None)
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "an actor waits to be restarted": """
async def main():
    global rt
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper, backoff=ironcliw.Backoff(60, 60, jitter=False))
    ref.tell(None)
    await asyncio.sleep(0.05)
asyncio.run(main())
""",
    "senders wait for room": """
async def main():
    global rt, calls
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper, mailbox=1)
    calls = [ref.tell(100) for _ in range(1000)] + [ref.ask(1) for _ in range(1000)]
    await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "an actor and its runtime hold each other": """
async def main():
    rt = ironcliw.Runtime()
    ref = await rt.spawn(Sleeper, rt)
    await ref.ask(0)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("program", QUIET.values(), ids=QUIET.keys())
def test_exits_quietly_when(program: str) -> None:
    began = time.monotonic()
    code, out, err = finish(start(ACTORS + program))
    assert (code, err) == (0, ""), (out, err)
    assert out.replace("stopped\n", "") == ""
    assert time.monotonic() - began < 10


def test_the_close_after_the_loop_has_gone_is_prompt() -> None:
    program = """
async def main():
    rt = ironcliw.Runtime()
    refs = [await rt.spawn(Sleeper) for _ in range(10)]
    calls = [ref.ask(100) for ref in refs]
    await asyncio.sleep(0.02)
    return rt
rt = asyncio.run(main())
began = time.monotonic()
rt.close().result()
assert time.monotonic() - began < 5, "it waited for as long as closing may"
"""
    code, _, err = finish(start(ACTORS + program))
    assert (code, err) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="signals are Unix")
def test_ctrl_c_ends_a_program_with_actors() -> None:
    program = """
async def main():
    async with ironcliw.Runtime() as rt:
        ref = await rt.spawn(Sleeper)
        own = await rt.spawn(Sleeper, loop="own")
        calls = [ref.ask(100), own.ask(100)]
        print("ready", flush=True)
        await asyncio.gather(*calls)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = start(ACTORS + program)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, err) == (0, "") and "interrupted" in out
