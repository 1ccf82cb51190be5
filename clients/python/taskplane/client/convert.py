"""Between Python's values and protobuf's: dict and Struct, timedelta and Duration, datetime and Timestamp.

Config, result and checkpoint are Structs. A Struct holds JSON, and its numbers are doubles. So a whole number comes
back as int (17, not 17.0), and what would not come back as it was given is refused here, with its path, before
anything is sent.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

# Beyond this a double skips whole numbers.
MAX_EXACT_INT = 2**53


class NotJsonError(ValueError):
    """A value that a Struct cannot hold; `path` says where it is, such as `config.rules[2].limit`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


def to_struct(document: dict[str, object], name: str = "config") -> Struct:
    """The Struct that holds `document`; tuples become arrays. Raises NotJsonError, whose path begins with `name`."""
    if not isinstance(document, dict):
        raise NotJsonError(name, f"{type(document).__name__} is not a JSON object")
    _check_object(document, name)
    struct = Struct()
    struct.update(document)  # type: ignore[arg-type]  # _check_object has seen that it fits
    return struct


def to_dict(struct: Struct) -> dict[str, object]:
    """What `struct` holds, as plain Python values."""
    return {key: _python(value) for key, value in struct.fields.items()}


def to_duration(time: timedelta | None) -> Duration | None:
    """The same length of time; None stays None, so that the field is unset."""
    if time is None:
        return None
    duration = Duration()
    duration.FromTimedelta(time)
    return duration


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """The same moment; one without a time zone is local time, as everywhere in Python. None stays None."""
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment.astimezone(UTC))
    return timestamp


def _python(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "struct_value":
            return to_dict(value.struct_value)
        case "list_value":
            return [_python(item) for item in value.list_value.values]
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "null_value" | None:
            return None


def _number(number: float) -> float:
    return int(number) if number.is_integer() and abs(number) <= MAX_EXACT_INT else number


def _check(value: object, path: str) -> None:
    match value:
        case None | bool():
            pass
        case str():
            _check_text(value, path)
        case int():
            _check_int(value, path)
        case float():
            _check_float(value, path)
        case dict():
            _check_object(value, path)
        case list() | tuple():
            for index, item in enumerate(value):
                _check(item, f"{path}[{index}]")
        case _:
            raise NotJsonError(path, f"{type(value).__name__} is not a JSON type")


def _check_object(document: Mapping[Any, object], path: str) -> None:
    for key, value in document.items():
        if not isinstance(key, str):
            raise NotJsonError(path, f"the key {key!r} is not text")
        _check_text(key, path)
        _check(value, f"{path}.{key}")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotJsonError(path, f"is not valid Unicode text ({error.reason})") from error


def _check_int(number: int, path: str) -> None:
    if abs(number) > MAX_EXACT_INT:
        raise NotJsonError(path, f"{number} is beyond ±2^53, where JSON numbers lose digits: pass it as text")


def _check_float(number: float, path: str) -> None:
    if not math.isfinite(number):
        raise NotJsonError(path, f"{number} is not a JSON number")
