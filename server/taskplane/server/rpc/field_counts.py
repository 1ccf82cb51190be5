"""Count of the fields of a large message, from its bytes: decoding costs time and memory for each field."""

from google.protobuf.descriptor import Descriptor

# Documents are bounded by their bytes, so that their contents are not counted.
_DOCUMENT = "google.protobuf.Struct"
# The bit of a varint's byte that announces a further byte.
_MORE = 0x80


class TooManyFields(Exception):
    """The message has too many fields."""


def check_fields(message: bytes, kind: Descriptor, at_most: int, levels: int) -> None:
    """Raise TooManyFields above `at_most` fields, including those of inner messages down to `levels`.

    A document counts as one field. Unreadable bytes raise nothing: the decoder refuses them.
    """
    try:
        _left(message, (0, len(message)), kind, at_most, levels)
    except IndexError:
        return


def _left(message: bytes, part: tuple[int, int], kind: Descriptor, room: int, levels: int) -> int:
    at, end = part
    while at < end:
        room -= 1
        if room < 0:
            raise TooManyFields
        tag, at = _varint(message, at)
        match tag & 7:  # the wire type: a number, 8 bytes, something with its length, 4 bytes
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(message, at)
                field = kind.fields_by_number.get(tag >> 3) if levels else None
                inner = field.message_type if field else None
                if inner and inner.full_name != _DOCUMENT:
                    room = _left(message, (at, min(at + length, end)), inner, room, levels - 1)
                at += length
            case 5:
                at += 4
            case _:
                raise IndexError
    return room


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := message[at]) & _MORE:
        if shift > 63:  # noqa: PLR2004  (no number of the wire has more bits)
            raise IndexError
        value |= (byte & ~_MORE) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1
