"""Rows of calls with idempotency keys, and their responses; long responses are compressed."""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from taskplane.server.store import schema
from taskplane.server.store.dialects import dialect_of
from taskplane.server.store.dialects.dialect import BulkUpdate, ValueType

# Below this size, compression costs more than it saves.
_MIN_COMPRESSED_BYTES = 2048
# Marks a compressed response. No serialized message begins with this byte, a tag of field 15.
_COMPRESSED = b"z"

_RESPONSES = BulkUpdate(
    "task_requests",
    {"request_id": ValueType.TEXT, "answer": ValueType.BYTES},
    {"answer": "given.answer"},
    "task_requests.request_id = given.request_id",
)


class Refusal(NamedTuple):
    """The error of one task in a bulk call."""

    task_id: int
    code: str
    reason: str
    message: str


class KeyedCall(NamedTuple):
    """A call with an idempotency key, and the tasks of the call."""

    request_id: str
    method: str
    fingerprint: str
    task_ids: tuple[int, ...]
    # The command issued by the call; empty if none.
    command_id: str = ""
    # The first response; None before the response, and for responses too long to store.
    response: bytes | None = None
    # Tasks of a bulk call for which the call had no effect.
    refusals: tuple[Refusal, ...] = ()

    def tasks_as_json(self) -> str:
        """Return the ids of the tasks as stored, with any refusals."""
        if not self.refusals:
            return json.dumps(self.task_ids)
        return json.dumps({"ids": self.task_ids, "refusals": self.refusals})


def find_calls(connection: Connection, request_ids: Sequence[str]) -> dict[str, KeyedCall]:
    """Return the recorded calls with these request ids."""
    table = schema.task_requests
    rows = connection.execute(select(table).where(table.c.request_id.in_(request_ids)))
    return {
        row.request_id: KeyedCall(
            row.request_id,
            row.method,
            row.fingerprint,
            tuple(_ids(row.task_ids)),
            row.command_id or "",
            _decompressed(row.answer),
            _refusals(row.task_ids),
        )
        for row in rows
    }


def compressed(responses: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return responses as stored, by request id. Slow for megabytes: do not call on the event loop."""
    return {request_id: _compressed(response) for request_id, response in responses.items()}


def save_responses(connection: Connection, responses: Mapping[str, bytes]) -> None:
    """Store compressed responses by request id."""
    rows = [{"request_id": request_id, "answer": response} for request_id, response in responses.items()]
    dialect_of(connection).update_rows(connection, _RESPONSES, rows)


def _ids(tasks: Any) -> list[int]:
    return list(tasks["ids"] if isinstance(tasks, dict) else tasks)


def _refusals(tasks: Any) -> tuple[Refusal, ...]:
    return tuple(Refusal(*each) for each in tasks["refusals"]) if isinstance(tasks, dict) else ()


def _compressed(response: bytes) -> bytes:
    return response if len(response) < _MIN_COMPRESSED_BYTES else _COMPRESSED + zlib.compress(response, level=1)


def _decompressed(stored: bytes | None) -> bytes | None:
    if stored and stored.startswith(_COMPRESSED):
        return zlib.decompress(stored[len(_COMPRESSED) :])
    return stored
