"""The floor of gRPC: a bare grpc.aio server that sends back bytes, and streams that echo. `python -m bench.echo`.

No protobuf, no interceptor, no work: what is left is what Python's gRPC costs on this machine. A unary call answers
with as many bytes as its request asks for in its first four.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import uvloop

UNARY = "/bench.Echo/Unary"
STREAM = "/bench.Echo/Stream"
LENGTH_BYTES = 4

Context = grpc.aio.ServicerContext[bytes, bytes]


def request(size: int, answer_size: int) -> bytes:
    """Return a request of `size` bytes for an answer of `answer_size`."""
    return answer_size.to_bytes(LENGTH_BYTES).ljust(size, b".")


async def _unary(message: bytes, _context: Context) -> bytes:
    return bytes(int.from_bytes(message[:LENGTH_BYTES]))


async def _stream(messages: AsyncIterator[bytes], context: Context) -> None:
    async for message in messages:
        await context.write(message)


async def main() -> None:
    """Serve until the process is ended."""
    wrap: Callable[..., Any] = grpc.method_handlers_generic_handler
    methods: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((wrap("bench.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("ready", flush=True)
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
