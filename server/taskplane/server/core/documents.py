"""JSON documents of tasks: configs, checkpoints and results. One bound for all of them, whatever API they come by.

Counted is what a document is on the wire as google.protobuf.Struct, since every message of a task has to fit into the
4 MiB that gRPC's receivers take in every language.
"""

from collections.abc import Mapping, Sequence
from typing import Any

# A config, a checkpoint or a result. All three of a task, with its texts and labels, stay below 4 MiB.
MAX_DOCUMENT_BYTES = 768 * 1024
# What a unit says of itself: a page of a thousand units is read at once.
MAX_UNIT_CONFIG_BYTES = 64 * 1024
# Objects and lists in each other. Protobuf's decoders give up at about 30, counted from the whole message: what comes
# in one message must fit into every other that carries it, or a task would break the stream of each unit it goes to.
MAX_NESTING = 24
# MySQL keeps no longer key in JSON.
MAX_KEY_BYTES = 65_535
# A document of more bytes is converted away from the event loop.
LARGE_BYTES = 32 * 1024
# On the wire: a Value without content; a number; the tag and length of a Value in a list.
_EMPTY = 2
_NUMBER = 9
_ELEMENT = 2


class NotStorable(ValueError):
    """The document is too large or nested too deeply; the text completes "the config …"."""


def check(document: Mapping[str, Any], at_most: int = MAX_DOCUMENT_BYTES) -> None:
    """Raise NotStorable if a JSON document is too large, nested too deeply, or has too long a key."""
    too_large(wire_bytes(document), at_most)


def too_large(size: int, at_most: int = MAX_DOCUMENT_BYTES) -> None:
    """Raise NotStorable if a document has too many bytes on the wire."""
    if size > at_most:
        raise NotStorable(f"has {size} bytes as a google.protobuf.Struct; at most {at_most} are allowed")


def wire_bytes(document: Mapping[str, Any], levels: int = MAX_NESTING) -> int:
    """Return how many bytes a JSON object is as google.protobuf.Struct. Raises NotStorable for depth and keys."""
    left = one_less(levels)
    total = 0
    for key, value in document.items():
        key_bytes = _text_bytes(key)
        if key_bytes > MAX_KEY_BYTES:
            raise NotStorable(f"has a key of {key_bytes} bytes; at most {MAX_KEY_BYTES} are allowed")
        entry = _with_length(key_bytes) + _with_length(_value_bytes(value, left))
        total += _with_length(entry)
    return total


def one_less(levels: int) -> int:
    """Return how many levels are left inside an object or list. Raises NotStorable if there is none."""
    if levels == 0:
        raise NotStorable(f"is nested deeper than {MAX_NESTING} levels")
    return levels - 1


def is_large(document: Mapping[str, Any] | None) -> bool:
    """Tell whether a document is to be converted away from the event loop; looks no further than it has to."""
    return bool(document) and _left(document, LARGE_BYTES) < 0


def _value_bytes(value: Any, levels: int) -> int:
    # Tested in the order of what is frequent.
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
    left = one_less(levels)
    return sum(_with_length(_value_bytes(each, left)) for each in values)


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _with_length(size: int) -> int:
    """Return what a field of so many bytes is with its tag and its length before it."""
    return size + 2 if size < 128 else size + 1 + (size.bit_length() + 6) // 7  # noqa: PLR2004  (7 bits a byte)


def _left(value: Any, room: int) -> int:
    """Return what is left of so many bytes after a value, roughly; below zero as soon as it has more."""
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
