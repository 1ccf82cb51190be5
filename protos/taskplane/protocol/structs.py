"""Conversion between JSON documents and google.protobuf.Struct."""

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from taskplane.protocol.documents import (
    MAX_EXACT_INTEGER,
    MAX_NESTING,
    DocumentError,
    check_document,
    levels_inside,
)

_FIELD_OF_TYPE = {str: "string_value", int: "number_value", float: "number_value", bool: "bool_value"}
_LISTS = (list, tuple)


def to_struct(document: Mapping[str, object], name: str) -> Struct:
    """Return a checked document as a Struct; tuples become lists. Raises DocumentError: see `check_document`."""
    check_document(document, name)
    struct = Struct()
    fill_struct(struct, document)
    return struct


def fill_struct(struct: Struct, document: Mapping[str, object]) -> None:
    """Fill an empty Struct with a checked document. A Struct that is a field becomes set, even by an empty one."""
    struct.SetInParent()
    fields = struct.fields
    for key, value in document.items():
        _fill_value(fields[key], value)


def to_dict(struct: Struct, levels: int = MAX_NESTING) -> dict[str, Any]:
    """Return the document in a Struct; whole numbers up to 2**53 become int.

    Raises DocumentError, without a path, for more than `levels` levels, NaN and infinity.
    """
    inside = levels_inside(levels)
    fields = struct.fields
    # The map's own items() is written in Python, and slower.
    return {key: _value_of(fields[key], inside) for key in fields}


def _value_of(value: Value, levels: int) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            return _number_of(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return to_dict(value.struct_value, levels)
        case "list_value":
            inside = levels_inside(levels)
            return [_value_of(each, inside) for each in value.list_value.values]
        case _:
            return None


def _number_of(number: float) -> int | float:
    if not math.isfinite(number):
        raise DocumentError(f"holds {number}, which is not JSON")
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT_INTEGER else number


def _fill_value(target: Value, value: Any) -> None:
    if field := _FIELD_OF_TYPE.get(type(value)):
        setattr(target, field, value)
    elif value is None:
        target.null_value = 0  # type: ignore[assignment]  # NULL_VALUE, the enum's only value
    elif isinstance(value, dict):
        fill_struct(target.struct_value, value)
    elif isinstance(value, _LISTS):
        target.list_value.SetInParent()
        values = target.list_value.values
        for each in value:
            _fill_value(values.add(), each)
    elif isinstance(value, str):  # an enum of strings, for example
        target.string_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    else:
        fill_struct(target.struct_value, value)
