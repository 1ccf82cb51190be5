"""The two APIs for clients, gRPC and REST, behind the same few methods."""

import hashlib
import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message
from robustness.records import Seen

from taskplane.client import Client, RetryPolicy, TaskplaneError, task_filter, task_spec
from taskplane.v1.task_pb2 import Task, TaskLimits, TaskStatus
from taskplane.v1.task_service_pb2 import BatchVerb, TaskSpec

ONCE = RetryPolicy(attempts=1)
TIMEOUT_SECONDS = 10.0


class Refusal(Exception):
    """A call was answered with an error, or not at all."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """The tasks of a response, and a digest of the whole response."""

    seen: tuple[Seen, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Context:
    """The caller. The request id is also the reason, so the history names the request of each change."""

    actor: str
    request_id: str
    # The expected revision of the task, 0 for any.
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A task to create. `run_budget` is in seconds, 0 for none; `zone` is the label required of the unit."""

    type: str
    name: str
    config: dict[str, object]
    start: bool
    priority: int
    max_retries: int
    run_budget: int = 0
    zone: str = ""

    @property
    def unit_labels(self) -> dict[str, str]:
        """Return the labels required of the unit."""
        return {"zone": self.zone} if self.zone else {}


class Api(Protocol):
    """The calls of a client. All methods raise Refusal. `verbs` are the verbs of this API."""

    verbs: frozenset[str]

    def create(self, specs: Sequence[Spec], context: Context) -> Answer:
        """Create tasks, all or none."""

    def control(self, verb: str, task: int, context: Context, *, wait: float, checkpoint: int = 0) -> Answer:
        """Call start, pause, resume, cancel or restart; wait up to `wait` seconds for the effect."""

    def delete(self, task: int, context: Context) -> Answer:
        """Delete a task."""

    def get(self, task: int) -> Answer:
        """Read a task."""

    def list(self, limit: int) -> Answer:
        """Read the newest tasks."""

    def close(self) -> None:
        """Lets go of the connection."""


class GrpcApi:
    """The gRPC API, by the Python client."""

    verbs = frozenset({"create", "batch_create", "bulk", "bulk_filter", "update", "resume_from", "restart_from"})

    def __init__(self, server: str) -> None:
        self._client = Client(server, timeout=TIMEOUT_SECONDS, retry=ONCE)

    def create(self, specs: Sequence[Spec], context: Context) -> Answer:
        """Create tasks, all or none."""
        made = [_task_spec(spec) for spec in specs]
        return self._answer(lambda: self._client.batch_create_tasks(made, **_context(context)))

    def control(self, verb: str, task: int, context: Context, *, wait: float, checkpoint: int = 0) -> Answer:
        """Call start, pause, resume, cancel or restart; wait up to `wait` seconds for the effect."""
        method = getattr(self._client, f"{verb}_task")
        options = {"checkpoint_number": checkpoint} if checkpoint else {}
        timeout = wait or TIMEOUT_SECONDS
        return self._answer(lambda: [method(task, wait=wait > 0, timeout=timeout, **_context(context), **options)])

    def update(self, task: int, context: Context, priority: int) -> Answer:
        """Change a task's priority."""
        return self._answer(lambda: [self._client.update_task(task, {"priority": priority}, **_context(context))])

    def bulk(self, verb: BatchVerb.ValueType, tasks: list[int] | str, context: Context) -> Answer:
        """Call a verb on many tasks, given by id or by a part of their names."""
        chosen = task_filter(name_contains=tasks) if isinstance(tasks, str) else tasks
        return self._answer(lambda: self._client.batch_control_tasks(verb, chosen, **_context(context)))

    def checkpoints(self, task: int) -> list[int]:
        """Return the numbers of the stored checkpoints of a task, newest first."""
        try:
            return [each.number for each in self._client.list_task_checkpoints(task)]
        except TaskplaneError as error:
            raise Refusal(error.code.name, f"{error.reason}: {error.message}") from error

    def delete(self, task: int, context: Context) -> Answer:
        """Delete a task."""

        def call() -> list[Task]:
            self._client.delete_task(task, **_context(context))
            return []

        return self._answer(call)

    def get(self, task: int) -> Answer:
        """Read a task."""
        return self._answer(lambda: [self._client.get_task(task)])

    def list(self, limit: int) -> Answer:
        """Read the newest tasks."""
        return self._answer(lambda: list(self._client.list_tasks_page(page_size=limit).tasks))

    def close(self) -> None:
        """Lets go of the connection."""
        self._client.close()

    def _answer(self, call: Any) -> Answer:
        try:
            messages: Sequence[Message] = call()
        except TaskplaneError as error:
            raise Refusal(error.code.name, f"{error.reason}: {error.message}") from error
        digest = hashlib.sha256(b"\n".join(each.SerializeToString(deterministic=True) for each in messages))
        return Answer(tuple(seen_in(each) for each in messages if isinstance(each, Task)), digest.hexdigest())


