"""The extension with mimalloc beside itself with the system's allocator: the main job, awaits, messages,
and small leases.

    PYTHONPATH=benches/python python -m allocators WITH WITHOUT [--rounds 7] [--seconds 0.5] [--only ROW]
                                                   [--list]

WITH and WITHOUT are folders with the package built in each way; `make bench-malloc` builds them. An
allocator is a process's, so each measurement has a process of its own, and they take turns.
"""
