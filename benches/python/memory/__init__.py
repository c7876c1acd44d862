"""Memory from Python: pooled buffers beside numpy's, bytearray's and Arrow's, and what a pipeline of 1080p
frames holds.

    PYTHONPATH=benches/python python -m memory [--rounds 7] [--seconds 0.1] [--only ROW] [--without opencv]
                                               [--list]

Start with `rows.py`; `work/` is what is measured in this process, `pipelines/` the programs that are
measured from outside, each in a process of its own.
"""
