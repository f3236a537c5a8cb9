"""The socket that a server listens on; it needs no torch, so that a port in use is told at once."""

from __future__ import annotations

import socket

from flowloom.errors import FlowloomError

__all__ = ["bind"]


def bind(host: str, port: int) -> socket.socket:
    """A socket that nobody else listens on.

    Raises:
        FlowloomError: the port is taken, out of range or not allowed, or there is no such host.
    """
    if not 0 <= port < 2**16:
        raise FlowloomError(f"--port must be from 0 to 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise FlowloomError(f"--host {host}: {error.strerror or error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)  # two that bind and do not listen would not see each other
    except OSError as error:
        bound.close()
        raise FlowloomError(
            f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; choose another --port"
        ) from error
    return bound
