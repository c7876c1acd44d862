"""Awaits: ours beside pyo3-async-runtimes, threads, pykka and Ray, on asyncio and on uvloop.

    PYTHONPATH=benches/python python -m awaits [--rounds 7] [--seconds 0.12] [--loop both] [--only ROW]
                                               [--without ray,pykka] [--list]

Start with `systems/face.py`, what every system must do; `work/` is what is done to it, `rows.py` what is
asked of ours.
"""
