"""A headless Chromium, driven through the DevTools protocol over its pipe: no package is needed for it.

https://chromedevtools.github.io/devtools-protocol/ has the commands. Messages are JSON, each ended by a NUL;
the browser reads them from its file descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
MISSING = "no Chromium is installed" if os.name == "posix" else "the browser's pipe is tried on POSIX only"
HAS_BROWSER = CHROMIUM is not None and os.name == "posix"

SECONDS_MAX = 90.0
"""For an answer: a browser starts slowly on a busy machine."""

LAUNCHER = """
import fcntl, os, sys
ends = [int(end) for end in sys.argv[1:3]]
kept = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
for end in ends:
    os.close(end)
for end, place in zip(kept, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the ends of two pipes where the browser looks for them, whatever their numbers are, and becomes it."""

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class BrowserError(Exception):
    """The browser, or a page's script, said that something is wrong."""


class Browser:
    """A browser of its own with a fresh profile. Use it with `with`."""

    def __init__(self, profile: Path, *flags: str) -> None:
        assert CHROMIUM is not None
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-c",
                LAUNCHER,
                *map(str, (to_browser, from_browser)),
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                *flags,
            ],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._received = b""
        self._last = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close")
        except (BrowserError, OSError):
            self._process.kill()
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._receive()
            if "id" not in answer:
                self._events.append(answer)
            elif answer["id"] == self._last:
                break
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def events(self, session: str) -> list[dict[str, Any]]:
        """What that page told unasked since this was last called."""
        told = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return told

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS_MAX
        while b"\0" not in self._received:
            if not select.select([self._in], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise BrowserError(f"no answer within {SECONDS_MAX:g} s")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise BrowserError(f"the browser has ended: {self._process.poll()}")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, path: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """A tab with that file or address, in a window of that size, once it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.prefer(dark)
        page.go(path.as_uri() if isinstance(path, Path) else path)
        return page


class Page:
    """A tab of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command to this tab."""
        return self._browser.call(method, self._session, **parameters)

    def go(self, address: str) -> None:
        """Loads that address, and waits until its scripts have run."""
        answer = self.call("Page.navigate", url=address)
        if answer.get("errorText"):
            raise BrowserError(f"{address}: {answer['errorText']}")
        wait_for(
            lambda: (
                self.run("document.readyState === 'complete' && location.href") not in (False, "about:blank")
            )
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page; an exception there is one here."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """Exceptions, errors and warnings since this was last called."""
        self.run("0")
        found = []
        for event in self._browser.events(self._session):
            method, told = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"].get("exception", told).get("description")))
            elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(told["entry"]["text"])
            elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
                found.append(str(told["args"]))
        return found

    def resize(self, width: int, height: int) -> None:
        """Makes the window that large."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, dark: bool) -> None:
        """Says what colours the user likes."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def place(self, selector: str, n: int = 0) -> tuple[float, float]:
        """The middle of the n-th such element: it is scrolled into sight, and must be what is seen there."""
        found = self.run(
            f"""(() => {{
              const element = document.querySelectorAll({json.dumps(selector)})[{n}];
              if (!element) return null;
              element.scrollIntoView({{ block: "center", inline: "center", behavior: "instant" }});
              const box = element.getBoundingClientRect();
              const x = box.x + box.width / 2, y = box.y + box.height / 2;
              const seen = document.elementFromPoint(x, y);
              return [x, y, seen !== null && (element.contains(seen) || seen.contains(element))];
            }})()"""
        )
        if found is None:
            raise BrowserError(f"there is no {selector} [{n}]")
        x, y, is_seen = found
        if not is_seen:
            raise BrowserError(f"{selector} [{n}] is covered or out of sight")
        return x, y

    def point(self, selector: str, n: int = 0, right: float = 0.0, down: float = 0.0) -> None:
        """Moves the mouse onto that element, so far from its middle."""
        x, y = self.place(selector, n)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + right, y=y + down)

    def click(self, selector: str, n: int = 0) -> None:
        """Clicks on that element with the mouse."""
        x, y = self.place(selector, n)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="none" if kind == "mouseMoved" else "left",
                clickCount=0 if kind == "mouseMoved" else 1,
            )

    def type(self, text: str) -> None:
        """Types it where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key and lets go of it."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": 8 if shift else 0}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.call("Input.dispatchKeyEvent", type="keyDown", **told, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def texts(self, selector: str) -> list[str]:
        """The texts of all such elements."""
        found: list[str] = self.run(
            f"Array.from(document.querySelectorAll({json.dumps(selector)}), (each) => each.textContent)"
        )
        return found

    def count(self, selector: str) -> int:
        """How many such elements there are."""
        found: int = self.run(f"document.querySelectorAll({json.dumps(selector)}).length")
        return found

    def is_shown(self, selector: str) -> bool:
        """Whether the first such element takes any room."""
        return bool(self.run(f"document.querySelector({json.dumps(selector)})?.getClientRects().length > 0"))

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))


def wait_for(condition: Callable[[], Any], seconds: float = SECONDS_MAX) -> None:
    """Returns when it is true; an error when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BrowserError(f"{condition} did not become true")
        time.sleep(0.02)
