"""Escapes control characters in the console log: no text of a caller may start a new line or control the terminal.

Actors, reasons, names and messages are logged unchanged. The JSON format escapes control characters itself.
"""

from collections.abc import MutableMapping
from typing import Any

# Characters that make structlog's console quote a text, which escapes it.
QUOTED = frozenset(" \t=\r\n\"'")


def escaped(text: str, kept: str = "") -> str:
    """Escape the characters of a text that cannot be printed, as Python does, except `kept`."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in kept else each.encode("unicode_escape").decode() for each in text
    )


def escape_all(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape all texts of a record; a structlog processor for the console."""
    for name, value in record.items():
        if not isinstance(value, str):
            continue
        if name == "exception":
            # Indented, so that no line of a traceback looks like a log line.
            record[name] = "\n".join(f"  {line}" for line in escaped(value, "\n").split("\n"))
        elif name == "event" or QUOTED.isdisjoint(value):
            record[name] = escaped(value)
    return record
