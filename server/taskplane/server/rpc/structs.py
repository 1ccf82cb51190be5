"""google.protobuf.Struct and JSON values."""

import math
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from taskplane.server.core.documents import (
    MAX_DOCUMENT_BYTES,
    MAX_KEY_BYTES,
    MAX_NESTING,
    NotStorable,
    one_less,
    too_large,
)
from taskplane.server.core.task import Json

# Above this a double does not hold every whole number, so it stays a float.
_EXACT = 2**53
_FIELD_OF_TYPE = {str: "string_value", int: "number_value", float: "number_value", bool: "bool_value"}


class NotJson(NotStorable):
    """The Struct holds what JSON has no word for."""


def json_of(struct: Struct, at_most: int = MAX_DOCUMENT_BYTES) -> Json:
    """Return the Struct as a dict; whole numbers become int.

    Raises NotStorable for more bytes than are allowed, before anything is looked at, for what is nested deeper than
    MAX_NESTING, and for keys over MAX_KEY_BYTES; NotJson for NaN and Infinity.
    """
    size = struct.ByteSize()
    too_large(size, at_most)
    value = _fields_of(struct, MAX_NESTING)
    if size > MAX_KEY_BYTES:
        _check_keys(value)
    return value


def struct_of(value: Json) -> Struct:
    """Return a dict of JSON values as a Struct."""
    struct = Struct()
    fill_struct(struct, value)
    return struct


def fill_struct(struct: Struct, value: Json) -> None:
    """Put a dict of JSON values into an empty Struct. A Struct that is a field is set by it, even if to nothing."""
    struct.SetInParent()
    fields = struct.fields
    for key, each in value.items():
        _fill_value(fields[key], each)


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        longest = max((len(key.encode()) for key in value), default=0)
        if longest > MAX_KEY_BYTES:
            raise NotStorable(f"has a key of {longest} bytes; at most {MAX_KEY_BYTES} are allowed")
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        _check_keys(each)


def _fields_of(struct: Struct, levels: int) -> dict[str, Any]:
    left = one_less(levels)
    fields = struct.fields
    # Not items(), which is Python's own, and slower.
    return {key: _value_of(fields[key], left) for key in fields}


def _value_of(value: Value, levels: int) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            return _number_of(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _fields_of(value.struct_value, levels)
        case "list_value":
            left = one_less(levels)
            return [_value_of(each, left) for each in value.list_value.values]
        case _:
            return None


def _number_of(number: float) -> int | float:
    if not math.isfinite(number):
        raise NotJson(f"holds {number}, which is not JSON")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _fill_value(target: Value, value: Any) -> None:
    if field := _FIELD_OF_TYPE.get(type(value)):
        setattr(target, field, value)
    elif value is None:
        target.null_value = 0  # type: ignore[assignment]  # NULL_VALUE, the only one there is
    elif isinstance(value, list):
        target.list_value.SetInParent()
        values = target.list_value.values
        for each in value:
            _fill_value(values.add(), each)
    else:
        fill_struct(target.struct_value, value)
