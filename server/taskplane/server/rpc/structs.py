"""google.protobuf.Struct and JSON values."""

import json
import math
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from taskplane.server.core.task import Json

MAX_JSON_BYTES = 1024 * 1024
# Objects and lists in each other. Protobuf's decoders give up at about 30, counted from the whole message: what comes
# in one message must fit into every other that carries it, or a task would break the stream of each unit it goes to.
MAX_NESTING = 24
# MySQL keeps no longer key in JSON.
MAX_KEY_BYTES = 65_535
# A byte of a message is at most so many of JSON: a control character, which JSON writes as \u0001. Numbers and empty
# values, with all that stands around them, are further from it.
_MOST_JSON_PER_BYTE = 6
# Above this a double does not hold every whole number, so it stays a float.
_EXACT = 2**53
_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_FIELD_OF_TYPE = {str: "string_value", int: "number_value", float: "number_value", bool: "bool_value"}


class NotJson(ValueError):
    """The Struct holds what JSON has no word for, or too much of it."""


def json_of(struct: Struct) -> Json:
    """Return the Struct as a dict; whole numbers become int.

    Raises NotJson for NaN, Infinity, what is nested deeper than MAX_NESTING, keys over MAX_KEY_BYTES, and over 1 MiB.
    """
    value = _fields_of(struct, MAX_NESTING)
    size = struct.ByteSize()
    if size > MAX_KEY_BYTES:
        _check_keys(value)
    if size * _MOST_JSON_PER_BYTE >= MAX_JSON_BYTES:
        _check_size(value)
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


def _check_size(value: Json) -> None:
    size = len(_encoded(value).encode())
    if size > MAX_JSON_BYTES:
        raise NotJson(f"is {size} bytes as JSON; at most {MAX_JSON_BYTES} are allowed")


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        longest = max((len(key.encode()) for key in value), default=0)
        if longest > MAX_KEY_BYTES:
            raise NotJson(f"has a key of {longest} bytes; at most {MAX_KEY_BYTES} are allowed")
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        _check_keys(each)


def _fields_of(struct: Struct, levels: int) -> dict[str, Any]:
    left = _one_less(levels)
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
            left = _one_less(levels)
            return [_value_of(each, left) for each in value.list_value.values]
        case _:
            return None


def _one_less(levels: int) -> int:
    if levels == 0:
        raise NotJson(f"is nested deeper than {MAX_NESTING} levels")
    return levels - 1


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
