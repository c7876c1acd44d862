"""`ironcliw memory` as people use it: files that are none, pipes that close, any terminal or none."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from ironcliw.cli import main
from test_pool_snapshot import NASTY, document, nasty

COMMAND = (sys.executable, "-c", "import sys; from ironcliw.cli import main; sys.exit(main())", "memory")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: with a snapshot, one of a minute later, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    later = document()
    later["taken_at_unix_s"] += 60
    for name, value in (
        ("pool.json", document()),
        ("later.json", later),
        ("nasty.json", nasty()),
        ("bad.json", [1]),
    ):
        Path(name).write_text(json.dumps(value))
    return tmp_path


def test_the_command_prints_and_draws(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "pool.json"]) == 0
    assert "python" in capsys.readouterr().out
    drawn = ["--html", "page.html", "--trace", "trace.json", "--flamegraph", "flame.svg"]
    assert main(["memory", "pool.json", *drawn]) == 0
    assert capsys.readouterr().out.splitlines() == ["wrote page.html", "wrote trace.json", "wrote flame.svg"]
    assert all(Path(name).stat().st_size > 0 for name in drawn[1::2])
    assert main(["memory", "later.json", "--since", "pool.json"]) == 0
    assert capsys.readouterr().out.startswith("In 1 min 0 s: 0, from 8 KiB to 8 KiB; +0 leases")
    assert main(["memory", "pool.json", "--since", "later.json"]) == 0
    assert capsys.readouterr().out.startswith("Going back 1 min 0 s: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.json"],
        ["bad.json"],
        ["."],
        ["pool.json", "--since", "bad.json", "--html", "page.html"],
        ["pool.json", "--flamegraph", "x.png", "--html", "page.html"],
        ["pool.json", "--html", "nowhere/page.html"],
        ["pool.json", "--html", "pool.json"],
        ["pool.json", "--html", "./later.json", "--since", "later.json"],
        ["pool.json", "--html", "page.html", "--trace", "page.html"],
        ["pool.json", "--html", "hard.json"],
        ["later.json", "--since", "pool.json", "--trace", "hard.json"],
        ["pool.json", "--html", "loop.html"],
    ],
    ids=" ".join,
)
def test_the_command_says_in_a_line_why_it_cannot_and_writes_nothing(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if {"hard.json", "loop.html"} & set(arguments):
        try:
            os.link("pool.json", "hard.json")
            os.symlink("loop.html", "loop.html")
        except OSError:
            pytest.skip("this file system has no such links")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "loop.html"}
    assert main(["memory", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and told.err.startswith("ironcliw: ") and told.out == ""
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "loop.html"}
    assert after == before


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, "pool.json"], stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("is_read", [True, False])
def test_another_pipe_that_breaks_is_not_taken_for_the_outputs(folder: Path, is_read: bool) -> None:
    program = """
import sys
from ironcliw.cli import main, memory
def broken(*_, **__): raise BrokenPipeError("of somebody else")
memory.look = broken
sys.exit(main())
"""
    reading, writing = os.pipe()
    if not is_read:
        os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", program, "memory", "pool.json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writing)
    if is_read:
        os.close(reading)
    assert done.returncode == (1 if is_read else 141)
    assert (b"of somebody else" in done.stderr) == is_read


@pytest.mark.skipif(os.name != "posix", reason="a shell's `2>&-`")
def test_a_complaint_that_nobody_would_hear_is_no_output(folder: Path) -> None:
    command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "bad.json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_told_of_in_a_line(folder: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "pool.json"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (2, b"ironcliw: standard output: No space left on device\n")
    done = subprocess.run([*COMMAND, "pool.json", "--html", "/dev/full"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, b"ironcliw: /dev/full: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="a shell's `>&-`")
def test_without_an_output_it_still_draws(folder: Path) -> None:
    command = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "pool.json", "--html", "page.html"]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("page.html").stat().st_size > 0


def test_letters_that_the_terminal_lacks_are_escapes(folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, "nasty.json"], capture_output=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\xf6" in done.stdout


def on_a_terminal(columns: int, *arguments: str) -> list[str]:
    """What the command writes on one of that width, by lines."""
    fcntl, pty = pytest.importorskip("fcntl"), pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=its, stdout=its, stderr=its, env=environment
    ) as process:
        os.close(its)
        told = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # Linux: the other side is closed.
                break
            if not part:
                break
            told += part
    os.close(ours)
    assert process.returncode == 0
    return told.decode().splitlines()


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_on_a_narrow_terminal_names_are_shortened_and_figures_are_not(folder: Path) -> None:
    data = document()
    data["owners"][0]["owner"] = "images/" + "x" * 100 + "/7"
    Path("long.json").write_text(json.dumps(data))
    wide = on_a_terminal(200, "long.json")
    narrow = on_a_terminal(60, "long.json")
    assert data["owners"][0]["owner"] in wide[3] and max(map(len, wide)) > 100
    assert (
        max(map(len, narrow[2:])) <= 60
        and "…" in narrow[3]
        and narrow[3].split()[-2:] == wide[3].split()[-2:]
    )
    assert narrow[3].startswith("images/xx") and "x/7 " in narrow[3]
    tiny = on_a_terminal(10, "long.json")
    assert [line.split()[-2:] for line in tiny[3:]] == [line.split()[-2:] for line in wide[3:]]


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_no_name_moves_the_cursor_of_a_terminal(folder: Path) -> None:
    data = document()
    data["owners"][0]["owner"] = "\x1b[2J\x1b]0;title\x07" + NASTY
    Path("moving.json").write_text(json.dumps(data))
    told = "\n".join(on_a_terminal(200, "moving.json"))
    assert "\\x1b[2J" in told
    assert all(letter.isprintable() or letter == "\n" for letter in told)
