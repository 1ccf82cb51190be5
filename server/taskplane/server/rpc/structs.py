"""Received Structs as JSON documents, within the limits of the server."""

from typing import Any

from google.protobuf.struct_pb2 import Struct

from taskplane.protocol.documents import DocumentError
from taskplane.protocol.structs import fill_struct, to_dict
from taskplane.server.core.documents import MAX_DOCUMENT_BYTES, MAX_KEY_BYTES, too_large
from taskplane.server.core.task import Json


def json_of(struct: Struct, at_most: int = MAX_DOCUMENT_BYTES) -> Json:
    """Return the Struct as a dict; whole numbers become int.

    Raises DocumentError for more than `at_most` bytes, before the content is read, for more than MAX_NESTING levels,
    for keys over MAX_KEY_BYTES, and for NaN and infinity.
    """
    size = struct.ByteSize()
    too_large(size, at_most)
    value = to_dict(struct)
    if size > MAX_KEY_BYTES:
        _check_keys(value)
    return value


def struct_of(value: Json) -> Struct:
    """Return a dict of JSON values as a Struct."""
    struct = Struct()
    fill_struct(struct, value)
    return struct


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        longest = max((len(key.encode()) for key in value), default=0)
        if longest > MAX_KEY_BYTES:
            raise DocumentError(f"has a key of {longest} bytes; at most {MAX_KEY_BYTES} are allowed")
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        _check_keys(each)
