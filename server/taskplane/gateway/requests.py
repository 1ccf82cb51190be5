"""Requests of the REST API: bodies and queries, each over a request message of taskplane.v1 and its reader."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from starlette.requests import Request

from taskplane.gateway.errors import InvalidRequest
from taskplane.gateway.json_messages import (
    DURATION,
    Filler,
    Member,
    is_map,
    kind,
    member_schema,
    members_of,
    object_schema,
)
from taskplane.gateway.parameters import TaskId, UnitId
from taskplane.gateway.schema import PLAIN_BODY_BYTES, camel_case, parse_digits
from taskplane.gateway.strict_json import MAX_DEPTH
from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.idempotency.keys import IdempotencyKey

R = TypeVar("R")

_NO_LEVELS: tuple[str, ...] = ("context",)
_DECIMAL = re.compile(r"\d{1,15}(\.\d{1,15})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Extra:
    """A member of the JSON without a field in the message. `parse` raises ValueError; `apply` changes the message."""

    name: str
    schema: Mapping[str, Any]
    parse: Callable[[Any], Any]
    default: Any
    apply: Callable[[Any, Any], None] = lambda _message, _value: None


@dataclass(frozen=True, slots=True)
class Given(Generic[R]):
    """A request within its bounds: the value from its reader, and the members without a field in the message."""

    read: R
    # By their path in JSON.
    documents: Mapping[str, dict[str, Any]]
    extras: Mapping[str, Any]
    key: IdempotencyKey | None


class Shape(Generic[R]):
    """The JSON of a request message. Fields in `flat` contribute their members, `hidden` ones come from elsewhere."""

    def __init__(  # noqa: PLR0913  (all but two are options)
        self,
        message_type: type[Message],
        read: Callable[[Any], R],
        *,
        flat: Collection[str] = _NO_LEVELS,
        hidden: Collection[str] = (),
        extras: Sequence[Extra] = (),
        prepare: Callable[[Any, Mapping[str, Any]], None] = lambda _message, _value: None,
    ) -> None:
        self.name = message_type.DESCRIPTOR.name
        self.message_type = message_type
        self._read = read
        self._prepare = prepare
        self.extras = {each.name: each for each in extras}
        descriptor: Any = message_type.DESCRIPTOR
        self.members = members_of(descriptor, flat=flat, hidden=hidden)

    def given(self, value: Mapping[str, Any], ids: Mapping[str, Any]) -> Given[R]:
        """Read a request: a JSON object, and the ids of the path. Raises InvalidFields in the words of JSON."""
        message: Any = self.message_type(**ids)
        filler = Filler()
        extras = {name: each.default for name, each in self.extras.items()}
        for name in [name for name in self.extras if name in value]:
            try:
                extras[name] = self.extras[name].parse(value[name])
            except ValueError as error:
                filler.check.refuse(name, str(error))
        filler.fill(message, self.members, {name: each for name, each in value.items() if name not in self.extras})
        for name, each in self.extras.items():
            each.apply(message, extras[name])
        self._prepare(message, value)
        try:
            read = self._read(message)
        except InvalidFields as error:
            raise self._refusal(filler, error.violations) from None
        if filler.check.found:
            raise self._refusal(filler, ())
        return Given(read, filler.documents, extras, self._key(message, filler.documents, extras))

    def _refusal(self, filler: Filler, read: Sequence[FieldViolation]) -> InvalidRequest:
        named = [FieldViolation(self._place(each.field), each.description) for each in filler.check.violations]
        fields = {each.field for each in named}
        # A field of a wrong type is unset for the reader, which may call it missing.
        more = [FieldViolation(self._place(_in_json(each.field, self.members)), each.description) for each in read]
        more = [each for each in more if each.field not in fields]
        return InvalidRequest(*named, *more, found=filler.check.found + len(more))

    def _place(self, field: str) -> str:
        return field

    def _key(self, message: Any, documents: Mapping[str, Any], extras: Mapping[str, Any]) -> IdempotencyKey | None:
        request_id: str = message.context.request_id if "context" in self.message_type.DESCRIPTOR.fields_by_name else ""
        if not request_id:
            return None
        body = hashlib.sha256(message.SerializeToString(deterministic=True))
        body.update(json.dumps([documents, extras], sort_keys=True).encode())
        return IdempotencyKey(request_id, f"HTTP {self.name.removesuffix('Request')}", body.hexdigest())


class Body(Shape[R]):
    """A JSON body. An optional one may be left out, or null."""

    def __init__(  # noqa: PLR0913  (all but two are options)
        self,
        message_type: type[Message],
        read: Callable[[Any], R],
        *,
        examples: Sequence[Mapping[str, Any]],
        max_bytes: int = PLAIN_BODY_BYTES,
        max_depth: int = MAX_DEPTH,
        is_optional: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(message_type, read, **options)
        self.examples = examples
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.is_optional = is_optional

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        schema = object_schema(self.members)
        schema["properties"] |= {name: dict(each.schema) for name, each in self.extras.items()}
        return schema | {"examples": list(self.examples)}

    def described(self) -> dict[str, Any]:
        """Return the body as an operation of OpenAPI has it."""
        schema: dict[str, Any] = {"$ref": f"#/components/schemas/{self.name}"}
        if self.is_optional:
            schema = {"anyOf": [schema, {"type": "null"}]}
        required = {} if self.is_optional else {"required": True}
        return {"requestBody": {"content": {"application/json": {"schema": schema}}} | required}

    def value_of(self, value: Any) -> dict[str, Any]:
        """Return a body's object. Raises InvalidFields for anything else."""
        if value is None and self.is_optional:
            return {}
        if not isinstance(value, dict):
            raise InvalidFields(FieldViolation("body", "is required" if value is None else "must be a JSON object"))
        return value


