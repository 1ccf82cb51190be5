"""The idempotency key of a call, and the two results of a repeat."""

from dataclasses import dataclass

from taskplane.server.core.task import Task
from taskplane.server.store.keyed_calls import Refusal


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The request id of a call, with the method and the body of the first call with the id."""

    request_id: str
    method: str
    # SHA-256 of the body, in hex.
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Replay:
    """A repeat whose first response is not stored: `tasks` are the tasks of the first call, as they are now.

    `deleted_ids` are the tasks deleted since, `command_id` the command that the first call issued, if any.
    """

    tasks: list[Task]
    command_id: str = ""
    deleted_ids: tuple[int, ...] = ()
    # Of a bulk call: the tasks for which the first call had no effect.
    refusals: tuple[Refusal, ...] = ()


class ResponseStored(Exception):
    """The call is a repeat, and the serialized response to the first call is stored."""

    def __init__(self, response: bytes) -> None:
        super().__init__("the call was made before; its response is stored")
        self.response = response
