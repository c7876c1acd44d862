"""Fixtures for pytest: `pytest_plugins = ["ironcliw.pytest_plugin"]` in a `conftest.py` has them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ironcliw._native import Runtime
from ironcliw.leaks import LeakScope


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> Iterator[LeakScope]:
    """Fails a test that leaves a pooled buffer out, with `LeakError` and where it was leased.

    It needs a fixture `rt`, the runtime, and looks at it before that is closed.
    """
    rt: Runtime = request.getfixturevalue("rt")
    with rt.leaks.scope(assert_clean=True) as scope:
        yield scope
