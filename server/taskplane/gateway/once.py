"""Idempotent calls: a repeat with the same requestId and body does nothing and gets the first answer."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskplane.gateway.schema import Schema
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.idempotency.responses import StoredResponses

A = TypeVar("A", bound=Schema)


class Kept(bytes):
    """The first answer to a call, as it was sent; by an older server perhaps, so it is sent again as it is."""

    __slots__ = ()


async def once(
    responses: StoredResponses, key: IdempotencyKey | None, call: Callable[[IdempotencyKey | None], Awaitable[A]]
) -> A | Kept:
    """Make a call; if it is a repeat of an answered one, return the first answer."""
    return await responses.call(key, call, _serialized, Kept)


def _serialized(response: Schema | Kept) -> bytes:
    return response if isinstance(response, Kept) else response.model_dump_json(by_alias=True).encode()
