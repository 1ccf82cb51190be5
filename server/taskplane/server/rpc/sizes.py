"""Limits of messages, in bytes."""

# Default limit of gRPC receivers in every language; no message is larger, in either direction.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# A request without a document: enough for a thousand ids, a hundred task types or the longest labels.
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
# Up to this size, a request is decoded without counting its fields.
CROWDED_BYTES = 512 * 1024
# Most fields of a request, and the levels of inner messages whose fields count. A task with all labels has a few
# hundred.
_FIELDS = 1000, 5
_MANY_FIELDS = {
    # A thousand tasks. The fields of each are not counted: counting would take longer than decoding.
    "BatchCreateTasks": (1100, 0),
    # A thousand reports, or a Hello with ten thousand attempts.
    "Connect": (12_000, 1),
}


def max_request_bytes(method: str) -> int:
    """Return the largest size of a method's request, or of each message of its stream."""
    return _BYTES.get(method, _PLAIN_BYTES)


def max_request_fields(method: str) -> tuple[int, int]:
    """Return the most fields of a method's large request, and the levels that count."""
    return _MANY_FIELDS.get(method, _FIELDS)
