"""A TCP proxy on loopback that can cut, stall and delay what passes through it."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Self

_CHUNK_BYTES = 64 * 1024


class Proxy:
    """Passes what comes to `port` on to the port `target`, until its context is left. Has a thread of its own.

    A stall holds back what is sent, in both directions and on new connections too, and passes it on when it is over:
    a network partition as TCP sees it. Stalls and delays end by themselves or by `heal`.
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
        """Breaks every connection; new ones pass."""
        self._loop.call_soon_threadsafe(self._cut)

    def stall(self, seconds: float) -> None:
        """Lets nothing through for so long."""
        self._loop.call_soon_threadsafe(self._stall, seconds)

    def delay(self, each_seconds: float, seconds: float) -> None:
        """Makes every chunk wait, for so long."""
        self._loop.call_soon_threadsafe(self._delay, each_seconds, seconds)

    def heal(self) -> None:
        """Ends stalls and delays."""
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
            pass  # cut: asyncio's streams would log it if it went further
        except OSError:
            pass  # a side that is gone, or not there, is what clients of a proxy have to expect
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
