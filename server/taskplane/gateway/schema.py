"""Models of JSON objects that have no message: their common rules, and the types of their fields."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from taskplane.gateway.field_schemas import FULL, NO_NUL
from taskplane.server.core.unit import MAX_UNIT_ID
from taskplane.server.rpc.bounds import MAX_DURATION_SECONDS

# Bytes of a body without a document, and with one, spaces and escapes included.
PLAIN_BODY_BYTES = 64 * 1024
DOCUMENT_BODY_BYTES = 3 * 512 * 1024
# Members of an object of a body: twice as many as any request has.
MAX_FIELDS = 50
NO_OBJECT = 'must be a JSON object; put any other value into one, such as {"value": [1, 2]}'
# RFC 3339 allows a lower-case "t" and "z".
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DIGITS = re.compile(r"-?\d{1,25}", re.ASCII)


class Schema(BaseModel):
    """A JSON object: camelCase, exact types, no unknown members."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        field_title_generator=lambda name, _: to_camel(name),
        strict=True,
        extra="forbid",
        frozen=True,
        validate_by_name=True,
    )
    # Of a whole body: its largest size in bytes, and its documents with the largest size of each as a Struct.
    max_bytes: ClassVar[int] = PLAIN_BODY_BYTES
    documents: ClassVar[Mapping[str, int]] = {}

    @model_validator(mode="before")
    @classmethod
    def _check_length(cls, value: Any) -> Any:
        """Refuse very many members at once, since an error names each unknown one."""
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            raise ValueError(f"has {len(value)} fields; at most {MAX_FIELDS} are allowed")
        return value


def camel_case(name: str) -> str:
    """Return a snake_case name in camelCase; a path keeps its dots."""
    return ".".join(to_camel(part) if "_" in part else part for part in name.split("."))


def parse_moment(value: Any) -> datetime:
    """Read a time of RFC 3339. Raises ValueError."""
    if isinstance(value, datetime):
        return value
    if not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("must be a time as in RFC 3339 with its zone, such as 2026-01-02T03:04:05Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a time from year 1 to 9999") from error


def format_moment(value: datetime) -> str:
    """Return a time in RFC 3339, in UTC with microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _check_object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(NO_OBJECT)  # noqa: TRY004  (what pydantic takes)
    return value


def parse_digits(value: Any) -> Any:
    """Read a whole number of a path or a query: a sign and digits only. Raises ValueError."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("must be a whole number")
        return int(value)
    return value


MOMENT_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2026-01-02T03:04:05.678901Z"]}
Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    PlainSerializer(format_moment),
    WithJsonSchema(MOMENT_SCHEMA),
]
# Not checked further: the parser of bodies measures documents.
JsonObject = Annotated[
    Any, BeforeValidator(_check_object), WithJsonSchema({"type": "object", "additionalProperties": True})
]
Seconds = Annotated[float, Field(ge=0, le=MAX_DURATION_SECONDS, allow_inf_nan=False)]
Digits = BeforeValidator(parse_digits)

# Descriptions of the patterns, for texts that do not match.
PATTERN_MEANINGS = {
    FULL: "must not be blank, nor hold a NUL character",
    NO_NUL: "must not hold a NUL character",
}
UnitId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_UNIT_ID, pattern=FULL)]
