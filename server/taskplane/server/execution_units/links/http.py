"""The link to an HTTP unit: each command is a request; attempts without callbacks are polled."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from taskplane.server.core.command import (
    AttemptKey,
    CancelOrder,
    Command,
    Dispatch,
    DropOrder,
    PauseOrder,
    ResumeOrder,
    StartOrder,
    Welcome,
)
from taskplane.server.core.errors import DropReason, TaskplaneError, UnitDrained
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit import DrainOrder
from taskplane.server.core.unit_report import Accepted, Outcome, Rejected
from taskplane.server.execution_units.links import LinkObserver
from taskplane.server.execution_units.links.command_queue import CommandQueue
from taskplane.server.execution_units.links.http_client import NoResponse, UnitClient, UnitResponse
from taskplane.server.execution_units.links.http_polling import FIRST_POLL_SECONDS, StatusPoller

log = logging.getLogger(__name__)

# Drops that the unit receives, as a cancel: the HTTP protocol has no drop. With other reasons, a cancel would clean up
# what the next attempt needs.
DROPS_SENT_AS_CANCEL = frozenset({DropReason.CANCELLED, DropReason.DELETED})
# Responses that blame the task itself: every other attempt would fail in the same way.
PERMANENT_FAILURES = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
NOT_SUPPORTED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
# Interval at which a drain checks for running attempts, in seconds.
DRAIN_CHECK_SECONDS = 0.2


class _StartState(Enum):
    """Progress of a start whose effect at the unit is unknown."""

    # An earlier link to the unit, perhaps of an earlier server, may have sent the start.
    INHERITED = auto()
    SENT = auto()
    # The response was lost. The unit is polled for the attempt.
    POLLED = auto()


@dataclass(frozen=True, slots=True)
class _Job:
    """A command in execution."""

    command: Command
    work: asyncio.Task[None]


class HttpLink:
    """Executes commands by requests: in sequence for one task, concurrently for different tasks.

    Commands sent before `run` are queued.
    """

    def __init__(self, client: UnitClient, observer: LinkObserver, poll_seconds: float) -> None:
        self.peer = client.endpoint
        self._client = client
        self._observer = observer
        self._poll_seconds = poll_seconds
        self._poller = StatusPoller(client, observer, poll_seconds)
        self._queue = CommandQueue()
        # Commands in execution by task, oldest first.
        self._jobs: defaultdict[int, list[_Job]] = defaultdict(list)
        self._drain_within: float | None = None
        self._is_draining = False
        self._probe_is_due = False
        # Starts of which it is unknown whether the unit has received them.
        self._starts: dict[AttemptKey, _StartState] = {}
        self._wake = asyncio.Event()
        # Reason for the end of the session; None until the end.
        self.error: TaskplaneError | None = None

    def welcome(self, welcome: Welcome) -> None:
        """Do nothing: the response to the registration is the welcome."""

    def may_have_started(self, key: AttemptKey) -> bool:
        """Return True while it is unknown whether the unit has started an attempt."""
        return self._starts.get(key, _StartState.INHERITED) is not _StartState.INHERITED

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, in the order of a CommandQueue."""
        self._queue.put(commands)
        self._wake.set()

    def resend(self, commands: Sequence[Command]) -> None:
        """Do nothing: requests without a response are already repeated."""

    def probe(self) -> None:
        """Send a probe at once, beside other requests."""
        self._probe_is_due = True
        self._wake.set()

    def request_drain(self, drain: DrainOrder) -> None:
        """Pause all running attempts; end the session after the last one, or at the timeout."""
        self._is_draining = True
        self._drain_within = drain.timeout_seconds
        self._wake.set()

    def end(self, error: TaskplaneError) -> None:
        """End the session and cancel the requests in execution."""
        self.error = self.error or error
        self._wake.set()

    def note_callback(self, key: AttemptKey) -> None:
        """Postpone the next poll of an attempt: the unit has called back."""
        self._poller.note_callback(key)

    async def run(self) -> None:
        """Execute commands and poll until the session ends."""
        async with self._client, asyncio.TaskGroup() as group:
            owned = [group.create_task(self._poller.run())]
            probes: list[asyncio.Task[None]] = []
            before = self._queue.take()
            self._starts = {command.key: _StartState.INHERITED for command in before if command.is_start}
            for command in before:
                self._start_job(command, group)
            while self.error is None:
                if self._is_draining and len(owned) == 1:
                    owned.append(group.create_task(self._drain()))
                if self._probe_is_due:
                    self._probe_is_due = False
                    probes = [each for each in probes if not each.done()]
                    probes.append(group.create_task(self._poller.probe()))
                for command in self._queue.take():
                    self._start_job(command, group)
                await self._wake.wait()
                self._wake.clear()
            for each in (*owned, *probes, *(job.work for jobs in self._jobs.values() for job in jobs)):
                each.cancel()

    def _start_job(self, command: Command, group: asyncio.TaskGroup) -> None:
        before = list(self._jobs[command.task_id])
        for each in before:
            # A cancel need not wait until the outcome of a start is known, which can take a lease.
            is_polled = self._starts.get(each.command.key) is _StartState.POLLED
            if _supersedes(command, each.command) or (is_polled and isinstance(command.order, CancelOrder)):
                each.work.cancel()
        work = group.create_task(self._execute(command, [each.work for each in before]))
        job = _Job(command, work)
        self._jobs[command.task_id].append(job)
        work.add_done_callback(lambda _: self._remove_job(job))

    def _remove_job(self, job: _Job) -> None:
        jobs = self._jobs[job.command.task_id]
        jobs.remove(job)
        if not jobs:
            del self._jobs[job.command.task_id]

    async def _execute(self, command: Command, before: Sequence[asyncio.Task[None]]) -> None:
        if before:
            await asyncio.wait(before)
        match command.order:
            case StartOrder(dispatch):
                await self._start(command, dispatch)
            case ResumeOrder(held_attempt, dispatch):
                await self._resume(command, held_attempt, dispatch)
            case PauseOrder():
                await self._pause(command)
            case CancelOrder():
                await self._cancel(command)
            case DropOrder(reason):
                await self._drop(command, reason)

    async def _start(self, command: Command, dispatch: Dispatch) -> None:
        response = await self._post_start(command, "execute", _execute_body(command, dispatch))
        if response and (response.status in PERMANENT_FAILURES or response.is_unreadable):
            await self._fail(command, response)
        elif response:
            await self._report_response(command, response)
            if response.status in NOT_SUPPORTED:
                self._observer.on_no_response()

    async def _resume(self, command: Command, held_attempt: int, dispatch: Dispatch) -> None:
        body = {"attempt": command.attempt, "heldAttempt": held_attempt}
        response = await self._post_start(command, f"resume/{command.task_id}", body)
        if response and response.status in NOT_SUPPORTED:
            # The unit has lost the attempt, or does not support resume: start from the checkpoint.
            await self._start(command, dispatch)
        elif response and response.is_unreadable:
            await self._fail(command, response)
        elif response:
            await self._report_response(command, response)

    async def _fail(self, command: Command, response: UnitResponse) -> None:
        """Fail the task for good: another attempt would get the same response, perhaps after being executed."""
        await self._observer.on_command_answered(command, Accepted())
        failed = Outcome(status=TaskStatus.FAILED, error_message=str(response), retryable=False)
        await self._observer.on_outcome(command.key, failed)

    async def _post_start(self, command: Command, path: str, body: Mapping[str, Any]) -> UnitResponse | None:
        """Start an attempt. No other attempt is started until this one is known not to have started."""
        is_inherited = self._starts.get(command.key) is _StartState.INHERITED
        self._starts[command.key] = _StartState.SENT
        try:
            if is_inherited and await self._poller.has_started(command.key):
                await self._confirm_start(command)
                return None
            return await self._post(path, body, once=True)
        except NoResponse as error:
            self._observer.on_no_response()
            if error.may_have_arrived:
                await self._resolve_start(command, str(error))
            else:
                await self._observer.on_command_answered(command, Rejected("OTHER", str(error)))
            return None
        finally:
            self._starts.pop(command.key, None)

    async def _resolve_start(self, command: Command, what_happened: str) -> None:
        """Poll until it is known whether an attempt has started; after a lease it counts as not started."""
        log.warning(
            "attempt %s of task %s may have begun: the unit %s", command.attempt, command.task_id, what_happened
        )
        self._starts[command.key] = _StartState.POLLED
        wait = FIRST_POLL_SECONDS
        try:
            async with asyncio.timeout(self._observer.lease_seconds()):
                while self._is_unconfirmed(command.key) and not await self._poller.has_started(command.key):
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, self._poll_seconds)
        except TimeoutError:
            await self._observer.on_command_answered(
                command, Rejected("OTHER", f"{what_happened}; it has not begun for a lease")
            )
        else:
            await self._confirm_start(command)

    async def _confirm_start(self, command: Command) -> None:
        """Report an attempt as accepted, and poll its outcome soon."""
        if self._is_unconfirmed(command.key):
            await self._observer.on_command_answered(command, Accepted())
            self._poller.poll_soon(command.key)

    def _is_unconfirmed(self, key: AttemptKey) -> bool:
        """Return True if the unit still has the attempt and has not reported on it."""
        return key in self._observer.running_attempts() and key not in self._observer.accepted_attempts()

    async def _pause(self, command: Command) -> None:
        response = await self._post_until_answered(command, "pause")
        if response:
            await self._report_response(command, response, awaited=TaskStatus.PAUSED)

    async def _cancel(self, command: Command) -> None:
        response = await self._post_until_answered(command, "cancel")
        if response and response.status == HTTPStatus.NOT_FOUND:
            await self._observer.on_command_answered(command, Accepted())
            gone = Outcome(status=TaskStatus.CANCELLED, message="the unit does not know the task")
            await self._observer.on_outcome(command.key, gone)
        elif response:
            await self._report_response(command, response, awaited=TaskStatus.CANCELLED)

    async def _drop(self, command: Command, reason: DropReason) -> None:
        if reason in DROPS_SENT_AS_CANCEL:
            try:
                await self._post(f"cancel/{command.task_id}", {"attempt": command.attempt})
            except NoResponse as error:
                log.warning("task %s is %s, but its unit %s", command.task_id, reason, error)
        await self._observer.on_command_answered(command, Accepted())

    async def _post_until_answered(self, command: Command, verb: str) -> UnitResponse | None:
        """Repeat a request until there is a response; return None if the attempt ends before."""
        while command.key in {*self._observer.running_attempts(), *self._observer.accepted_attempts()}:
            try:
                return await self._post(f"{verb}/{command.task_id}", {"attempt": command.attempt})
            except NoResponse as error:
                log.warning("%s of task %s stays pending: the unit %s", verb, command.task_id, error)
                self._observer.on_no_response()
                await asyncio.sleep(self._poll_seconds)
        return None

    async def _post(self, path: str, body: Mapping[str, Any], *, once: bool = False) -> UnitResponse:
        response = await self._client.post(path, body, once=once)
        self._observer.on_response()
        return response

    async def _report_response(
        self, command: Command, response: UnitResponse, *, awaited: TaskStatus | None = None
    ) -> None:
        """Report a response and the outcome in it. An `awaited` status that is missing is polled for soon."""
        if not response.is_success:
            await self._observer.on_command_answered(command, Rejected("OTHER", str(response)))
            self._poller.poll_soon(command.key)
            return
        await self._observer.on_command_answered(command, Accepted())
        outcome = await self._poller.apply_response(command.key, response)
        if awaited and (outcome is None or outcome.status is not awaited):
            self._poller.poll_soon(command.key)

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_within):
                await self._pause_all()
        self.end(UnitDrained("the unit is drained"))

    async def _pause_all(self) -> None:
        asked: set[AttemptKey] = set()
        while running := set(self._observer.running_attempts()):
            new = running.intersection(self._observer.accepted_attempts()) - asked
            asked |= new
            self.send([_pause_to_drain(key) for key in new])
            await asyncio.sleep(DRAIN_CHECK_SECONDS)


def _supersedes(command: Command, before: Command) -> bool:
    """Return True if the earlier command is cancelled. A start is not: it must arrive before its cancel."""
    match command.order:
        case DropOrder():
            return True
        case CancelOrder():
            return not before.is_start
        case _:
            return False


def _execute_body(command: Command, dispatch: Dispatch) -> dict[str, Any]:
    task, checkpoint = dispatch.task, dispatch.checkpoint
    return {
        "taskId": task.id,
        "taskType": task.task_type,
        "taskName": task.task_name,
        "config": task.config,
        "attempt": command.attempt,
        "checkpoint": checkpoint.data if checkpoint else None,
        "lastCheckpointNumber": task.last_checkpoint_number,
        "retryCount": task.retry_count,
        "maxRetries": task.max_retries,
    }


def _pause_to_drain(key: AttemptKey) -> Command:
    return Command(f"drain-{key[0]}-{key[1]}", *key, PauseOrder("the unit is drained"))
