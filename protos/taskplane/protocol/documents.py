"""Limits of JSON documents (config, checkpoint, result), and the check before a document is sent.

A document travels as google.protobuf.Struct. Its numbers are doubles, and decoders limit its depth.
"""

import math
from collections.abc import Mapping

# Objects and lists inside each other. Decoders stop at 100 nested messages: a level takes three messages, and the
# messages around a document take the rest.
MAX_NESTING = 24
# A double holds every whole number up to this bound; above it, digits are lost.
MAX_EXACT_INTEGER = 2**53
_LISTS = (list, tuple)


class DocumentError(ValueError):
    """A document that cannot be sent or stored.

    `path` is the place, such as `config.rules[2].limit`, or empty if unknown; `problem` is the rest of the message.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem = problem
        self.path = path


class DocumentTypeError(DocumentError, TypeError):
    """A value or a key of a Python type that JSON lacks."""


def check_document(document: Mapping[str, object], name: str) -> None:
    """Check that a document arrives as it is sent; paths in errors begin with `name`.

    Raises DocumentTypeError for types that JSON lacks, and DocumentError for numbers and texts that would change (NaN,
    infinity, integers beyond 2**53, lone surrogates) and for more than MAX_NESTING levels.
    """
    if not isinstance(document, Mapping):
        raise DocumentTypeError(f"must be a dict, not {type(document).__name__}", name)
    _check_object(document, name, MAX_NESTING)


def levels_inside(levels: int, path: str = "") -> int:
    """Return how many levels may follow inside an object or a list. Raises DocumentError at the last level."""
    if levels == 0:
        raise DocumentError(f"is nested deeper than {MAX_NESTING} levels", path)
    return levels - 1


def _check_object(document: Mapping[str, object], path: str, levels: int) -> None:
    inside = levels_inside(levels, path)
    for key, value in document.items():
        if not isinstance(key, str):
            raise DocumentTypeError(f"keys must be texts, not {type(key).__name__} ({key!r})", path)
        _check_text(key, path)
        _check_value(value, f"{path}.{key}", inside)


def _check_value(value: object, path: str, levels: int) -> None:
    # In the order of frequency. A bool is an int.
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, int):
        if abs(value) > MAX_EXACT_INTEGER:
            raise DocumentError(f"{value} is beyond 2**53 and would lose digits; send it as a text", path)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise DocumentError(f"{value} is not a JSON number", path)
    elif isinstance(value, _LISTS):
        inside = levels_inside(levels, path)
        for index, item in enumerate(value):
            _check_value(item, f"{path}[{index}]", inside)
    elif isinstance(value, Mapping):
        _check_object(value, path, levels)
    elif value is not None:
        raise DocumentTypeError(f"{type(value).__name__} is not a JSON type", path)


def _check_text(text: str, path: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DocumentError(f"{text!r} is not valid Unicode", path) from None
