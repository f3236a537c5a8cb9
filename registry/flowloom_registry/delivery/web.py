"""A service over HTTP, by Starlette and uvicorn: safe to have open beside a browser.

Requests name no files, components or URLs. Only JSON is read, and only where its sender says that it is
JSON, which a page of another site cannot say without being allowed to; no such allowance (CORS) is ever
given. Answers may be framed, cached or run by nobody, and tell no traceback.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowloom.digits import are_digits
from flowloom.errors import FlowloomError
from flowloom.state import State, map_state
from flowloom_registry.delivery.connections import HEADERS, Connection, encoded
from flowloom_registry.delivery.service import Asked, Drawn, Full, Refused, Service

__all__ = ["Bounds", "application", "serve", "server_of"]

PICTURES = ("image/png", "image/svg+xml", "audio/wav")
"""Types of figures that are handed out; HTML of renderers is not."""


@dataclass(frozen=True)
class Bounds:
    """What of HTTP is accepted.

    Args:
        body: bytes.
        timeout: seconds until an answer must be there, and until a body must have come.
        hosts: names under which the server may be called; ``*.example.org`` stands for all below it, ``*``
            for any.
        connections: open at a time, and requests answered at a time.
        idle: seconds that a connection may be open without a request.
    """

    body: int = 2**20
    timeout: float = 60.0
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]")
    connections: int = 512
    idle: int = 5

    def __post_init__(self) -> None:
        if self.body < 1 or not 0 < self.timeout < math.inf:
            raise FlowloomError("--max-body and --timeout must be more than 0")
        for name in self.hosts:
            if "*" in name.removeprefix("*.") and name != "*":
                raise FlowloomError(f"--allow-host {name}: a * stands alone, or first, as in *.example.org")


def application(service: Service, bounds: Bounds) -> Starlette:
    """The application: ``POST /sample``, ``GET /health`` and ``GET /``."""

    async def sample(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "the body must be JSON; send it with Content-Type: application/json")
        wanted = _wanted(request.headers.get("accept", ""))
        asked = Asked.of(await _json(request, bounds), service.limits)
        if wanted != "application/json":
            asked = Asked(asked.n, asked.seed, asked.cond, asked.steps, show=True)
        future = service.submit(asked)
        drawn = await _waited(future, request, bounds.timeout)
        return _answer(drawn, wanted)

    async def health(request: Request) -> Response:
        told = {"status": "ok", "run": service.assembly.name, "waiting": service.waiting}
        return JSONResponse({**told, "drawn": service.drawn, "refused": service.refused})

    async def about(request: Request) -> Response:
        return JSONResponse(describe(service, await shown(request)))

    told: list[str] = []

    async def shown(request: Request) -> list[str]:
        """Types of figures of this run, as one example of it tells, which is drawn once."""
        if not told:
            found: list[str] = []
            if service.assembly.renderer is not None:
                one = Asked(1, 0, {}, steps=1 if service.takes_steps else None, show=True)
                drawn = await _waited(service.submit(one), request, bounds.timeout)
                found = [figure.mime for figure in drawn.figures]
            told[:] = ["application/json", *(kind for kind in PICTURES if found.count(kind) == 1)]
        return told

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    return Starlette(
        routes=[
            Route("/sample", sample, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
            Route("/", about, methods=["GET"]),
        ],
        middleware=[
            Middleware(_Guarded, most=bounds.connections),
            Middleware(_Named, hosts=bounds.hosts),
        ],
        exception_handlers={HTTPException: _refusal, FlowloomError: _failure},
        lifespan=lifespan,
    )


def describe(service: Service, answers: Sequence[str]) -> dict[str, Any]:
    """What may be asked for, as JSON.

    Args:
        service: what draws.
        answers: types of answers that this run can give.
    """
    limits, flow = service.limits, service.assembly.flow
    conditions = {
        name: {
            "classes": one.classes,
            "names": list(one.names),
            "shape": list(one.shape),
            "role": one.role,
        }
        for name, one in flow.known_conditions().items()
        if one.role != "judged"
    }
    bounds = {"n": limits.n, "steps": limits.steps if service.takes_steps else None, "queue": limits.queue}
    return {
        "run": service.assembly.name,
        "sample": {"n": 1, "seed": None, "cond": {}, "steps": None, "show": False},
        "conditions": conditions,
        "limits": bounds,
        "answers": list(answers),
    }


def _wanted(accept: str) -> str:
    """The type of answer: the first that is accepted and can be given; JSON where anything will do."""
    for word in accept.split(","):
        kind = word.partition(";")[0].strip().lower()
        if kind in ("", "*/*", "application/*", "application/json"):
            return "application/json"
        if kind in PICTURES:
            return kind
    raise HTTPException(406, f"answers are application/json, {', '.join(PICTURES)}")


async def _json(request: Request, bounds: Bounds) -> Any:
    async def whole() -> bytes:
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > bounds.body:
                raise HTTPException(413, f"the body has more than {bounds.body} bytes")
        return bytes(data)

    said = request.headers.get("content-length", "")
    if are_digits(said) and int(said) > bounds.body:
        raise HTTPException(413, f"the body has more than {bounds.body} bytes")
    try:
        data = await asyncio.wait_for(whole(), bounds.timeout)
    except asyncio.TimeoutError:
        raise HTTPException(408, "the body did not come in time") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended too soon") from None
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


async def _waited(future: Future[Drawn], request: Request, timeout: float) -> Drawn:
    """The answer, for as long as somebody waits for it."""
    waiting = asyncio.wrap_future(future)
    end = asyncio.get_running_loop().time() + timeout
    try:
        while not waiting.done():
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                raise HTTPException(504, f"not drawn within {timeout:g} s; ask for fewer examples or steps")
            await asyncio.wait({waiting}, timeout=min(left, 1.0))
            if not waiting.done() and await request.is_disconnected():
                raise HTTPException(499, "the sender has gone")
    finally:
        if not waiting.done():
            future.cancel()  # one that has not begun is dropped
            waiting.cancel()
    try:
        return waiting.result()
    except (CancelledError, asyncio.CancelledError):
        raise HTTPException(503, "the server is stopping") from None


def _answer(drawn: Drawn, wanted: str) -> Response:
    asked = drawn.asked
    facts = {"x-seed": str(asked.seed), "x-evaluations": str(drawn.evaluations)}
    if wanted != "application/json":
        fitting = [one for one in drawn.figures if one.mime == wanted]
        if len(fitting) != 1:
            have = sorted({one.mime for one in drawn.figures if one.mime in PICTURES})
            if not fitting:
                raise HTTPException(
                    406, f"this run shows no {wanted}; it shows {', '.join(have) or 'nothing'}"
                )
            raise HTTPException(
                406, f"{len(fitting)} examples are {len(fitting)} files: ask for n = 1, or for JSON"
            )
        return Response(fitting[0].data, media_type=wanted, headers=facts)
    value: dict[str, Any] = {
        "n": asked.n,
        "seed": asked.seed,
        "evaluations": drawn.evaluations,
        "x": _plain(drawn.examples.x),
        "cond": {name: rows.tolist() for name, rows in drawn.examples.cond.items()},
    }
    if asked.show:
        value["figures"] = [
            {"title": one.title, "mime": one.mime, "data": base64.b64encode(one.data).decode()}
            for one in drawn.figures
            if one.mime in PICTURES
        ]
    return JSONResponse(value, headers=facts)


def _plain(state: State) -> Any:
    return map_state(lambda leaf: leaf.tolist(), state)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": _line(error.detail)}, error.status_code, headers=error.headers)


def _line(text: str) -> str:
    """One line that every encoding of an answer can hold: names of a request may have lone surrogates."""
    return " ".join(text.split()).encode(errors="replace").decode()


async def _failure(request: Request, error: Exception) -> Response:
    line = _line(str(error))
    if isinstance(error, Full):
        return JSONResponse({"error": line}, 503, headers={"retry-after": str(error.seconds)})
    return JSONResponse({"error": line}, 400 if isinstance(error, Refused) else 500)


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Guarded:
    """Puts the headers on every answer, and one line in place of an unexpected error or of too many requests.

    Args:
        app: what answers.
        most: requests at a time.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], most: int) -> None:
        self.app, self.most, self.busy = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, app = False, self.app if self.busy < self.most else _TOO_MANY

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), *encoded(HEADERS)]
            await send(message)

        self.busy += 1
        try:
            await app(scope, receive, with_headers)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if not begun:
                answer = JSONResponse({"error": "internal error; the server's own output says more"}, 500)
                await answer(scope, receive, with_headers)
        finally:
            self.busy -= 1


