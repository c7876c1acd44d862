"""A service that resizes uploads: `python examples/resize_service.py --port 8080`, then

    curl --data-binary @photo.jpg 'http://127.0.0.1:8080/resize?width=320&height=240' > small.jpg
    curl -F image=@photo.png 'http://127.0.0.1:8080/resize?width=64&height=64&format=png' > icon.png

What it shows: pixels are the image workers' business, and the event loop stays free for the next request. The
number of jobs is bounded, and so are the time and the bytes of each; what is beyond a bound is refused at
once, with a status that says why. A client that leaves takes its work along. Ctrl-C and SIGTERM let what is
under way end, then close the runtime.
"""

import argparse
import asyncio
import collections
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import ironcliw
from aiohttp import BodyPartReader, web
from aiohttp.typedefs import Handler
from ironcliw.types import Format

MEGABYTE = 1 << 20
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
SIDE_MAX = 4096
"""Of a result, in pixels: an upload is bounded by its bytes, and what it is blown up to is not."""
QUALITY = 85
RETRY_AFTER_S = "1"
DRAIN_S = 60.0


@dataclass(frozen=True)
class Limits:
    """What one process takes on. Each job holds its upload and the decoded picture in memory."""

    jobs: int = 16
    upload_bytes: int = 20 * MEGABYTE
    upload_s: float = 30.0
    work_s: float = 10.0


@dataclass
class State:
    """What the handlers share; they all run on the loop, so plain numbers do."""

    limits: Limits
    jobs: int = 0
    answers: collections.Counter[int] = field(default_factory=collections.Counter)

    @contextmanager
    def job(self) -> Iterator[None]:
        """Room for one more, or 503: a queue without end would only make everybody's answer late."""
        if self.jobs >= self.limits.jobs:
            raise busy("as many pictures as it takes at one time are in the works")
        self.jobs += 1
        try:
            yield
        finally:
            self.jobs -= 1


STATE = web.AppKey("state", State)
RUNTIME = web.AppKey("runtime", ironcliw.Runtime)


def wanted(query: Mapping[str, str]) -> tuple[tuple[int, int], Format]:
    """The size and the format that are asked for, looked at before anything is read."""

    def side(name: str) -> int:
        text = query.get(name, "")
        if re.fullmatch("[1-9][0-9]{0,3}", text) is None or int(text) > SIDE_MAX:
            raise web.HTTPBadRequest(text=f"{name} is a whole number from 1 to {SIDE_MAX}, not {text[:20]!r}")
        return int(text)

    size = side("width"), side("height")
    match query.get("format", "jpeg"):
        case "jpeg" | "png" as format:
            return size, format
        case other:
            raise web.HTTPBadRequest(text=f"format is jpeg or png, not {other[:20]!r}")


def busy(text: str) -> web.HTTPException:
    return web.HTTPServiceUnavailable(text=text, headers={"Retry-After": RETRY_AFTER_S})


async def upload(request: web.Request) -> bytes | bytearray:
    """The picture's bytes: the body itself, or the form's part that is named `image`."""
    limit = request.app[STATE].limits.upload_bytes
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    if request.content_type != "multipart/form-data":
        return await request.read()
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "image":
                return await part.read()
            if request.content.total_bytes > limit:
                raise web.HTTPRequestEntityTooLarge(limit)
    except ValueError as error:
        raise web.HTTPBadRequest(text=f"the form cannot be read: {error}") from error
    raise web.HTTPBadRequest(text="the form has no part that is named image")


async def resize(request: web.Request) -> web.Response:
    size, format = wanted(request.query)
    state, images = request.app[STATE], request.app[RUNTIME].images
    with state.job():
        try:
            async with asyncio.timeout(state.limits.upload_s):
                data = await upload(request)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the upload took too long") from None
        try:
            # At its end the call that is awaited is cancelled: a worker that has not begun skips it.
            async with asyncio.timeout(state.limits.work_s):
                small = await images.resize(await images.decode(data), size)
                body = await images.encode(small, format, QUALITY)
        except ironcliw.DecodeError as error:
            known = data.startswith(SIGNATURES)
            raise (web.HTTPBadRequest if known else web.HTTPUnsupportedMediaType)(text=str(error)) from error
    return web.Response(body=body, content_type=f"image/{format}")


@web.middleware
async def answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives every error its status, and counts."""
    try:
        try:
            response = await handler(request)
        except ironcliw.InvalidInput as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        except TimeoutError as error:  # DeadlineExceeded is one
            raise web.HTTPGatewayTimeout(text="the work took too long") from error
        except (ironcliw.PoolExhausted, ironcliw.ActorPanicked, ironcliw.ActorRestarting) as error:
            raise busy(str(error)) from error  # nothing of it was kept: the client may send it again
    except web.HTTPException as error:
        request.app[STATE].answers[error.status] += 1
        raise
    request.app[STATE].answers[response.status] += 1
    return response


async def healthz(request: web.Request) -> web.Response:
    status = request.app[RUNTIME].status()
    well = status in ("running", "degraded")  # degraded: an actor is being restarted, the others work on
    return web.json_response({"status": status, "jobs": request.app[STATE].jobs}, status=200 if well else 503)


async def metrics(request: web.Request) -> web.Response:
    """The service's own; those of actors, threads and buffers are the supervision endpoint's."""
    state = request.app[STATE]
    text = f"# TYPE resize_jobs gauge\nresize_jobs {state.jobs}\n# TYPE resize_answers counter\n"
    for status, count in sorted(state.answers.items()):
        text += f'resize_answers_total{{status="{status}"}} {count}\n'
    kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return web.Response(body=f"{text}# EOF\n".encode(), headers={"Content-Type": kind})


def application(limits: Limits, workers: int | None = None, endpoint: str | None = None) -> web.Application:
    async def runtime(app: web.Application) -> AsyncIterator[None]:
        async with ironcliw.Runtime(image_workers=workers, endpoint=endpoint) as rt:
            app[RUNTIME] = rt
            yield

    app = web.Application(middlewares=[answers], client_max_size=limits.upload_bytes)
    app[STATE] = State(limits)
    app.cleanup_ctx.append(runtime)
    app.add_routes([web.post("/resize", resize), web.get("/healthz", healthz), web.get("/metrics", metrics)])
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Resizes uploads on the image workers of Ironcliw.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--jobs", type=int, default=Limits.jobs, help="pictures in the works, at most")
    parser.add_argument("--megabytes", type=int, default=Limits.upload_bytes // MEGABYTE, help="of an upload")
    parser.add_argument("--image-workers", type=int, help="threads; one for each core unless given")
    parser.add_argument("--supervision", help="address of the supervision endpoint: 127.0.0.1:9464")
    args = parser.parse_args()
    app = application(Limits(args.jobs, args.megabytes * MEGABYTE), args.image_workers, args.supervision)
    # handler_cancellation: a client that hangs up cancels its handler, and with it the call that it awaits.
    web.run_app(app, host=args.host, port=args.port, handler_cancellation=True, shutdown_timeout=DRAIN_S)


if __name__ == "__main__":
    main()
