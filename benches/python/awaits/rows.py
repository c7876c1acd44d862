"""The rows: what is measured, by whom, and what ours must reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from harness.rounds import Against, Better, Cell, Goal, Limit, Row, Work

from awaits.stage import Stage
from awaits.systems.face import Face, System
from awaits.systems.floors import Ceiling
from awaits.work.frames import frame_in, frame_out
from awaits.work.lag import lag
from awaits.work.latency import ready, sequential
from awaits.work.loops import loops
from awaits.work.rates import burst, burst_and_cpu, many, wrapped

HIGHER, LOWER = Better.HIGHER, Better.LOWER

THREAD, TASK = "future_into_py (thread)", "future_into_py (task)"
EVERYBODY = (
    "ironcliw",
    THREAD,
    TASK,
    "to_thread",
    "executor",
    "pykka",
    "ray",
    "floor: coroutine",
    "floor: asyncio.Queue",
)
# A measurement of the lag takes this many times as long: a percentile of few values says little.
LAG_SECONDS = 5

Measure = Callable[[System, Face, float], Sequence[float | None]]


def pyo3(must: float) -> list[Goal]:
    """Against both forms, whichever is the faster in this run."""
    return [Against(THREAD, must), Against(TASK, must)]


class Plan:
    """Rows of one loop in the making."""

    def __init__(self, stage: Stage, systems: dict[str, System], missing: dict[str, str]) -> None:
        self.stage, self._systems, self._missing = stage, systems, missing
        self.works: list[Work] = []

    def row(self, name: str, unit: str, better: Better, goals: Sequence[Goal] = ()) -> Row:
        return Row(f"{name}, {self.stage.kind}", unit, better, goals)

    def work(
        self,
        rows: Sequence[Row],
        names: Sequence[str],
        measure: Measure,
        can: Callable[[Face], object] = lambda _: True,
    ) -> None:
        """Those of the systems that were made and have what it takes."""
        missing = {name: self._missing[name] for name in names if name in self._missing}
        cells = []
        for name in names:
            if (system := self._systems.get(name)) is None:
                continue
            face = self.stage.face(system)
            if can(face) is None:
                missing[name] = "it has no such call"
                continue
            cells.append(Cell(name, partial(measure, system, face)))
        self.works.append(Work(rows, names, cells, missing))


def works(stage: Stage, systems: dict[str, System], missing: dict[str, str], workers: int) -> list[Work]:
    """Every work of this loop, in the order of the table."""
    plan = Plan(stage, systems, missing)
    on_asyncio, run = stage.kind == "asyncio", stage.run

    plan.work(
        [
            plan.row(
                "64 in flight",
                "awaits/s",
                HIGHER,
                [*pyo3(30), Against("to_thread", 20), Against("ray", 150)]
                if on_asyncio
                else [*pyo3(12), Against("to_thread", 12), Against("ray", 150)],
            ),
            plan.row("CPU, 64 in flight", "s per 100 k awaits", LOWER, [Against("to_thread", 12)]),
        ],
        EVERYBODY,
        lambda system, face, seconds: run(burst_and_cpu(face, 64, seconds, system.in_this_process)),
    )
    plan.work(
        [
            plan.row(
                "1024 in flight",
                "awaits/s",
                HIGHER,
                [*pyo3(35), Against("to_thread", 20)] if on_asyncio else [],
            )
        ],
        EVERYBODY,
        lambda _, face, seconds: (run(burst(face.ask, 1024, seconds)),),
    )
    plan.work(
        [
            plan.row(
                "in async def tasks, 64 in flight",
                "awaits/s",
                HIGHER,
                [*pyo3(10), Against("to_thread", 6)] if on_asyncio else [],
            )
        ],
        EVERYBODY,
        lambda _, face, seconds: run(wrapped(face, 64, seconds)),
    )
    plan.work(
        [
            plan.row("sequential, median", "µs", LOWER, [Limit(1.0), Against("to_thread", 30)]),
            plan.row("sequential, p99", "µs", LOWER),
        ],
        EVERYBODY,
        lambda _, face, seconds: run(sequential(face, seconds)),
    )
    plan.work(
        [plan.row("result already there", "µs", LOWER, [Limit(0.25)])],
        ("ironcliw", TASK, "executor", "floor: done future"),
        lambda _, face, seconds: run(ready(face, seconds)),
    )
    plan.work(
        [plan.row("one awaitable for 10,000 requests", "million requests/s", HIGHER, [Limit(5.0)])],
        ("ironcliw", THREAD, TASK),
        lambda _, face, seconds: run(many(face.many, seconds)),  # type: ignore[arg-type]
        lambda face: face.many,
    )
    plan.work(
        [
            plan.row("loop lag beside saturated workers, p99", "ms", LOWER, [Against("executor", 5)]),
            plan.row("job rate beside it", "jobs/s", HIGHER, [Against("ceiling", 0.92)]),
        ],
        ("ironcliw", THREAD, TASK, "to_thread", "executor", "pykka", "ray", "ceiling", "floor: no jobs"),
        lambda system, face, seconds: lag_and_rate(stage, system, face, workers, seconds * LAG_SECONDS),
    )
    plan.work(
        [plan.row("6.2 MB frame in, the submit", "µs", LOWER, [Limit(1.0)])],
        ("ironcliw", THREAD, TASK, "executor", "pykka", "ray"),
        lambda _, face, seconds: run(frame_in(face.frame_in, seconds)),  # type: ignore[arg-type]
        lambda face: face.frame_in,
    )
    plan.work(
        [
            plan.row("6.2 MB result out, taking it", "µs", LOWER, [Limit(1.0)]),
            plan.row("6.2 MB result out, dropping it", "µs", LOWER),
            plan.row("6.2 MB result out, page faults", "a result", LOWER, [Limit(0.0)]),
        ],
        ("ironcliw", THREAD, TASK, "executor"),
        lambda _, face, seconds: run(frame_out(face.frame_out, seconds)),  # type: ignore[arg-type]
        lambda face: face.frame_out,
    )
    plan.work(
        [
            plan.row("4 loops in 4 threads", "awaits/s", HIGHER, pyo3(10)),
            plan.row("4 loops in 4 threads, by one loop's", "of one loop's rate", HIGHER),
        ],
        ("ironcliw", THREAD, TASK, "to_thread"),
        lambda system, _, seconds: loops(system, stage.new_loop, seconds),
    )
    return plan.works


def lag_and_rate(
    stage: Stage, system: System, face: Face, workers: int, seconds: float
) -> tuple[float | None, float | None]:
    """The lag and the jobs' rate; of the ceiling only the one, of an idle loop only the other."""
    if isinstance(system, Ceiling):
        return None, system.rate()
    late, rate = stage.run(lag(face.job, workers, seconds))
    return late, rate if face.job else None
