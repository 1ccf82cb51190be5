"""Bounds for the size of an error in a response."""

from collections.abc import Mapping, Sequence

from taskplane.protocol.errors import FieldViolation

# Bounds of an error in a response, in bytes of UTF-8 except the number of violations: a google.rpc.Status below 4 KiB.
# The status fits into gRPC's trailers of 8 KiB in base64, next to the percent-encoded message.
MAX_MESSAGE = 700
MAX_METADATA = 1100
MAX_VIOLATIONS = 20
_MAX_VIOLATION_BYTES = 1900
_MAX_FIELD = 120
_MAX_DESCRIPTION = 300
# Bytes of a violation without its texts.
_OVERHEAD = 8


def shortened(text: str, at_most: int) -> str:
    """Return a text cut to a number of bytes of UTF-8; an ellipsis marks the cut."""
    if len(text) * 4 <= at_most:
        return text
    # Encode no more characters than the number of allowed bytes, however long the text is.
    encoded = text[: at_most + 1].encode(errors="replace")
    if len(encoded) <= at_most:
        return text
    return encoded[: at_most - 3].decode(errors="ignore") + "…"


def bounded_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries with their values cut to the bound for all of them."""
    kept: dict[str, str] = {}
    room = MAX_METADATA
    for name, value in metadata.items():
        kept[name] = shortened(value, max(room - len(name) - _OVERHEAD, 3))
        room -= len(name) + len(kept[name].encode()) + _OVERHEAD
    return kept


def bounded_violations(violations: Sequence[FieldViolation], found: int) -> list[FieldViolation]:
    """Return the violations that fit into a response; the last one names the number of omitted ones."""
    most = MAX_VIOLATIONS if found <= MAX_VIOLATIONS else MAX_VIOLATIONS - 1
    named: list[FieldViolation] = []
    room = _MAX_VIOLATION_BYTES
    for each in violations[:most]:
        cut = FieldViolation(shortened(each.field, _MAX_FIELD), shortened(each.description, _MAX_DESCRIPTION))
        room -= len(cut.field.encode()) + len(cut.description.encode()) + _OVERHEAD
        if room < 0:
            break
        named.append(cut)
    if more := found - len(named):
        named.append(FieldViolation("request", f"and {more} more bad fields"))
    return named
