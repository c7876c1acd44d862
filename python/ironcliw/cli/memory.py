"""`ironcliw memory`: a pool's snapshot from a file, printed or drawn."""

from __future__ import annotations

from pathlib import Path

from ironcliw.errors import InvalidInput
from ironcliw.memory import PoolSnapshot

from .console import Complaint


def look(
    path: Path, *, since: Path | None, html: Path | None, trace: Path | None, flamegraph: Path | None
) -> int:
    """Draws what it is asked to, and prints what was not drawn away; the exit code."""
    snapshot = read(path)
    try:
        for out, write in (
            (html, snapshot.to_html),
            (trace, snapshot.to_chrome_trace),
            (flamegraph, snapshot.to_flamegraph),
        ):
            if out is not None:
                write(out)
                print(f"wrote {out}")
    except InvalidInput as error:
        raise Complaint(str(error)) from error
    except OSError as error:
        raise Complaint(f"{error.filename}: {error.strerror}") from error
    if since is not None:
        print(snapshot.diff(read(since)))
    elif html is None and trace is None and flamegraph is None:
        print(snapshot)
    return 0


def read(path: Path) -> PoolSnapshot:
    """The snapshot, or a complaint that names the file."""
    try:
        return PoolSnapshot.from_json(path)
    except InvalidInput as error:
        raise Complaint(f"{path}: {error}") from error
    except OSError as error:
        raise Complaint(f"{path}: {error.strerror}") from error