class RestApi:
    """The REST API, by the standard library."""

    verbs = frozenset({"create"})

    def __init__(self, server: str) -> None:
        self._connection = http.client.HTTPConnection(server, timeout=2 * TIMEOUT_SECONDS)

    def create(self, specs: Sequence[Spec], context: Context) -> Answer:
        """Create a task."""
        (spec,) = specs
        body = {
            "taskType": spec.type,
            "taskName": spec.name,
            "config": spec.config,
            "start": spec.start,
            "priority": spec.priority,
            "maxRetries": spec.max_retries,
            "unitLabels": spec.unit_labels,
            **({"limits": {"runBudgetSeconds": spec.run_budget}} if spec.run_budget else {}),
        }
        return self._answer("POST", "/api/tasks", body | _body(context))

    def control(self, verb: str, task: int, context: Context, *, wait: float, checkpoint: int = 0) -> Answer:
        """Call start, pause, resume, cancel or restart; wait up to `wait` seconds for the effect."""
        body = _body(context) | {"wait": wait or False}
        if checkpoint:
            body["checkpointNumber"] = checkpoint
        return self._answer("POST", f"/api/tasks/{task}/{verb}", body)

    def delete(self, task: int, context: Context) -> Answer:
        """Delete a task."""
        query = "&".join(f"{name}={value}" for name, value in _body(context).items())
        return self._answer("DELETE", f"/api/tasks/{task}?{query}")

    def get(self, task: int) -> Answer:
        """Read a task."""
        return self._answer("GET", f"/api/tasks/{task}")

    def list(self, limit: int) -> Answer:
        """Read the newest tasks."""
        return self._answer("GET", f"/api/tasks?limit={min(limit, 100)}&sort=-createdAt")

    def close(self) -> None:
        """Lets go of the connection."""
        self._connection.close()

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        text = json.dumps(body) if body is not None else None
        try:
            self._connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Refusal("UNAVAILABLE", repr(error)) from error
        document = json.loads(content) if content else {}
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            said = document["error"]
            raise Refusal(said["status"], f"{said['reason']}: {said['message']}")
        shown = document.get("items", [document] if "id" in document else [])
        return Answer(tuple(_seen_in_json(each) for each in shown), hashlib.sha256(content).hexdigest())


def seen_in(task: Task) -> Seen:
    """Return the task of a response."""
    data = task.checkpoint.data.fields
    step = int(data["step"].number_value) if "step" in data else None
    status = TaskStatus.Name(task.status).removeprefix("TASK_STATUS_")
    pending = task.pending_command.command_id
    return Seen(task.id, status, task.revision, task.attempt, step, pending, task.priority)


def _seen_in_json(task: dict[str, Any]) -> Seen:
    data = (task.get("checkpoint") or {}).get("data") or {}
    pending = (task.get("pendingCommand") or {}).get("commandId", "")
    step = int(data["step"]) if "step" in data else None
    return Seen(task["id"], task["status"], task["revision"], task["attempt"], step, pending, task["priority"])


def _task_spec(spec: Spec) -> TaskSpec:
    limits = TaskLimits()
    if spec.run_budget:
        limits.run_budget.seconds = spec.run_budget
    return task_spec(
        spec.type,
        spec.name,
        spec.config,
        start=spec.start,
        priority=spec.priority,
        max_retries=spec.max_retries,
        limits=limits,
        unit_labels=spec.unit_labels,
    )


def _context(context: Context) -> Any:
    condition = {"expected_revision": context.revision} if context.revision else {}
    return {"actor": context.actor, "reason": context.request_id, "request_id": context.request_id, **condition}


def _body(context: Context) -> dict[str, Any]:
    condition = {"revision": context.revision} if context.revision else {}
    return {"actor": context.actor, "reason": context.request_id, "requestId": context.request_id, **condition}
