"""The channel to a server, with its options."""

import os

import grpc

from taskplane.protocol.channel import CHANNEL_OPTIONS

DEFAULT_SERVER = "127.0.0.1:50051"
SERVER_VARIABLE = "TASKPLANE_SERVER"

OPTIONS: tuple[tuple[str, int], ...] = (
    *CHANNEL_OPTIONS,
    # By default gRPC waits up to two minutes before a new connection, and fails every call until then.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def open_channel(server: str | None) -> grpc.Channel:
    """Return an unencrypted channel to HOST:PORT; None: $TASKPLANE_SERVER, else 127.0.0.1:50051."""
    return grpc.insecure_channel(_address(server), OPTIONS)


def open_aio_channel(server: str | None) -> grpc.aio.Channel:
    """Return the channel of `open_channel` for asyncio."""
    return grpc.aio.insecure_channel(_address(server), OPTIONS)


def _address(server: str | None) -> str:
    return server or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