_TOO_MANY = JSONResponse(
    {"error": "busy: too many requests at a time; try again in 1 s"},
    503,
    headers={"retry-after": "1", "connection": "close"},
)


class _Named:
    """Lets requests through that call the server by one of its names.

    Args:
        app: what answers.
        hosts: the names; see `Bounds`.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, [name.lower().strip("[]") for name in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and not self._knows(Headers(scope=scope).get("host", "")):
            line = "this server has another name; --allow-host adds one"
            await JSONResponse({"error": line}, 400)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _knows(self, called: str) -> bool:
        found = re.fullmatch(r"(\[[\da-f:.]+\]|[^:\[\]]+)(:\d+)?", called.lower())
        name = found[1].strip("[]") if found else ""
        return any(name == one or (one[:1] == "*" and name.endswith(one[1:])) for one in self.hosts if name)


def server_of(service: Service, bounds: Bounds) -> uvicorn.Server:
    """The server of a service, which has not begun."""
    return uvicorn.Server(
        uvicorn.Config(
            application(service, bounds),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=bounds.idle,
            timeout_graceful_shutdown=5,
            limit_concurrency=bounds.connections,
            h11_max_incomplete_event_size=2**14,
            http=Connection,
            ws="none",
        )
    )


def serve(service: Service, bounds: Bounds, bound: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        service: what draws.
        bounds: what of HTTP is accepted.
        bound: where to listen.
    """
    with suppress(KeyboardInterrupt):  # the way to end it
        server_of(service, bounds).run(sockets=[bound])
