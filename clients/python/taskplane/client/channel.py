"""The channel to a server, and its options, in this one place."""

import os

import grpc

DEFAULT_SERVER = "127.0.0.1:50051"
SERVER_VARIABLE = "TASKPLANE_SERVER"

# More than a server sends today: one of an earlier version may send larger answers.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A watch must notice a dead server though nothing is sent. The server allows a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Calls are repeated here. A watch that a stopping server refuses and that gRPC repeats by itself may never end.
    ("grpc.enable_retries", 0),
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
