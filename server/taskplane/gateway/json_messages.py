"""Messages of taskplane.v1 as JSON: names and types of the fields, and the way from JSON into a message.

Names are camelCase; enums lose their prefix, Durations are numbers of seconds, Timestamps are RFC 3339. Documents stay
JSON beside the message: a Struct would turn whole numbers above 2**53 into doubles.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from taskplane.gateway.field_schemas import DOCUMENT_BYTES, MAX_NUMBER, NULLABLE, REQUIRED, SCHEMAS
from taskplane.gateway.proto_comments import comments
from taskplane.gateway.schema import MAX_FIELDS, MOMENT_SCHEMA, NO_OBJECT, parse_moment
from taskplane.protocol.documents import DocumentError
from taskplane.server.core.documents import check
from taskplane.server.rpc.bounds import MAX_BATCH, MAX_DURATION_SECONDS
from taskplane.server.rpc.validation import Checker

STRUCT = "google.protobuf.Struct"
TIMESTAMP = "google.protobuf.Timestamp"
DURATION = "google.protobuf.Duration"
_NAMES = {
    "RequestContext.expected_revision": "revision",
    "TaskFilter.statuses": "status",
    "TaskFilter.task_types": "taskType",
    "TaskFilter.execution_unit_id": "unitId",
    "TaskFilter.name_contains": "q",
    "WatchTasksRequest.statuses": "status",
    "WatchTasksRequest.task_types": "taskType",
    "ListUnitsRequest.statuses": "status",
}
_INT32 = {FieldDescriptor.TYPE_INT32}
_INT64 = {FieldDescriptor.TYPE_INT64}
MAX_INT32 = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a JSON object: its field, and the names of the messages around it that JSON leaves out."""

    name: str
    descriptor: FieldDescriptor
    levels: tuple[str, ...] = ()
    members: Mapping[str, "Member"] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return the field's name with its message, as in `Task.priority`."""
        return key_of(self.descriptor)

    @property
    def path(self) -> str:
        """Return the path of the field in its message."""
        return ".".join((*self.levels, self.descriptor.name))

    @property
    def is_nullable(self) -> bool:
        """Whether null stands for an unset field."""
        return self.key in NULLABLE or (kind(self.descriptor) != "" and not self.descriptor.is_repeated)


def key_of(field: FieldDescriptor) -> str:
    """Return the field's name with its message, as in `Task.priority`."""
    return ".".join(field.full_name.split(".")[-2:])


def kind(field: FieldDescriptor) -> str:
    """Return the full name of a field's message type; empty for a scalar or an enum."""
    return field.message_type.full_name if field.message_type else ""


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map; all maps of taskplane.v1 are from text to text."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def json_name(field: FieldDescriptor) -> str:
    """Return a field's name in JSON; a Duration says its unit."""
    if name := _NAMES.get(key_of(field)):
        return name
    name = field.json_name
    return f"{name.removesuffix('Time').removesuffix('Duration')}Seconds" if kind(field) == DURATION else name


def enum_prefix(enum: EnumDescriptor) -> str:
    """Return the part of an enum's names that JSON leaves out."""
    return enum.values[0].name.removesuffix("UNSPECIFIED")


def enum_names(enum: EnumDescriptor) -> list[str]:
    """Return the names of an enum's values in JSON, in their order."""
    return [each.name.removeprefix(enum_prefix(enum)) for each in enum.values if each.number]


def members_of(
    descriptor: Descriptor, *, flat: Collection[str] = (), hidden: Collection[str] = (), levels: tuple[str, ...] = ()
) -> dict[str, Member]:
    """Return the members of a message in JSON. Fields in `flat` contribute their own members; `hidden` are left out."""
    found: dict[str, Member] = {}
    for each in descriptor.fields:
        path = ".".join((*levels, each.name))
        if path in hidden:
            continue
        if path in flat and each.message_type:
            inside = (*levels, each.name)
            found |= members_of(each.message_type, flat=flat, hidden=hidden, levels=inside)
        elif each.message_type and not is_map(each) and kind(each) not in {STRUCT, TIMESTAMP, DURATION}:
            found[json_name(each)] = Member(json_name(each), each, levels, members_of(each.message_type))
        else:
            found[json_name(each)] = Member(json_name(each), each, levels)
    return found


