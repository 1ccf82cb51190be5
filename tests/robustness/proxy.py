"""A TCP proxy on loopback that can cut, stall and delay its traffic."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Self

_CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards `port` to `target` until the end of its context, on its own thread.

    A stall holds traffic back, in both directions and on new connections too, and forwards the traffic at its end: a
    network partition as TCP sees it. Stalls and delays end on their own or by `heal`.
    """

    def __init__(self, name: str, target: int) -> None:
        self.name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        # Where new connections go; may be changed at any time.
        self.target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{name}")
        self._connections: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._delay_seconds = 0.0
        self._reopening: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, sock=self._listener))
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break every connection; new ones pass."""
        self._loop.call_soon_threadsafe(self._cut)

    def stall(self, seconds: float) -> None:
        """Hold all traffic back for a number of seconds."""
        self._loop.call_soon_threadsafe(self._stall, seconds)

    def delay(self, each_seconds: float, seconds: float) -> None:
        """Delay every chunk, for a number of seconds."""
        self._loop.call_soon_threadsafe(self._delay, each_seconds, seconds)

    def heal(self) -> None:
        """End stalls and delays."""
        self._loop.call_soon_threadsafe(self._heal)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _cut(self) -> None:
        for connection in self._connections:
            connection.cancel()

    def _stall(self, seconds: float) -> None:
        self._open.clear()
        self._heal_after(seconds)

    def _delay(self, each_seconds: float, seconds: float) -> None:
        self._delay_seconds = each_seconds
        self._heal_after(seconds)

    def _heal_after(self, seconds: float) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = self._loop.call_later(seconds, self._heal)

    def _heal(self) -> None:
        self._delay_seconds = 0.0
        self._open.set()

    async def _close(self) -> None:
        self._server.close()
        self._cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            await self._connect(reader, writer)
        except asyncio.CancelledError:
            pass  # cut: asyncio's streams would log an error that went further
        except OSError:
            pass  # a lost or missing side is normal for clients of a proxy
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass_on(reader, target_writer))
                directions.create_task(self._pass_on(target_reader, writer))
        except* OSError:
            pass  # ditto
        finally:
            target_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await asyncio.sleep(self._delay_seconds)
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
