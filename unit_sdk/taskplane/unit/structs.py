"""dict <-> google.protobuf.Struct, with JSON's rules and errors that name the place."""

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

# A Struct carries every number as a double: whole numbers are exact up to here.
_GREATEST_WHOLE_NUMBER = 2**53
# protobuf parsers give up at 100 nested messages, and each level of an object is three of them.
_DEEPEST_LEVEL = 24


def to_struct(data: Mapping[str, Any], name: str) -> Struct:
    """Converts JSON-like data; `name` is what error messages call it, such as "checkpoint".

    Raises TypeError for what JSON does not have, and ValueError for numbers and texts that would not arrive as they
    are (NaN, infinity, beyond 2**53, lone surrogates) and for more than 24 levels. Both name the path.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"{name}: must be a dict, not {type(data).__name__}")
    return _object(data, name, 1)


def from_struct(struct: Struct) -> dict[str, Any]:
    """Converts back; a whole number comes back as int, whatever it was."""
    return {key: _plain(value) for key, value in struct.fields.items()}


def _object(data: Mapping[str, Any], path: str, level: int) -> Struct:
    if level > _DEEPEST_LEVEL:
        raise ValueError(f"{path}: nested deeper than {_DEEPEST_LEVEL} levels")
    return Struct(fields={_key(key, path): _value(item, f"{path}.{key}", level) for key, item in data.items()})


def _list(items: list[Any] | tuple[Any, ...], path: str, level: int) -> ListValue:
    if level > _DEEPEST_LEVEL:
        raise ValueError(f"{path}: nested deeper than {_DEEPEST_LEVEL} levels")
    return ListValue(values=[_value(item, f"{path}[{index}]", level) for index, item in enumerate(items)])


def _value(value: object, path: str, level: int) -> Value:
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():  # before int, which it also is
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=_number(value, path))
        case str():
            return Value(string_value=_text(value, path))
        case Mapping():
            return Value(struct_value=_object(value, path, level + 1))
        case list() | tuple():
            return Value(list_value=_list(value, path, level + 1))
        case _:
            raise TypeError(f"{path}: {type(value).__name__} is not a JSON type")


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{path}: keys must be texts, not {type(key).__name__} ({key!r})")
    return _text(key, path)


def _number(value: float, path: str) -> float:
    if isinstance(value, int):
        if abs(value) > _GREATEST_WHOLE_NUMBER:
            raise ValueError(f"{path}: {value} is beyond 2**53 and would lose digits; write it as a text")
    elif not math.isfinite(value):
        raise ValueError(f"{path}: {value} is not a JSON number")
    return float(value)


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: {value!r} is not valid Unicode") from None
    return value


def _plain(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "number_value":
            return _whole_if_exact(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _whole_if_exact(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) <= _GREATEST_WHOLE_NUMBER else number
