"""The HTTP server: uvicorn inside the event loop of the whole server."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn

from taskplane.gateway.admission import Admission
from taskplane.gateway.application import application
from taskplane.gateway.callers import Callers
from taskplane.gateway.connections import Connection, Connections
from taskplane.gateway.services import Services

# Connections that may wait to be accepted, and seconds after which an idle connection is closed.
_BACKLOG = 1024
_IDLE_SECONDS = 75
# Largest header: with short lines only, parsing takes 10 ms, in which the event loop does nothing else.
_HEADER_BYTES = 16 * 1024
# Listening sockets: uvloop accepts one connection per socket and round, and a probe behind a thousand connections would
# wait for a thousand rounds.
_ACCEPTS_AT_ONCE = 32
# Bytes in the kernel for a client that does not read; the default is megabytes per client.
_SEND_BUFFER_BYTES = 256 * 1024


class HttpServer:
    """The REST API on a port. Call `start`, then `stop`, each once."""

    def __init__(self, services: Services, callers: Callers, max_connections: int) -> None:
        self._connections = Connections(max_connections)
        config = uvicorn.Config(
            Admission(application(services, callers), callers),
            http=partial(Connection, self._connections),  # type: ignore[arg-type]  # called, as a class is
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_keep_alive=_IDLE_SECONDS,
        )
        self._server = _EmbeddedServer(config)

    def start(self, listening: socket.socket) -> None:
        """Serve on a listening socket."""
        self._connections.start()
        sockets = [listening, *(listening.dup() for _ in range(_ACCEPTS_AT_ONCE - 1))]
        self._serving = asyncio.create_task(self._server.serve(sockets=sockets))

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new connections, let pending calls end, and abort them after the grace."""
        self._server.config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]  # takes fractions too
        self._server.should_exit = True
        await self._serving
        self._connections.stop()


class _EmbeddedServer(uvicorn.Server):
    """A uvicorn server that leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(address: str) -> socket.socket:
    """Listen on HOST:PORT without serving yet: new connections wait. Raises OSError if the address is not available."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise _cannot_listen(address, error.strerror or str(error)) from error
    except OSError as error:
        # Python's text would repeat the address.
        raise _cannot_listen(address, os.strerror(error.errno or 0)) from error
    # Accepted connections inherit this option.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return listening


def _cannot_listen(address: str, why: str) -> OSError:
    return OSError(f"cannot listen on {address} for HTTP: {why}; choose another by --http, or --no-http")
