"""gRPC options of the connections between server, units and clients."""

# Larger than the 4 MiB that a server sends: an earlier server may send larger messages.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# Both ends ping every 30 s and drop a connection without an answer after 10 s more, also while no call is open. The
# server accepts a ping every 9 s.
KEEPALIVE_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

# Options of every client and unit.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    *KEEPALIVE_OPTIONS,
    # gRPC's own repeats are off: a stream that a stopping server refuses and gRPC repeats may never end.
    ("grpc.enable_retries", 0),
)
