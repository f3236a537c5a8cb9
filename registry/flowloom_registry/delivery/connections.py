"""Connections of HTTP that nobody holds open for nothing, and whose every refusal is one line of JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

__all__ = ["HEADERS", "Connection", "encoded"]

HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
"""Of every answer."""


class Connection(H11Protocol):
    """One connection; uvicorn's own, with an end to waiting for a request.

    The head of a request must have come ``timeout_keep_alive`` seconds after the connection was made, or
    after the first byte that follows an answer. Where ``limit_concurrency`` connections are open, a new one
    takes the place of the one that has been idle longest: idle ones keep nobody out.

    Args:
        config: of the server.
        server_state: what its connections share.
        app_state: what the application's lifespan gave.
        _loop: the running loop.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn's own limit answers in plain text, and counts those that ask nothing.
        self.most, self.limit_concurrency = self.limit_concurrency, None
        self.since = self.loop.time()
        self._late: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()
        if self.most is not None and len(self.connections) > self.most:
            others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
            idle = [one for one in others if one.idle]
            if idle:
                min(idle, key=lambda one: one.since).end()

    def data_received(self, data: bytes) -> None:
        """Take what came; the time for a head is not prolonged by pieces of it."""
        super().data_received(data)
        if self.idle:
            self._wait()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Idle from now on."""
        self.since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def end(self) -> None:
        """Close it, once what was answered is sent."""
        self._stop_waiting()
        self.connections.discard(self)
        if not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, where no answer has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": msg}).encode()
            headers = {"content-type": "application/json", "connection": "close", **HEADERS}
            headers["content-length"] = str(len(body))
            head = h11.Response(status_code=400, headers=encoded(headers), reason=b"Bad Request")
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.end()

    def _wait(self) -> None:
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(self.timeout_keep_alive, self.end)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as they are sent."""
    return [(name.encode(), value.encode()) for name, value in headers.items()]
