"""Idempotent calls: a repeat with the same requestId and body does nothing and gets the first answer."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskplane.gateway.schema import Schema
from taskplane.gateway.task_requests import Asking
from taskplane.server.tasks.answers import Answers
from taskplane.server.tasks.requests import Request
from taskplane.server.tasks.state_manager import AlreadyAnswered

A = TypeVar("A", bound=Schema)


def idempotency(method: str, target: int | str, asking: Asking) -> Request | None:
    """Return the key of a call to a method of something, or None if the caller gave no requestId."""
    if not asking.request_id:
        return None
    body = json.dumps([target, asking.model_dump(mode="json")], sort_keys=True)
    return Request(asking.request_id, f"HTTP {method}", hashlib.sha256(body.encode()).hexdigest())


class Kept(bytes):
    """The first answer to a call, as it was sent; by an older server perhaps, so it is sent again as it is."""

    __slots__ = ()


async def once(answers: Answers, key: Request | None, call: Callable[[Request | None], Awaitable[A]]) -> A | Kept:
    """Make a call; if it is a repeat of an answered one, return the first answer."""
    if key is None:
        return await call(None)
    if kept := answers.find(key):
        return Kept(kept)
    try:
        answer = await call(key)
    except AlreadyAnswered as first:
        return Kept(first.answer)
    answers.keep(key, answer.model_dump_json(by_alias=True).encode())
    return answer
