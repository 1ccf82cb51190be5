"""google.protobuf.Struct and JSON values."""

import json
import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from taskplane.server.core.task import Json

MAX_JSON_BYTES = 1024 * 1024
# Objects and lists in each other. Protobuf's decoders give up at about 30, counted from the whole message: what comes
# in one message must fit into every other that carries it, or a task would break the stream of each unit it goes to.
MAX_NESTING = 24
# Above this a double does not hold every whole number, so it stays a float.
_EXACT = 2**53


class NotJson(ValueError):
    """The Struct holds what JSON has no word for, or too much of it."""


def json_of(struct: Struct) -> Json:
    """Return the Struct as a dict; whole numbers become int.

    Raises NotJson for NaN, Infinity, what is nested deeper than MAX_NESTING, and over 1 MiB.
    """
    value = _fields_of(struct, MAX_NESTING)
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_JSON_BYTES:
        raise NotJson(f"is {size} bytes as JSON; at most {MAX_JSON_BYTES} are allowed")
    return value


def struct_of(value: Json) -> Struct:
    """Return a dict of JSON values as a Struct."""
    struct = Struct()
    _fill(struct, value)
    return struct


def _fields_of(struct: Struct, levels: int) -> dict[str, Any]:
    left = _one_less(levels)
    return {key: _value_of(each, left) for key, each in struct.fields.items()}


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


def _fill(struct: Struct, content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        _fill_value(struct.fields[key], value)


def _fill_value(target: Value, value: Any) -> None:
    match value:
        case None:
            target.null_value = 0  # type: ignore[assignment]  # NULL_VALUE, the only one there is
        case bool():
            target.bool_value = value
        case int() | float():
            target.number_value = value
        case str():
            target.string_value = value
        case list():
            target.list_value.SetInParent()
            for each in value:
                _fill_value(target.list_value.values.add(), each)
        case _:
            target.struct_value.SetInParent()
            _fill(target.struct_value, value)