class PlainBody(Body[R]):
    """A body of a path without an id."""

    async def __call__(self, request: Request) -> Given[R]:
        """Read the body of a request."""
        return await _from_body(request, self, {})


class TaskBody(Body[R]):
    """A body of a task's path."""

    async def __call__(self, request: Request, task_id: TaskId) -> Given[R]:
        """Read the body of a request."""
        return await _from_body(request, self, {"task_id": task_id})


class UnitBody(Body[R]):
    """A body of a unit's path."""

    async def __call__(self, request: Request, unit_id: UnitId) -> Given[R]:
        """Read the body of a request."""
        return await _from_body(request, self, {"unit_id": unit_id})


async def _from_body(request: Request, body: Body[R], ids: Mapping[str, Any]) -> Given[R]:
    given: Given[R] = await request.scope["taskplane.body"](request, body, ids)
    return given


class QueryString(Shape[R]):
    """A query string. Lists are separated by commas; entries of maps are key=value."""

    def parameters(self) -> list[dict[str, Any]]:
        """Return the parameters as an operation of OpenAPI has them."""
        found = [_parameter(name, _query_schema(each)) for name, each in self.members.items()]
        return found + [_parameter(name, dict(each.schema)) for name, each in self.extras.items()]

    def described(self) -> dict[str, Any]:
        """Return the query as an operation of OpenAPI has it."""
        return {"parameters": self.parameters()}

    def from_query(self, request: Request, ids: Mapping[str, Any]) -> Given[R]:
        """Read the query of a request."""
        value, bad = {}, []
        for name, text in request.query_params.items():
            try:
                value[name] = _from_text(self.members[name], text) if name in self.members else text
            except ValueError as error:
                bad.append(FieldViolation(name, str(error)))
        try:
            given = self.given(value, ids)
        except InvalidRequest as error:
            raise InvalidRequest(*bad, *error.violations) from None
        if bad:
            raise InvalidRequest(*bad)
        return given

    def _place(self, field: str) -> str:
        return re.sub(r"\[\d+\]$", "", field)


class PlainQueryString(QueryString[R]):
    """A query of a path without an id."""

    async def __call__(self, request: Request) -> Given[R]:
        """Read the query of a request."""
        return self.from_query(request, {})


class TaskQueryString(QueryString[R]):
    """A query of a task's path."""

    async def __call__(self, request: Request, task_id: TaskId) -> Given[R]:
        """Read the query of a request."""
        return self.from_query(request, {"task_id": task_id})


class WatchedTaskQueryString(QueryString[R]):
    """A query of the path of a task that is watched."""

    async def __call__(self, request: Request, task_id: TaskId) -> Given[R]:
        """Read the query of a request."""
        return self.from_query(request, {"task_ids": [task_id]})


def _in_json(path: str, members: Mapping[str, Member]) -> str:
    """Return the path of a message's field as JSON has it."""
    for each in members.values():
        if path == each.path or path.startswith((f"{each.path}.", f"{each.path}[")):
            rest = path.removeprefix(each.path)
            index = match[0] if (match := re.match(r"\[\d+\]", rest)) else ""
            rest = rest.removeprefix(index)
            if rest.startswith(".") and each.members:
                rest = f".{_in_json(rest[1:], each.members)}"
            return f"{each.name}{index}{rest}"
    return camel_case(path)


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = {"name": name, "in": "query", "required": False, "description": schema.pop("description", "")}
    style = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return described | style | {"schema": schema}


def _query_schema(member: Member) -> dict[str, Any]:
    schema = member_schema(member, with_null=False)
    if is_map(member.descriptor):
        items = {"type": "string", "pattern": "^[^=]*="}
        text = f"{schema['description']} Written as key=value; separated by commas."
        return {"type": "array", "items": items, "description": text}
    return schema


def _from_text(member: Member, text: str) -> Any:
    """Return a parameter's value as JSON has it. Raises ValueError."""
    each = member.descriptor
    if is_map(each):
        pairs = [entry.partition("=") for entry in text.split(",")]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError("must be key=value, separated by commas")
        return {key: value for key, _, value in pairs}
    if each.is_repeated:
        return text.split(",")
    if not text and "context" not in member.levels:
        raise ValueError("must not be empty")
    if each.type in {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64}:
        return parse_digits(text)
    if kind(each) == DURATION:
        if not _DECIMAL.fullmatch(text):
            raise ValueError("must be a number of seconds")
        return float(text)
    return {"true": True, "false": False}.get(text, text) if each.type == FieldDescriptor.TYPE_BOOL else text
