"""Checks of requests. An error names every bad field, up to its size. Lengths are checked before contents."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.protocol.documents import DocumentError
from taskplane.server.core.documents import MAX_DOCUMENT_BYTES
from taskplane.server.core.error_bounds import MAX_VIOLATIONS
from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.task import LABEL_KEY, LABEL_KEY_MEANING, Json, task_type_problem
from taskplane.server.core.unit import MAX_UNIT_ID, unit_id_problem
from taskplane.server.rpc.bounds import MAX_DURATION_SECONDS, MAX_LABEL_VALUE, MAX_LABELS, MAX_PAGE
from taskplane.server.rpc.structs import json_of
from taskplane.server.services.pages import NOT_ISSUED_HERE, is_page_token

T = TypeVar("T")

_NANOS = 1_000_000_000
_LABEL_KEY = re.compile(LABEL_KEY)


@dataclass(slots=True)
class Checker:
    """Collects the bad fields of a request, or of its part with this prefix."""

    prefix: str = ""
    # The first bad fields.
    violations: list[FieldViolation] = field(default_factory=list)
    found: int = 0

    def refuse(self, name: str, description: str) -> None:
        """Add a bad field."""
        self.found += 1
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(FieldViolation(f"{self.prefix}{name}", description))

    def done(self) -> None:
        """Raise InvalidFields if any field is bad."""
        if self.violations:
            raise InvalidFields(*self.violations, found=self.found)

    def few(self, name: str, values: Sized, *, at_most: int) -> bool:
        """Check the number of entries. Returns whether the entries are worth a check."""
        if len(values) > at_most:
            self.refuse(name, f"has {len(values)} entries; at most {at_most} are allowed")
            return False
        return True

    def unique(self, name: str, values: Collection[T], *, at_most: int) -> bool:
        """Check that a list is short and without duplicates. Returns whether its elements are worth a check."""
        if not self.few(name, values, at_most=at_most):
            return False
        if len(set(values)) != len(values):
            self.refuse(name, "names something twice")
        return True

    def elements(self, name: str, values: Sequence[T]) -> Iterator[tuple[str, T]]:
        """Yield the elements of a list with their paths, until the error can name no further bad field."""
        for index, each in enumerate(values):
            if self.found >= MAX_VIOLATIONS:
                return
            yield f"{name}[{index}]", each

    def text(self, name: str, value: str, *, at_least: int = 0, at_most: int) -> str:
        """Check the length of a text in characters; a required text must not be blank."""
        if len(value) > at_most:
            self.refuse(name, f"has {len(value)} characters; at most {at_most} are allowed")
        elif at_least and not value.strip():
            self.refuse(name, "is required")
        elif "\x00" in value:
            self.refuse(name, "holds a NUL character")
        return value

    def identifier(self, name: str, value: str, *, at_least: int = 0, at_most: int) -> str:
        """Check an identifier: no space at either end, which databases ignore."""
        if len(value) <= at_most and value != value.strip():
            self.refuse(name, "begins or ends with a space")
        return self.text(name, value, at_least=at_least, at_most=at_most)

    def unit_id(self, name: str, value: str) -> str:
        """Check the id that a unit has chosen, or an empty one."""
        if len(value) <= MAX_UNIT_ID and (problem := unit_id_problem(value)):
            self.refuse(name, problem)
            return value
        return self.text(name, value, at_most=MAX_UNIT_ID)

    def number(self, name: str, value: int, *, at_least: int, at_most: int) -> int:
        """Check a number's range."""
        if not at_least <= value <= at_most:
            self.refuse(name, f"is {value}; must be from {at_least} to {at_most}")
        return value

    def task_id(self, name: str, value: int) -> int:
        """Check that a task id is positive."""
        if value <= 0:
            self.refuse(name, f"is {value}; a task id is positive")
        return value

    def task_type(self, name: str, value: str) -> str:
        """Check a task type."""
        if problem := task_type_problem(value):
            self.refuse(name, problem)
        return value

    def labels(self, name: str, value: Mapping[str, str]) -> dict[str, str]:
        """Check labels."""
        if not value or not self.few(name, value, at_most=MAX_LABELS):
            return {}
        for key, each in value.items():
            if not _LABEL_KEY.fullmatch(key):
                self.refuse(f"{name}[{key[:80]!r}]", LABEL_KEY_MEANING)
            self.text(f"{name}[{key[:80]!r}]", each, at_most=MAX_LABEL_VALUE)
        return dict(value)

    def json(self, name: str, value: Struct, *, at_most: int = MAX_DOCUMENT_BYTES) -> Json:
        """Check a Struct."""
        try:
            return json_of(value, at_most)
        except DocumentError as error:
            self.refuse(name, str(error))
            return {}

    def page_size(self, name: str, value: int, *, default: int, at_most: int = MAX_PAGE) -> int:
        """Check a page size: 0 means the default, and values above the maximum the maximum."""
        if value < 0:
            self.refuse(name, f"is {value}; must not be negative")
        return min(value, at_most) if value else default

    def page_token(self, name: str, value: str) -> str:
        """Check the form of a page token. Reading the list shows whether the token belongs to it."""
        if not is_page_token(value):
            self.refuse(name, NOT_ISSUED_HERE)
        return value

    def time(self, message: Message, name: str, path: str) -> datetime | None:
        """Read a Timestamp field of a message; None if it is not set."""
        if not message.HasField(name):
            return None
        try:
            return cast("Timestamp", getattr(message, name)).ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.refuse(path, "is not a time from year 1 to 9999")
            return None

    def duration(self, message: Message, name: str, path: str) -> timedelta | None:
        """Read a Duration field; None if it is unset or zero. The shortest other duration is a microsecond."""
        if not message.HasField(name):
            return None
        duration = cast("Duration", getattr(message, name))
        nanos = duration.seconds * _NANOS + duration.nanos
        if not 0 <= duration.nanos < _NANOS:
            self.refuse(path, f"has {duration.nanos} nanos; must be from 0 to {_NANOS - 1}")
        elif not 0 <= nanos <= MAX_DURATION_SECONDS * _NANOS:
            self.refuse(path, f"must be from 0 to {MAX_DURATION_SECONDS} seconds")
        elif nanos:
            return max(duration.ToTimedelta(), timedelta.resolution)
        return None
