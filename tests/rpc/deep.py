"""Deeply nested JSON."""

from typing import Any


def objects_in_objects(levels: int) -> dict[str, Any]:
    """Return nested objects of the given depth, the innermost empty."""
    return {"in": objects_in_objects(levels - 1)} if levels > 1 else {}


def lists_in_lists(levels: int) -> list[Any]:
    return [lists_in_lists(levels - 1)] if levels > 1 else []
