"""The Python programs of the documentation and the examples run, each in an interpreter of its own with
warnings as errors.

Right before a block, `<!-- not run: why -->` leaves it out, and `<!-- continues -->` appends it to the block
above. The guide's blocks share names, and are run by `test_guide.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SECONDS = 120
"""A hang, and not a slow machine."""

BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n\n?)?```python\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass
class Program:
    """A block and those that continue it."""

    page: str
    line: int
    code: str
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def programs(page: str, text: str) -> list[Program]:
    found: list[Program] = []
    for block in BLOCK.finditer(text):
        mark = block["mark"] or ""
        line = text.count("\n", 0, block.start("code")) + 1
        if mark == "continues":
            found[-1].code += block["code"]
        else:
            not_run = re.fullmatch("not run: (.+)", mark)
            assert not mark or not_run, f"{page}:{line}: what does {mark!r} mean?"
            found.append(Program(page, line, block["code"], not_run[1] if not_run else ""))
    return found


def all_programs() -> list[Program]:
    return [
        program
        for page in PAGES
        if page.name != "guide.md"
        for program in programs(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))
    ]


def test_marks_say_what_becomes_of_a_block() -> None:
    text = """
```python
a = 1
```
<!-- continues -->
```python
b = a
```

<!-- not run: it never ends -->

```python
while True: pass
```
"""
    assert programs("page", text) == [
        Program("page", 3, "a = 1\nb = a\n"),
        Program("page", 13, "while True: pass\n", "it never ends"),
    ]
    with pytest.raises(AssertionError, match="page:3: what does 'not run' mean"):
        programs("page", "<!-- not run -->\n```python\n```\n")


def test_no_block_is_missed() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == len(re.findall(r"^\s*```py", text, re.M)), page
    assert {"README.md", "docs/python.md", "docs/migration.md"} <= {each.page for each in all_programs()}


@pytest.mark.parametrize("program", all_programs(), ids=str)
def test_a_program_of_the_docs_runs(program: Program, tmp_path: Path) -> None:
    if program.not_run:
        pytest.skip(program.not_run)
    # As many empty lines as are above it in its page, so that a traceback names the page's line.
    path = tmp_path / "program.py"
    path.write_text("\n" * (program.line - 1) + program.code, encoding="utf-8")
    # The log quotes the tracebacks of crashes, within its lines.
    assert not re.search("^Traceback", run(path, tmp_path), re.M), program


@pytest.mark.parametrize("name", ["quickstart.py", "guide_sync.py"])
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    assert "Traceback" not in run(ROOT / "examples" / name, tmp_path)


def run(path: Path, folder: Path) -> str:
    """What it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", path],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr
