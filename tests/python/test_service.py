"""`examples/resize_service.py`, as its clients meet it: over a socket, well-behaved and not."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import active, decoded, encoded, eventually, photograph
from ironcliw import testing
from PIL import Image

aiohttp = pytest.importorskip("aiohttp")
from aiohttp import test_utils  # noqa: E402

PROGRAM = Path(__file__).parents[2] / "examples" / "resize_service.py"
SECONDS = 30
"""A hang, and not a slow machine."""


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("resize_service", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


service = load()


@pytest.fixture(scope="module")
def large() -> bytes:
    """A JPEG of six megapixels."""
    return encoded(np.tile(photograph(500, 750), (4, 4, 1)), "JPEG", quality=85)


@pytest.fixture(scope="module")
def small() -> bytes:
    return encoded(photograph(), "PNG")


class Service:
    """The real server on a port of its own, and a client of it."""

    def __init__(self, client: test_utils.TestClient[Any, Any]) -> None:
        self.client = client
        self.state = client.app[service.STATE]
        self.rt: ironcliw.Runtime = client.app[service.RUNTIME]

    async def resize(self, data: Any, query: str = "width=40&height=30", **options: Any) -> tuple[int, bytes]:
        async with self.client.post(f"/resize?{query}", data=data, **options) as response:
            return response.status, await response.read()

    async def begin(self, body: bytes, declared: int | None = None) -> asyncio.StreamWriter:
        """A connection with a request on it, whose answer nobody reads yet."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.client.port)
        head = [
            "POST /resize?width=40&height=30 HTTP/1.1",
            "Host: x",
            f"Content-Length: {declared or len(body)}",
        ]
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await writer.drain()
        return writer

    async def until(self, condition: Callable[[], bool]) -> None:
        assert await asyncio.to_thread(eventually, condition, SECONDS)

    def skipped(self, path: str) -> int:
        return sum(actor["skipped"] for actor in self.rt.snapshot()["actors"] if actor["path"] == path)

    async def nothing_is_outstanding(self) -> None:
        await self.until(lambda: self.state.jobs == 0)
        await self.until(lambda: active(self.rt) == 0)
        assert await self.rt.leaks.check() == []


@asynccontextmanager
async def serving(workers: int = 2, **limits: Any) -> AsyncIterator[Service]:
    app = service.application(service.Limits(**limits), workers=workers)
    async with test_utils.TestClient(test_utils.TestServer(app)) as client:
        up = Service(client)
        yield up
        await up.nothing_is_outstanding()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * SECONDS):
            await main()

    asyncio.run(bounded())


# What it answers


@pytest.mark.parametrize("sent", ["JPEG", "PNG"])
@pytest.mark.parametrize("asked", ["jpeg", "png"])
def test_the_pixels_are_those_that_pillow_makes(sent: str, asked: str) -> None:
    upload = encoded(photograph(240, 320), sent)
    expected = np.asarray(Image.fromarray(decoded(upload)).resize((80, 60), Image.Resampling.BILINEAR))

    async def main() -> None:
        async with serving() as up:
            form = aiohttp.FormData()
            form.add_field("note", "before the picture")
            form.add_field("image", upload, filename="photo")
            for data in (upload, form):
                status, body = await up.resize(data, f"width=80&height=60&format={asked}")
                assert status == 200
                assert Image.open(io.BytesIO(body)).format == asked.upper()
                away = np.abs(decoded(body).astype(int) - expected)
                # A level of rounding, and what JPEG loses.
                assert away.max() <= 2 if asked == "png" else away.mean() < 4

    run(main)


def test_a_bad_upload_is_told_what_is_wrong_with_it(large: bytes, small: bytes) -> None:
    other = aiohttp.FormData()
    other.add_field("picture", small, filename="photo.png")
    cases: list[tuple[Any, int, bytes]] = [
        (b"", 415, b"it is empty"),
        (b"hello", 415, b"neither JPEG nor PNG"),
        (b"GIF89a" + bytes(100), 415, b"it is a GIF"),
        (large[:5000], 400, b"cut off"),
        (small[:-30], 400, b"cut off"),
        (other, 400, b"no part that is named image"),
    ]

    async def main() -> None:
        async with serving() as up:
            for data, status, text in cases:
                answer = await up.resize(data)
                assert answer[0] == status and text in answer[1], answer
            headers = {"Content-Type": "multipart/form-data"}
            assert (await up.resize(b"no boundary", headers=headers))[0] == 400
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            assert (await up.resize(b"no such boundary", headers=headers))[0] == 400
            assert (await up.resize(small))[0] == 200

    run(main)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", b"width"),
        ("width=10", b"height"),
        ("width=0&height=10", b"width"),
        ("width=10&height=-1", b"height"),
        ("width=10&height=4097", b"4096"),
        ("width=1e3&height=10", b"'1e3'"),
        ("width=%D9%A1&height=10", b"width"),
        ("width=10&height=10&format=gif", b"gif"),
    ],
)
def test_a_bad_size_or_format_is_refused(query: str, text: bytes, small: bytes) -> None:
    async def main() -> None:
        async with serving() as up:
            status, body = await up.resize(small, query)
            assert status == 400 and text in body, body

    run(main)


