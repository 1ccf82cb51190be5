"""The channel to a server, and its options, in this one place."""

import os

import grpc

from taskplane.protocol.channel import CHANNEL_OPTIONS

DEFAULT_SERVER = "127.0.0.1:50051"
SERVER_VARIABLE = "TASKPLANE_SERVER"

OPTIONS: tuple[tuple[str, int], ...] = (
    *CHANNEL_OPTIONS,
    # gRPC would wait up to two minutes before it tries to connect again, and fail every call until then.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def open_channel(server: str | None) -> grpc.Channel:
    """A plain-text channel to `server`, HOST:PORT; None: $TASKPLANE_SERVER, else 127.0.0.1:50051. Connects lazily."""
    return grpc.insecure_channel(_address(server), OPTIONS)


def open_aio_channel(server: str | None) -> grpc.aio.Channel:
    """As `open_channel`, for asyncio."""
    return grpc.aio.insecure_channel(_address(server), OPTIONS)


def _address(server: str | None) -> str:
    return server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
