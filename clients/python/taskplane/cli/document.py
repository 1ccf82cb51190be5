"""Messages as JSON documents: protobuf's JSON, changed for scripts.

Ids and other 64-bit numbers are numbers (protobuf writes text), enum values have no prefix ("RUNNING"), and fields with
a default value are there, so that a path into a document does not depend on the values. Absent are unset messages and
enums that say nothing.
"""

import json
from collections.abc import Iterable, Sequence
from typing import cast

import typer
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.client import to_dict


def to_document(message: Message) -> dict[str, object]:
    """Return a message as a JSON object, with field names in camelCase."""
    # The stubs have two types for descriptors; only one exists at run time.
    fields = cast("Sequence[FieldDescriptor]", message.DESCRIPTOR.fields)
    shown = (field for field in fields if _is_shown(field, message))
    return {field.json_name: _field(field, getattr(message, field.name)) for field in shown}


def _is_shown(field: FieldDescriptor, message: Message) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    is_enum = field.enum_type is not None and not field.is_repeated
    return not is_enum or getattr(message, field.name) != 0


def _field(field: FieldDescriptor, value: object) -> object:
    if not field.is_repeated:
        return _value(field, value)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))  # type: ignore[attr-defined]  # all maps are of texts to texts
    return [_value(field, item) for item in value]  # type: ignore[attr-defined]  # a repeated field


def _value(field: FieldDescriptor, value: object) -> object:
    match value:
        case Struct():
            return sorted_dict(value)
        case Timestamp() | Duration():
            return value.ToJsonString()
        case Message():
            return to_document(value)
        case int() if field.enum_type is not None:
            return _enum_name(field.enum_type, value)
        case _:
            return value


def _enum_name(enum: EnumDescriptor, number: int) -> str:
    """Return the value's name without the prefix of the enum."""
    names = enum.values_by_number
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    return names[number].name.removeprefix(prefix) if number in names else str(number)


def sorted_dict(struct: Struct) -> object:
    """Return the document in a Struct with sorted keys; a Struct has no order."""
    return _sorted(to_dict(struct))


def _sorted(value: object) -> object:
    match value:
        case dict():
            return {key: _sorted(item) for key, item in sorted(value.items())}
        case list():
            return [_sorted(item) for item in value]
        case _:
            return value


def print_document(message: Message) -> None:
    """Print one document, indented."""
    typer.echo(json.dumps(to_document(message), indent=2, ensure_ascii=False))


def print_array(messages: Iterable[Message]) -> None:
    """Print an array of documents."""
    typer.echo(json.dumps([to_document(message) for message in messages], indent=2, ensure_ascii=False))


def print_line(document: dict[str, object]) -> None:
    """Print one document on one line."""
    typer.echo(json.dumps(document, ensure_ascii=False))