def test_an_upload_that_is_too_large_is_refused_however_it_comes(small: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(1000)

    def form(name: str) -> aiohttp.FormData:
        form = aiohttp.FormData()
        form.add_field(name, bytes(20_000), filename="photo.png")
        return form

    async def main() -> None:
        async with serving(upload_bytes=10_000) as up:
            for data in (bytes(20_000), chunks(), form("image"), form("other")):
                status, body = await up.resize(data)
                assert (status, b"10000" in body) == (413, True), body
            chunked = aiohttp.MultipartWriter("form-data")
            chunked.append(bytes(20_000)).set_content_disposition("form-data", name="other")
            boundary = {"Content-Type": f"multipart/form-data; boundary={chunked.boundary}"}

            async def unsized() -> AsyncIterator[bytes]:
                yield (
                    b"--"
                    + chunked.boundary.encode()
                    + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
                )
                async for chunk in chunks():
                    yield chunk

            assert (await up.resize(unsized(), headers=boundary))[0] in (400, 413)
            assert (await up.resize(encoded(photograph(20, 20), "PNG")))[0] == 200

    run(main)


# When there is too much to do


def test_what_is_too_much_is_refused_at_once_and_the_rest_is_done(large: bytes) -> None:
    async def main() -> None:
        async with serving(jobs=2) as up:

            async def one() -> tuple[int, str | None]:
                async with up.client.post("/resize?width=40&height=30", data=large) as response:
                    await response.read()
                    return response.status, response.headers.get("Retry-After")

            answers = await asyncio.gather(*[one() for _ in range(10)])
            assert set(answers) == {(200, None), (503, "1")}
            assert sum(status == 200 for status, _ in answers) >= 2
            assert (await up.resize(large))[0] == 200
            text = await (await up.client.get("/metrics")).text()
            assert f'{{status="503"}} {answers.count((503, "1"))}\n' in text
            assert "resize_jobs 0\n" in text and text.endswith("# EOF\n")

    run(main)


def test_health_is_answered_while_eight_large_uploads_are_in_the_works(large: bytes) -> None:
    async def main() -> None:
        async with serving() as up:
            uploads = asyncio.gather(*[up.resize(large) for _ in range(8)])
            answered = 0
            while not uploads.done():
                async with up.client.get("/healthz") as response:
                    assert response.status == 200
                    answered += (await response.json())["jobs"] > 0
            assert {status for status, _ in await uploads} == {200}
            # A loop that did the work itself could answer between two of its steps: decode, resize, encode.
            assert answered > 8 * 3 * 2

    run(main)


def test_work_that_takes_too_long_is_ended(large: bytes) -> None:
    async def main() -> None:
        async with serving(work_s=0.001) as up:
            assert [status for status, _ in await asyncio.gather(*[up.resize(large) for _ in range(4)])] == [
                504
            ] * 4

    run(main)


def test_an_upload_that_takes_too_long_is_ended() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"\xff\xd8\xff"
        await asyncio.sleep(SECONDS)

    async def main() -> None:
        async with serving(upload_s=0.05) as up:
            assert (await up.resize(never()))[0] == 408

    run(main)


def test_clients_that_hang_up_take_their_work_along(large: bytes) -> None:
    async def main() -> None:
        async with serving(workers=1) as up:
            ahead = [up.rt.images.decode(large) for _ in range(40)]
            writers = [await up.begin(large) for _ in range(8)]
            await up.until(lambda: up.state.jobs == 8)
            for writer in writers:
                writer.close()
            await up.until(lambda: up.state.jobs == 0)
            assert not ahead[-1].done()
            for call in ahead:
                call.cancel()
            ahead.clear()
            await up.nothing_is_outstanding()
            await up.until(lambda: up.skipped("images/0") >= 8)
            assert (await up.resize(large))[0] == 200

    run(main)


def test_a_client_that_hangs_up_in_the_middle_of_its_upload_leaves_nothing(large: bytes) -> None:
    async def main() -> None:
        async with serving(jobs=1) as up:
            writer = await up.begin(large[:10_000], declared=len(large))
            await up.until(lambda: up.state.jobs == 1)
            assert (await up.resize(large))[0] == 503
            writer.close()
            await up.nothing_is_outstanding()
            assert (await up.resize(large))[0] == 200

    run(main)


def test_a_crash_of_a_worker_costs_an_answer_and_not_the_service(large: bytes) -> None:
    async def main() -> None:
        async with serving() as up:
            uploads = asyncio.gather(*[up.resize(large) for _ in range(8)])
            await up.until(lambda: up.state.jobs == 8)
            for path in ("images/0", "images/1"):
                with pytest.raises(ironcliw.ActorPanicked):
                    await testing.crash(up.rt, path)
            assert {status for status, _ in await uploads} <= {200, 503}
            assert (await up.resize(large))[0] == 200

    run(main)


# As a program


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service as its command line starts it, once it answers, and its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-u", "-X", "faulthandler", "-W", "error", PROGRAM, "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert "Running on" in process.stdout.readline(), process.communicate()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_it_end_what_is_under_way(how: signal.Signals, large: bytes) -> None:
    with program("--jobs", "4", "--image-workers", "1") as (process, url):

        async def main() -> list[int]:
            async def one() -> int:
                async with client.post(f"{url}/resize?width=40&height=30", data=large) as response:
                    await response.read()
                    return response.status

            async with aiohttp.ClientSession() as client:
                uploads = [asyncio.create_task(one()) for _ in range(4)]
                while True:
                    async with client.get(f"{url}/healthz") as response:
                        health = await response.json()
                    if health["jobs"] == 4:
                        break
                process.send_signal(how)
                return await asyncio.gather(*uploads)

        assert asyncio.run(main()) == [200] * 4
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (0, ""), out


def test_it_says_how_it_is_used() -> None:
    command = [sys.executable, "-W", "error", PROGRAM, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "") and "--image-workers" in done.stdout
