"""Bounds of messages, in bytes."""

# What gRPC's receivers take if nothing is said, in every language. So nothing that is sent or taken is larger.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# A request that holds no document: above what a thousand ids, a hundred task types or the longest labels come to.
_PLAIN_BYTES = 64 * 1024
_BYTES = {
    "CreateTask": MAX_MESSAGE_BYTES,
    "BatchCreateTasks": MAX_MESSAGE_BYTES,
    "UpdateTask": MAX_MESSAGE_BYTES,
    "ReportTaskStatus": MAX_MESSAGE_BYTES,
    "Connect": MAX_MESSAGE_BYTES,
    # A config of 64 KiB and a thousand task types.
    "RegisterUnit": 512 * 1024,
}
# A smaller request is decoded however many fields it has.
CROWDED_BYTES = 512 * 1024
# Fields that a request may have, and how many levels of messages in it are counted. A task with all labels has a few
# hundred.
_FIELDS = 1000, 5
_MANY_FIELDS = {
    # A thousand tasks. Those of each are not counted, which would take longer than to decode them.
    "BatchCreateTasks": (1100, 0),
    # A thousand reports, or a Hello with ten thousand attempts.
    "Connect": (12_000, 1),
}


def max_request_bytes(method: str) -> int:
    """Return how many bytes a request of a method may have, or each message of a stream."""
    return _BYTES.get(method, _PLAIN_BYTES)


def max_request_fields(method: str) -> tuple[int, int]:
    """Return how many fields a large request of a method may have, and how many levels in it are counted."""
    return _MANY_FIELDS.get(method, _FIELDS)
