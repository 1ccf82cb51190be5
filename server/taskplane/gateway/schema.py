"""What all bodies have in common, and the kinds of fields they are made of."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
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

from taskplane.gateway.field_schemas import FULL, IDENTIFIER, NO_NUL
from taskplane.server.core.task import LABEL_KEY, LABEL_KEY_MEANING, TASK_TYPE, TASK_TYPE_MEANING
from taskplane.server.core.unit import MAX_UNIT_ID
from taskplane.server.rpc.bounds import (
    MAX_ACTOR,
    MAX_DURATION_SECONDS,
    MAX_LABEL_VALUE,
    MAX_LABELS,
    MAX_NAME,
    MAX_REASON,
    MAX_REQUEST_ID,
)
from taskplane.server.services.pages import NOT_ISSUED_HERE, is_page_token

# A body that holds no document, and one that does, in whatever way it is spaced and escaped.
PLAIN_BODY_BYTES = 64 * 1024
DOCUMENT_BODY_BYTES = 3 * 512 * 1024
# Fields of one object of a body; none of ours has half as many.
MAX_FIELDS = 50
NO_OBJECT = 'must be a JSON object; put any other value into one, such as {"value": [1, 2]}'
# "T" and "Z" may be small in RFC 3339.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DIGITS = re.compile(r"-?\d{1,25}", re.ASCII)


class Schema(BaseModel):
    """A body, or a part of one: camelCase, exact types, no unknown fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        field_title_generator=lambda name, _: to_camel(name),
        strict=True,
        extra="forbid",
        frozen=True,
        validate_by_name=True,
    )
    # Of a whole body: how many bytes it may have; and its documents, with the bytes of each as protobuf.
    max_bytes: ClassVar[int] = PLAIN_BODY_BYTES
    documents: ClassVar[Mapping[str, int]] = {}

    @model_validator(mode="before")
    @classmethod
    def _check_length(cls, value: Any) -> Any:
        """Refuse very many fields at once, as each that is not known would be named."""
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            raise ValueError(f"has {len(value)} fields; at most {MAX_FIELDS} are allowed")
        return value


def camel_case(name: str) -> str:
    """Return a snake_case name as JSON has it; a path keeps its dots."""
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


def _format_moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _check_object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(NO_OBJECT)  # noqa: TRY004  (what pydantic takes)
    return value


def _check_few_labels(value: Any) -> Any:
    """Refuse too many before each of them is looked at."""
    if isinstance(value, dict) and len(value) > MAX_LABELS:
        raise ValueError(f"has {len(value)} entries; at most {MAX_LABELS} are allowed")
    return value


def _check_page_token(value: str) -> str:
    if not is_page_token(value):
        raise ValueError(NOT_ISSUED_HERE)
    return value


def parse_digits(value: Any) -> Any:
    """Read a number of a path or query: digits and nothing else."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("must be a whole number")
        return int(value)
    return value


MOMENT_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2026-01-02T03:04:05.678901Z"]}
Moment = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    PlainSerializer(_format_moment),
    WithJsonSchema(MOMENT_SCHEMA),
]
# Not looked into here: bodies are measured while they are parsed.
JsonObject = Annotated[
    Any, BeforeValidator(_check_object), WithJsonSchema({"type": "object", "additionalProperties": True})
]
Seconds = Annotated[float, Field(ge=0, le=MAX_DURATION_SECONDS, allow_inf_nan=False)]
Digits = BeforeValidator(parse_digits)

_TASK_TYPE = f"^{TASK_TYPE}$"
_LABEL_KEY = f"^{LABEL_KEY}$"
# What is said of a text that does not match.
PATTERN_MEANINGS = {
    FULL: "must not be blank, nor hold a NUL character",
    NO_NUL: "must not hold a NUL character",
    IDENTIFIER: "must not begin or end with a space, nor hold a NUL character",
    _TASK_TYPE: TASK_TYPE_MEANING,
    _LABEL_KEY: LABEL_KEY_MEANING,
}
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME, pattern=FULL)]
UnitId = Annotated[Name, StringConstraints(max_length=MAX_UNIT_ID)]
TaskType = Annotated[str, StringConstraints(pattern=_TASK_TYPE)]
Actor = Annotated[str, StringConstraints(max_length=MAX_ACTOR, pattern=NO_NUL)]
Reason = Annotated[str, StringConstraints(max_length=MAX_REASON, pattern=NO_NUL)]
PageToken = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_check_page_token)]
RequestId = Annotated[str, StringConstraints(max_length=MAX_REQUEST_ID, pattern=IDENTIFIER)]
_LabelKey = Annotated[str, StringConstraints(pattern=_LABEL_KEY)]
_LabelValue = Annotated[str, StringConstraints(max_length=MAX_LABEL_VALUE, pattern=NO_NUL)]
Labels = Annotated[
    dict[_LabelKey, _LabelValue],
    BeforeValidator(_check_few_labels),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": {"pattern": _LABEL_KEY},
            "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_VALUE, "pattern": NO_NUL},
            "examples": [{"team": "data"}],
        }
    ),
]
