"""Conversion of Python values to protobuf and back: dict and Struct, timedelta and Duration, datetime and Timestamp."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from taskplane.client.errors import NotJsonError
from taskplane.protocol import structs
from taskplane.protocol.documents import DocumentError
from taskplane.protocol.structs import to_dict

__all__ = ["to_dict", "to_duration", "to_struct", "to_timestamp"]


def to_struct(document: Mapping[str, object], name: str = "config") -> Struct:
    """Return a JSON document as a Struct; tuples become lists.

    Raises NotJsonError, with a path that begins with `name`, for types that JSON lacks, for numbers and texts that
    would not arrive as they are (NaN, infinity, integers beyond 2**53, lone surrogates), and for more than 24 levels.
    """
    try:
        return structs.to_struct(document, name)
    except DocumentError as error:
        raise NotJsonError(error.path, error.problem) from error


def to_duration(time: timedelta | None) -> Duration | None:
    """Return the timedelta as a Duration; None, for an unset field, stays None."""
    if time is None:
        return None
    duration = Duration()
    duration.FromTimedelta(time)
    return duration


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """Return the datetime as a Timestamp; without a time zone it is local. None, for an unset field, stays None."""
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment.astimezone(UTC))
    return timestamp
