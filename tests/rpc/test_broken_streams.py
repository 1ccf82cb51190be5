"""A stream that breaks during a write of the server: the unit has gone, which is no error of the server."""

import grpc
import pytest

from taskplane.server.core.command import Welcome
from taskplane.server.execution_units.links.stream import StreamLink
from taskplane.server.rpc import unit_control


class BrokenContext:
    """A stream context whose other end has gone without notice."""

    async def write(self, message: object) -> None:
        raise grpc.aio.InternalError('Failed "execute_batch"')


async def test_a_write_to_a_broken_stream_is_the_end_of_the_stream() -> None:
    link = StreamLink()
    link.welcome(Welcome("unit-1", "session-1", 5.0, 30.0, ()))
    with pytest.raises(unit_control._StreamEnded):
        await unit_control._write(link, BrokenContext())  # type: ignore[arg-type]  # all that it needs of a context