def object_schema(members: Mapping[str, Member]) -> dict[str, Any]:
    """Return the JSON Schema of a request's object."""
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: member_schema(each) for name, each in members.items()},
    }
    required = [name for name, each in members.items() if each.key in REQUIRED]
    return schema | ({"required": required} if required else {})


def member_schema(member: Member, *, with_null: bool = True) -> dict[str, Any]:
    """Return the JSON Schema of a request's member, with its description."""
    schema = _type_schema(member) | SCHEMAS.get(member.key, {})
    if with_null and member.is_nullable:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return {"description": comments().get(member.key, "")} | schema


def _type_schema(member: Member) -> dict[str, Any]:
    if is_map(member.descriptor):
        return {"type": "object", "additionalProperties": {"type": "string"}}
    schema = _single_schema(member)
    return {"type": "array", "items": schema} if member.descriptor.is_repeated else schema


def _single_schema(member: Member) -> dict[str, Any]:
    each = member.descriptor
    match kind(each):
        case "google.protobuf.Struct":
            return {"type": "object", "additionalProperties": True}
        case "google.protobuf.Timestamp":
            return dict(MOMENT_SCHEMA)
        case "google.protobuf.Duration":
            return {"type": "number", "minimum": 0, "maximum": MAX_DURATION_SECONDS}
        case "":
            return _scalar_schema(each)
        case _:
            return object_schema(member.members)


def _scalar_schema(each: FieldDescriptor) -> dict[str, Any]:
    if each.enum_type:
        return {"type": "string", "enum": enum_names(each.enum_type)}
    if each.type in _INT32:
        return {"type": "integer", "minimum": -MAX_INT32 - 1, "maximum": MAX_INT32}
    if each.type in _INT64:
        return {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}
    return {"type": {FieldDescriptor.TYPE_BOOL: "boolean", FieldDescriptor.TYPE_STRING: "string"}[each.type]}


def _most(member: Member, keyword: str) -> int:
    most: int = SCHEMAS.get(member.key, {}).get(keyword, MAX_BATCH)
    return most


