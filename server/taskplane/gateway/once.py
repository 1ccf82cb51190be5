"""Idempotent calls: a repeat with the same requestId and body does nothing and gets the first answer."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskplane.gateway.schema import Schema
from taskplane.gateway.task_requests import Asking
from taskplane.server.idempotency.keys import IdempotencyKey
from taskplane.server.idempotency.responses import StoredResponses

A = TypeVar("A", bound=Schema)


def idempotency_key(method: str, target: int | str, asking: Asking) -> IdempotencyKey | None:
    """Return the key of a call to a method of something, or None if the caller gave no requestId."""
    if not asking.request_id:
        return None
    body = json.dumps([target, asking.model_dump(mode="json")], sort_keys=True)
    return IdempotencyKey(asking.request_id, f"HTTP {method}", hashlib.sha256(body.encode()).hexdigest())


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
