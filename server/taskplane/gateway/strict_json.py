"""A strict parser of JSON, which refuses ambiguous texts (RFC 8259, RFC 7493)."""

import json
import math
from collections.abc import Sequence
from typing import Any

from taskplane.protocol.documents import MAX_NESTING
from taskplane.server.core.documents import MAX_KEY_BYTES

# The body's own level and those of a document in it.
MAX_DEPTH = MAX_NESTING + 1
# Bound of the whole numbers that databases keep exactly in JSON; greater numbers become doubles, as in gRPC.
_EXACT = 2**63
# Most digits of a double before its point.
_MAX_DIGITS = 310


class NotStrictJson(ValueError):
    """An invalid or ambiguous JSON text; the message completes "the body …"."""


def parse(raw: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Return the JSON value. Whole numbers become int, however they are written. Raises NotStrictJson.

    Refused: invalid UTF-8, duplicate keys, NaN and Infinity, numbers beyond a double, lone surrogates, keys over
    MAX_KEY_BYTES, and more than `max_depth` levels. A byte order mark is passed over.
    """
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_number
        )
    except UnicodeDecodeError as error:
        raise NotStrictJson(f"is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError:
        raise _too_deep(max_depth) from None
    _check_depth(value, max_depth)
    _check_characters(value, text)
    return value


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise NotStrictJson(f"has the key {key[:80]!a} twice in one object")
        if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
            raise NotStrictJson(f"has a key over {MAX_KEY_BYTES} bytes: {key[:80]!a}…")
        found[key] = value
    return found


def _constant(text: str) -> Any:
    raise NotStrictJson(f"holds {text}, which is not JSON")


def _integer(text: str) -> int | float:
    if len(text) > _MAX_DIGITS:
        raise _too_great()
    value = int(text)
    return value if -_EXACT <= value < _EXACT else _number(text)


def _number(text: str) -> int | float:
    value = float(text)
    if not math.isfinite(value):
        raise _too_great()
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _check_depth(value: Any, max_depth: int) -> None:
    level, depth = [value], 0
    while level := [child for each in level for child in _children(each)]:
        depth += 1
        if depth > max_depth:
            raise _too_deep(max_depth)


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _check_characters(value: Any, text: str) -> None:
    if "\\u" not in text:
        return  # only an escape can name half a character
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise NotStrictJson("holds half of a surrogate pair, which is no character") from error


def _too_deep(max_depth: int) -> NotStrictJson:
    return NotStrictJson(f"nests deeper than {max_depth} levels")


def _too_great() -> NotStrictJson:
    return NotStrictJson("holds a number that is too great for a double")
