"""The JSON bodies of a unit's responses: the outcome of an attempt, or nothing."""

import json
import math
from collections.abc import Mapping
from typing import Any

from taskplane.protocol.documents import DocumentError
from taskplane.server.core.documents import check
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit_report import Outcome, fraction

# As deep as google.protobuf.Struct can carry it to clients.
MAX_DEPTH = 24
# After these statuses the unit forgets the attempt, so an invalid body stays invalid.
_ENDS = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED})


class InvalidResponse(ValueError):
    """A JSON body that breaks the protocol; the text names the field."""


def read_outcome(body: bytes) -> Outcome | None:
    """Read the outcome of an attempt.

    Return None for an empty body, a body that is no JSON object, and one without `status`. A checkpoint or result that
    can never be stored counts as a failure without retry, as in reports on a stream. The same holds for an end whose
    body contains values outside JSON: the unit would send nothing else. Raises InvalidResponse.
    """
    try:
        document = json.loads(body, parse_int=_number, parse_float=_number, parse_constant=float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("status") is None:
        return None
    status = _status(document["status"])
    try:
        _check(document, MAX_DEPTH)
    except InvalidResponse as error:
        if status not in _ENDS:
            raise
        problem: str | None = f"the unit's answer {error}"
    else:
        problem = _document_problem(document)
    attempt = _attempt(document)
    if problem:
        return Outcome(status=TaskStatus.FAILED, attempt=attempt, error_message=problem, retryable=False)
    return Outcome(
        status=status,
        attempt=attempt,
        # Progress does not matter after the end.
        progress=None if status in _ENDS else _progress(document),
        message=_text(document, "message"),
        checkpoint=_object(document, "checkpoint"),
        result=_object(document, "result"),
        error_message=_text(document, "errorMessage"),
        retryable=document.get("retryable") is not False,
    )


def _document_problem(document: Mapping[str, Any]) -> str | None:
    for name in ("checkpoint", "result"):
        try:
            check(_object(document, name) or {})
        except DocumentError as error:
            return f"the unit's {name} {error}"
    return None


def _status(value: object) -> TaskStatus:
    if value not in [each.value for each in TaskStatus]:
        raise InvalidResponse(f"status: is {value!r}; must be one of {', '.join(TaskStatus)}")
    return TaskStatus(str(value))


def _attempt(document: Mapping[str, Any]) -> int | None:
    value = document.get("attempt")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidResponse(f"attempt: is {value!r}; must be a whole number")
    return value


def _progress(document: Mapping[str, Any]) -> float | None:
    value = document.get("progress")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidResponse(f"progress: is {value!r}; must be a number")
    try:
        return fraction(value)
    except ValueError as error:
        raise InvalidResponse(f"progress: {error}") from error


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return "" if value is None else str(value)


def _object(document: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return a checkpoint or result; a value that is no object becomes `{"value": …}`."""
    value = document.get(name)
    return value if value is None or isinstance(value, dict) else {"value": value}


def _number(text: str) -> int | float:
    """Return an int where a double, which clients receive, is exact."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= 2**53 else number


def _check(value: object, levels: int) -> None:
    if not levels:
        raise InvalidResponse(f"is nested deeper than {MAX_DEPTH} levels")
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidResponse("holds half a surrogate pair, which is no text") from None
        case float() if not math.isfinite(value):
            raise InvalidResponse(f"holds {value}, which is no JSON number")
        case dict():
            for key, each in value.items():
                _check(key, levels)
                _check(each, levels - 1)
        case list():
            for each in value:
                _check(each, levels - 1)
        case _:
            pass
