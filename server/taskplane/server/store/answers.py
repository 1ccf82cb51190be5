"""The rows of request ids that were answered, and the answers as they are kept: long ones compressed."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from taskplane.server.store import schema
from taskplane.server.store.statement_buffer import pieces

# Below that, it costs more than it saves.
_WORTH_COMPRESSING = 2048
# An answer is a serialized message, and none begins like this: it would be a field 15.
_COMPRESSED = b"z"

_FROM_JSON = (
    "UPDATE task_requests JOIN JSON_TABLE(%s, '$[*]' COLUMNS ("
    "request_id VARCHAR(64) CHARACTER SET utf8mb4 PATH '$[0]', answer LONGTEXT PATH '$[1]')) AS answered "
    "ON task_requests.request_id = answered.request_id SET task_requests.answer = FROM_BASE64(answered.answer)"
)


class Refusal(NamedTuple):
    """What one task of a bulk call was refused with."""

    task_id: int
    code: str
    reason: str
    message: str


class StoredRequest(NamedTuple):
    """A request_id that was answered: by which method, for which body and which tasks."""

    request_id: str
    method: str
    fingerprint: str
    task_ids: tuple[int, ...]
    # The command that it waits for; empty if there is none.
    command_id: str = ""
    # The answer as it went out; None if it has not yet, or is too long to keep.
    answer: bytes | None = None
    # Of a bulk call: the tasks for which it had no effect.
    refusals: tuple[Refusal, ...] = ()

    def tasks_as_json(self) -> str:
        """Return which tasks it was for, as it is stored: their ids, and what was refused of them if anything was."""
        if not self.refusals:
            return json.dumps(self.task_ids)
        return json.dumps({"ids": self.task_ids, "refusals": self.refusals})


def stored_requests(connection: Connection, request_ids: Sequence[str]) -> dict[str, StoredRequest]:
    """Return those of the request ids that were answered before."""
    table = schema.task_requests
    rows = connection.execute(select(table).where(table.c.request_id.in_(request_ids)))
    return {
        row.request_id: StoredRequest(
            row.request_id,
            row.method,
            row.fingerprint,
            tuple(_ids(row.task_ids)),
            row.command_id or "",
            _unpacked(row.answer),
            _refusals(row.task_ids),
        )
        for row in rows
    }


def packed(answers: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return answers as they are kept, by request id. Megabytes take their time: not for the event loop."""
    return {request_id: _packed(answer) for request_id, answer in answers.items()}


def save_answers(connection: Connection, answers: Mapping[str, bytes]) -> None:
    """Store the answers that went out for request ids, given as they are kept."""
    if connection.dialect.name == "sqlite":
        statement = "UPDATE task_requests SET answer = ? WHERE request_id = ?"
        connection.exec_driver_sql(statement, [(answer, request_id) for request_id, answer in answers.items()])
    else:
        rows = ([request_id, base64.b64encode(answer).decode()] for request_id, answer in answers.items())
        for piece in pieces(rows, lambda row: len(row[1])):
            connection.exec_driver_sql(_FROM_JSON, (json.dumps(piece),))


def _ids(tasks: Any) -> list[int]:
    return list(tasks["ids"] if isinstance(tasks, dict) else tasks)


def _refusals(tasks: Any) -> tuple[Refusal, ...]:
    return tuple(Refusal(*each) for each in tasks["refusals"]) if isinstance(tasks, dict) else ()


def _packed(answer: bytes) -> bytes:
    return answer if len(answer) < _WORTH_COMPRESSING else _COMPRESSED + zlib.compress(answer, level=1)


def _unpacked(stored: bytes | None) -> bytes | None:
    if stored and stored.startswith(_COMPRESSED):
        return zlib.decompress(stored[len(_COMPRESSED) :])
    return stored