@dataclass(slots=True)
class Filler:
    """Fills messages from JSON, and gathers the members that have a wrong type or name."""

    check: Checker = field(default_factory=Checker)
    # Documents by their path in JSON.
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def fill(self, message: Message, members: Mapping[str, Member], value: Mapping[str, Any], where: str = "") -> None:
        """Fill a message from a JSON object at this path, which ends with a dot unless it is empty."""
        if where and len(value) > MAX_FIELDS:
            self.check.refuse(where.removesuffix("."), f"has {len(value)} fields; at most {MAX_FIELDS} are allowed")
            return
        for name, given in value.items():
            if member := members.get(name):
                target: Any = message
                for level in member.levels:
                    target = getattr(target, level)
                self._set(target, member, given, f"{where}{name}")
            else:
                self.check.refuse(f"{where}{name}", "is not known here")

    def _set(self, target: Any, member: Member, given: Any, where: str) -> None:
        each = member.descriptor
        if given is None and member.is_nullable:
            return
        if is_map(each):
            self._set_map(getattr(target, each.name), member, given, where)
        elif each.is_repeated:
            self._set_list(getattr(target, each.name), member, given, where)
        elif kind(each):
            self._set_message(target, member, given, where)
        else:
            value = self._scalar(each, given, where)
            if value is not None:
                setattr(target, each.name, value)

    def _set_map(self, target: Any, member: Member, given: Any, where: str) -> None:
        if not isinstance(given, dict):
            self.check.refuse(where, "must be a JSON object")
        elif self.check.few(where, given, at_most=_most(member, "maxProperties")):
            for key, value in given.items():
                if isinstance(value, str):
                    target[key] = value
                else:
                    self.check.refuse(f"{where}.{key}", "must be a text")

    def _set_list(self, target: Any, member: Member, given: Any, where: str) -> None:
        if not isinstance(given, list):
            self.check.refuse(where, "must be a list")
        elif self.check.few(where, given, at_most=_most(member, "maxItems")):
            for path, value in self.check.elements(where, given):
                if not member.members:
                    scalar = self._scalar(member.descriptor, value, path)
                    if scalar is not None:
                        target.append(scalar)
                elif isinstance(value, dict):
                    self.fill(target.add(), member.members, value, f"{path}.")
                else:
                    self.check.refuse(path, "must be a JSON object")

    def _set_message(self, target: Any, member: Member, given: Any, where: str) -> None:
        inner = getattr(target, member.descriptor.name)
        match kind(member.descriptor):
            case "google.protobuf.Struct":
                self._keep_document(member, given, where)
            case "google.protobuf.Timestamp":
                self._set_time(inner, given, where)
            case "google.protobuf.Duration":
                self._set_duration(inner, given, where)
            case _ if isinstance(given, dict):
                inner.SetInParent()
                self.fill(inner, member.members, given, f"{where}.")
            case _:
                self.check.refuse(where, "must be a JSON object")

    def _keep_document(self, member: Member, given: Any, where: str) -> None:
        if not isinstance(given, dict):
            self.check.refuse(where, NO_OBJECT)
            return
        try:
            check(given, DOCUMENT_BYTES[member.key])
        except DocumentError as error:
            self.check.refuse(where, str(error))
        self.documents[where] = given

    def _set_time(self, target: Any, given: Any, where: str) -> None:
        try:
            moment: datetime = parse_moment(given)
        except ValueError as error:
            self.check.refuse(where, str(error))
        else:
            target.FromDatetime(moment.astimezone(UTC))

    def _set_duration(self, target: Any, given: Any, where: str) -> None:
        if isinstance(given, bool) or not isinstance(given, int | float):
            self.check.refuse(where, "must be a number of seconds")
        elif not (math.isfinite(given) and 0 <= given <= MAX_DURATION_SECONDS):
            self.check.refuse(where, f"is {given:g}; must be from 0 to {MAX_DURATION_SECONDS} seconds")
        else:
            # Above zero, the shortest time is a microsecond, not none.
            target.FromTimedelta(max(timedelta(seconds=given), timedelta.resolution) if given else timedelta())

    def _scalar(self, each: FieldDescriptor, given: Any, where: str) -> Any:
        """Return a scalar of the field's type; None after a refusal."""
        if each.enum_type:
            names = enum_names(each.enum_type)
            if isinstance(given, str) and given in names:
                return each.enum_type.values_by_name[enum_prefix(each.enum_type) + given].number
            self.check.refuse(where, f"must be one of {', '.join(names)}")
        elif each.type == FieldDescriptor.TYPE_BOOL:
            if isinstance(given, bool):
                return given
            self.check.refuse(where, "must be true or false")
        elif each.type == FieldDescriptor.TYPE_STRING:
            if not isinstance(given, str):
                self.check.refuse(where, "must be a text")
            elif not given and SCHEMAS.get(key_of(each), {}).get("minLength"):
                self.check.refuse(where, "must not be empty")
            else:
                return given
        else:
            return self._whole_number(each, given, where)
        return None

    def _whole_number(self, each: FieldDescriptor, given: Any, where: str) -> int | None:
        least, most = (-MAX_INT32 - 1, MAX_INT32) if each.type in _INT32 else (-MAX_NUMBER, MAX_NUMBER)
        if isinstance(given, bool) or not isinstance(given, int):
            self.check.refuse(where, "must be a whole number")
        elif not least <= given <= most:
            self.check.refuse(where, f"must be a whole number from {least} to {most}")
        else:
            return given
        return None
