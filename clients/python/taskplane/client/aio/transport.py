"""The transport of the asyncio client: the names that differ from `taskplane.client.sync.transport`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import grpc

from taskplane.client.channel import open_aio_channel as open_channel
from taskplane.client.paging import AnyPage

__all__ = ["Channel", "FetchPage", "UnaryCall", "open_channel", "sleep"]

Request = TypeVar("Request")
Response = TypeVar("Response")

Channel: TypeAlias = grpc.aio.Channel
UnaryCall: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Request, Response]"  # generic in the stubs only
FetchPage: TypeAlias = Callable[[str], Awaitable[AnyPage]]
sleep = asyncio.sleep
