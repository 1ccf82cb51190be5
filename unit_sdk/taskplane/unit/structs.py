"""Conversion between JSON documents and google.protobuf.Struct; see `taskplane.protocol.structs`."""

from taskplane.protocol.structs import to_dict as from_struct
from taskplane.protocol.structs import to_struct

__all__ = ["from_struct", "to_struct"]
