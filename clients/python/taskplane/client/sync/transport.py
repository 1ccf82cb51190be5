"""The transport of the synchronous client: the names that differ from `taskplane.client.aio.transport`."""

import time
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import grpc

from taskplane.client.channel import open_channel
from taskplane.client.paging import AnyPage

__all__ = ["Channel", "FetchPage", "UnaryCall", "open_channel", "sleep"]

Request = TypeVar("Request")
Response = TypeVar("Response")

Channel: TypeAlias = grpc.Channel
UnaryCall: TypeAlias = "grpc.UnaryUnaryMultiCallable[Request, Response]"  # generic in the stubs only
FetchPage: TypeAlias = Callable[[str], AnyPage]
sleep = time.sleep
