"""JSON documents of tasks: configs, checkpoints and results, with the same bound in every API.

The size of a document is its size on the wire as google.protobuf.Struct: every message of a task must fit into the 4
MiB that gRPC receivers accept in every language.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from taskplane.protocol.documents import MAX_NESTING, DocumentError, levels_inside

# A config, a checkpoint or a result. All three of a task, with its texts and labels, stay below 4 MiB.
MAX_DOCUMENT_BYTES = 768 * 1024
# The config of a unit: a page of a thousand units is read at once.
MAX_UNIT_CONFIG_BYTES = 64 * 1024
# MySQL stores no longer keys in JSON.
MAX_KEY_BYTES = 65_535
# Above this size, a document is converted off the event loop.
LARGE_BYTES = 32 * 1024
# On the wire: a Value without content; a number; the tag and length of a Value in a list.
_EMPTY = 2
_NUMBER = 9
_ELEMENT = 2


def check(document: Mapping[str, Any], at_most: int = MAX_DOCUMENT_BYTES) -> None:
    """Raise DocumentError if a JSON document is too large, nested too deeply, or has too long a key."""
    too_large(wire_bytes(document), at_most)


def too_large(size: int, at_most: int = MAX_DOCUMENT_BYTES) -> None:
    """Raise DocumentError if a document has too many bytes on the wire."""
    if size > at_most:
        raise DocumentError(f"has {size} bytes as a google.protobuf.Struct; at most {at_most} are allowed")


def wire_bytes(document: Mapping[str, Any], levels: int = MAX_NESTING) -> int:
    """Return the size of a JSON object as google.protobuf.Struct. Raises DocumentError for its depth and keys."""
    left = levels_inside(levels)
    total = 0
    for key, value in document.items():
        key_bytes = _text_bytes(key)
        if key_bytes > MAX_KEY_BYTES:
            raise DocumentError(f"has a key of {key_bytes} bytes; at most {MAX_KEY_BYTES} are allowed")
        entry = _with_length(key_bytes) + _with_length(_value_bytes(value, left))
        total += _with_length(entry)
    return total


def is_large(document: Mapping[str, Any] | None) -> bool:
    """Return whether a document must be converted off the event loop; reads no further than necessary."""
    return bool(document) and _left(document, LARGE_BYTES) < 0


def _value_bytes(value: Any, levels: int) -> int:
    # Tested in the order of frequency.
    if isinstance(value, str):
        return _with_length(_text_bytes(value))
    if value is None or isinstance(value, bool):
        return _EMPTY
    if isinstance(value, dict):
        return _with_length(wire_bytes(value, levels))
    if isinstance(value, list):
        return _with_length(_list_bytes(value, levels))
    return _NUMBER


def _list_bytes(values: Sequence[Any], levels: int) -> int:
    left = levels_inside(levels)
    return sum(_with_length(_value_bytes(each, left)) for each in values)


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _with_length(size: int) -> int:
    """Return the size of a field with its tag and length."""
    return size + 2 if size < 128 else size + 1 + (size.bit_length() + 6) // 7  # noqa: PLR2004  (7 bits a byte)


def _left(value: Any, room: int) -> int:
    """Return about how many bytes of room are left after a value; negative as soon as the value has more."""
    if isinstance(value, str):
        return room - len(value)
    if isinstance(value, Mapping):
        for key, each in value.items():
            if (room := _left(each, room - len(key) - _NUMBER)) < 0:
                return room
    elif isinstance(value, list):
        for each in value:
            if (room := _left(each, room - _NUMBER)) < 0:
                return room
    return room
