"""Responses of the REST API: messages of taskplane.v1 as JSON, and their JSON Schemas.

Every field of a message is a member. An unset message, an unspecified enum and a text that says nothing are null.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from taskplane.gateway.json_messages import (
    DURATION,
    STRUCT,
    TIMESTAMP,
    enum_names,
    enum_prefix,
    is_map,
    json_name,
    kind,
)
from taskplane.gateway.proto_comments import comments
from taskplane.gateway.schema import MOMENT_SCHEMA, format_moment
from taskplane.protocol.structs import to_dict

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Texts that are null when they are empty: there is no unit, no error, no further page.
_NULL_IF_EMPTY = {
    "execution_unit_id",
    "execution_unit_type",
    "error_message",
    "waiting_message",
    "endpoint",
    "next_page_token",
}
# Enums that are null when unspecified: the creation has no status before.
_NULL_IF_UNSPECIFIED = {"from_status", "waiting_reason"}
# Messages that are always set, but for limits, which are an object of nulls if unset.
_NEVER_NULL = {
    *("limits", "config", "task", "unit", "transition", "created_at", "updated_at", "reported_at", "changed_at"),
    *("issued_at", "taken_at", "since", "active_time", "paused_time", "mean_active_time"),
    *("heartbeat_interval", "lease_duration"),
}
_ITEMS = {"ListTasksResponse", "ListTaskTransitionsResponse", "ListTaskCheckpointsResponse", "ListTaskCommandsResponse"}
_TYPES = {
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_DOUBLE: "number",
}

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

_Convert = Callable[[Any], Any]


def rendered(value: Any) -> bytes:
    """Return a JSON value as the body of a response."""
    return _ENCODER.encode(value).encode()


def in_json(message: Message, **documents: Any) -> dict[str, Any]:
    """Return a message as JSON. `documents` are members that the caller has as JSON already, by their name."""
    members = _members(message.DESCRIPTOR).items()
    return {name: documents[name] if name in documents else read(message) for name, read in members}


@cache
def _members(descriptor: Any) -> dict[str, _Convert]:
    return {_name(each): _reader(each) for each in descriptor.fields}


def _name(each: FieldDescriptor) -> str:
    """Return a response's name of a field; the rows of a list are its items."""
    is_items = each.is_repeated and each.containing_type is not None and each.containing_type.name in _ITEMS
    return "items" if is_items else json_name(each)


def _reader(each: FieldDescriptor) -> _Convert:
    name, convert = each.name, _converter(each)
    if is_map(each):
        return lambda message: dict(getattr(message, name))
    if each.is_repeated:
        return lambda message: [convert(element) for element in getattr(message, name)]
    if each.message_type and name not in _NEVER_NULL:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name))


def _converter(each: FieldDescriptor) -> _Convert:
    match kind(each):
        case "":
            if each.enum_type:
                names: dict[int, str | None] = {
                    value.number: value.name.removeprefix(enum_prefix(each.enum_type))
                    for value in each.enum_type.values
                }
                return (names | {0: None}).__getitem__
            return (lambda text: text or None) if each.name in _NULL_IF_EMPTY else lambda value: value
        case "google.protobuf.Struct":
            return to_dict
        case "google.protobuf.Timestamp":
            return _time
        case "google.protobuf.Duration":
            return lambda duration: duration.seconds + duration.nanos / 1_000_000_000
        case _:
            return in_json


def _time(timestamp: Any) -> str:
    return format_moment(_EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000))


def reference(name: str) -> dict[str, Any]:
    """Return a reference to the schema of a message, or another one of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def success(code: int, name: str, **more: Any) -> dict[int | str, dict[str, Any]]:
    """Describe the successful response of a route, for FastAPI."""
    described = {"description": "The request is done.", "content": {"application/json": {"schema": reference(name)}}}
    return {code: described | more}


def schemas(message_types: Iterable[type[Message]]) -> dict[str, Any]:
    """Return the JSON Schemas of responses, and of the messages within them, by name."""
    found: dict[str, Any] = {}
    for each in message_types:
        _add_schema(found, each.DESCRIPTOR)
    return found


def _add_schema(found: dict[str, Any], descriptor: Any) -> None:
    if descriptor.name in found:
        return
    properties = {_name(each): _described(each) for each in descriptor.fields}
    found[descriptor.name] = object_schema(properties, comments().get(descriptor.name, ""))
    for each in descriptor.fields:
        if each.message_type and not is_map(each) and kind(each) not in {STRUCT, TIMESTAMP, DURATION}:
            _add_schema(found, each.message_type)


def object_schema(properties: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Return the JSON Schema of an object that always has all of its members."""
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(each: FieldDescriptor) -> dict[str, Any]:
    owner = each.containing_type.name if each.containing_type else ""
    return {"description": comments().get(f"{owner}.{each.name}", "")} | _schema(each)


def _schema(each: FieldDescriptor) -> dict[str, Any]:
    if is_map(each):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    schema = _single_schema(each)
    if each.is_repeated:
        return {"type": "array", "items": schema}
    is_null = each.name in _NULL_IF_EMPTY | _NULL_IF_UNSPECIFIED
    is_null = is_null or (each.message_type is not None and each.name not in _NEVER_NULL)
    return {"anyOf": [schema, {"type": "null"}]} if is_null else schema


def _single_schema(each: FieldDescriptor) -> dict[str, Any]:
    match kind(each):
        case "":
            if each.enum_type:
                return {"type": "string", "enum": enum_names(each.enum_type)}
            return {"type": _TYPES.get(each.type, "integer")}
        case "google.protobuf.Struct":
            return {"type": "object", "additionalProperties": True}
        case "google.protobuf.Timestamp":
            return dict(MOMENT_SCHEMA)
        case "google.protobuf.Duration":
            return {"type": "number"}
        case name:
            return reference(name.rpartition(".")[2])
