"""Texts of callers in lines for people: nothing in them starts a new line or steers the terminal.

Actors, reasons, names and messages are logged as they came. JSON escapes control characters
anyway; here the same is done for the console.
"""

from collections.abc import MutableMapping
from typing import Any

# Characters for which structlog's console quotes a text, and so escapes it.
QUOTED = frozenset(" \t=\r\n\"'")


def escaped(text: str, kept: str = "") -> str:
    """Return a text in which every character that cannot be printed, but for `kept`, is written as in Python."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in kept else each.encode("unicode_escape").decode() for each in text
    )


def escape_all(_: Any, __: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape the texts of a record. A processor of structlog, for its console."""
    for name, value in record.items():
        if not isinstance(value, str):
            continue
        if name == "exception":
            # Indented, so that no line of it can be taken for one of the log.
            record[name] = "\n".join(f"  {line}" for line in escaped(value, "\n").split("\n"))
        elif name == "event" or QUOTED.isdisjoint(value):
            record[name] = escaped(value)
    return record
