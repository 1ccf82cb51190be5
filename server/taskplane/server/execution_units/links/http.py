"""The link to a unit that is driven over HTTP: each command is a request; what does not call back is polled."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from taskplane.server.core.command import (
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
from taskplane.server.execution_units.links.command_queue import CommandQueue
from taskplane.server.execution_units.links.http_client import NoResponse, UnitClient, UnitResponse
from taskplane.server.execution_units.links.http_polling import StatusPoller
from taskplane.server.execution_units.links.listener import LinkObserver
from taskplane.server.execution_units.links.poll_schedule import FIRST_POLL_SECONDS, Key

log = logging.getLogger(__name__)

# What the unit is told of the loss of an attempt: only this, as a cancel. It has no word for the other reasons, and
# would clean up what the next attempt goes on from.
DROPS_SENT_AS_CANCEL = frozenset({DropReason.CANCELLED, DropReason.DELETED})
# The unit says that the task itself is at fault: it would be so anywhere and at any time.
PERMANENT_FAILURES = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
NOT_SUPPORTED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
# How often a drain looks for what is still at work.
DRAIN_CHECK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Job:
    """A command that is being carried out."""

    command: Command
    work: asyncio.Task[None]


class HttpLink:
    """Carries commands out by requests: those of one task one after the other, those of different tasks at once.

    Begins with `run`; what was sent before waits for it.
    """

    def __init__(self, client: UnitClient, observer: LinkObserver, poll_seconds: float) -> None:
        self.peer = client.endpoint
        self._client = client
        self._observer = observer
        self._poll_seconds = poll_seconds
        self._poller = StatusPoller(client, observer, poll_seconds)
        self._queue = CommandQueue()
        # What is under way, by task, oldest first.
        self._jobs: defaultdict[int, list[_Job]] = defaultdict(list)
        self._drain_within: float | None = None
        self._is_draining = False
        self._probe_is_due = False
        # Starts that were sent, and not answered in words that can be trusted.
        self._uncertain_starts: set[Key] = set()
        # Those of them about which the unit is asked.
        self._polled_starts: set[Key] = set()
        # Starts that an earlier link to the unit, perhaps of an earlier server, may have sent.
        self._inherited_starts: set[Key] = set()
        self._wake = asyncio.Event()
        # Why the session is over; None while it is not.
        self.error: TaskplaneError | None = None

    def welcome(self, welcome: Welcome) -> None:
        """Nothing to do: the unit is told in the answer to its registration."""

    def may_have_started(self, key: Key) -> bool:
        """Whether a start was sent of which it is not known what became."""
        return key in self._uncertain_starts

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands, in the order of a CommandQueue."""
        self._queue.put(commands)
        self._wake.set()

    def resend(self, commands: Sequence[Command]) -> None:
        """Nothing to do: what the unit has not answered is being insisted on."""

    def probe(self) -> None:
        """Ask at once, whatever else is under way."""
        self._probe_is_due = True
        self._wake.set()

    def request_drain(self, drain: DrainOrder) -> None:
        """Pause what is at work, and end the session when nothing is, or when the time is up."""
        self._is_draining = True
        self._drain_within = drain.timeout_seconds
        self._wake.set()

    def end(self, error: TaskplaneError) -> None:
        """End the session. What is under way is broken off."""
        self.error = self.error or error
        self._wake.set()

    def note_callback(self, key: Key) -> None:
        """Note that the unit has called back about an attempt."""
        self._poller.note_callback(key)

    async def run(self) -> None:
        """Speak with the unit until the session is ended."""
        async with self._client, asyncio.TaskGroup() as group:
            owned = [group.create_task(self._poller.run())]
            probes: list[asyncio.Task[None]] = []
            before = self._queue.take()
            self._inherited_starts = {command.key for command in before if command.is_start}
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
            if _supersedes(command, each.command) or self._overtakes(command, each.command):
                each.work.cancel()
        work = group.create_task(self._carry_out(command, [each.work for each in before]))
        job = _Job(command, work)
        self._jobs[command.task_id].append(job)
        work.add_done_callback(lambda _: self._remove_job(job))

    def _overtakes(self, command: Command, before: Command) -> bool:
        """Whether a cancel follows a start whose answer did not come: it may not come for a lease."""
        return isinstance(command.order, CancelOrder) and before.key in self._polled_starts

    def _remove_job(self, job: _Job) -> None:
        jobs = self._jobs[job.command.task_id]
        jobs.remove(job)
        if not jobs:
            del self._jobs[job.command.task_id]

    async def _carry_out(self, command: Command, before: Sequence[asyncio.Task[None]]) -> None:
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
            # It has forgotten the task, or knows no resume at all: then the checkpoint is the memory.
            await self._start(command, dispatch)
        elif response and response.is_unreadable:
            await self._fail(command, response)
        elif response:
            await self._report_response(command, response)

    async def _fail(self, command: Command, response: UnitResponse) -> None:
        """Fail the task for good: any other attempt would be answered in the same way, and perhaps executed before."""
        await self._observer.on_command_answered(command, Accepted())
        hopeless = Outcome(status=TaskStatus.FAILED, error_message=str(response), retryable=False)
        await self._observer.on_outcome(command.key, hopeless)

    async def _post_start(self, command: Command, path: str, body: Mapping[str, Any]) -> UnitResponse | None:
        """Begin an attempt. One that may have begun is begun nowhere again before it is known that it has not."""
        self._uncertain_starts.add(command.key)
        try:
            if command.key in self._inherited_starts:
                self._inherited_starts.discard(command.key)
                if await self._poller.has_started(command.key):
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
            self._uncertain_starts.discard(command.key)

    async def _resolve_start(self, command: Command, what_happened: str) -> None:
        """Ask whether an attempt has begun, until it is known; after a lease it has not."""
        log.warning(
            "attempt %s of task %s may have begun: the unit %s", command.attempt, command.task_id, what_happened
        )
        self._polled_starts.add(command.key)
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
        finally:
            self._polled_starts.discard(command.key)

    async def _confirm_start(self, command: Command) -> None:
        """Note that the unit has begun an attempt, as it says; how it is, is asked soon."""
        if self._is_unconfirmed(command.key):
            await self._observer.on_command_answered(command, Accepted())
            self._poller.poll_soon(command.key)

    def _is_unconfirmed(self, key: Key) -> bool:
        """Whether the unit has not said by itself that it has the attempt, which nobody has taken from it."""
        return key in self._observer.running_attempts() and key not in self._observer.accepted_attempts()

    async def _pause(self, command: Command) -> None:
        response = await self._post_until_answered(command, "pause")
        if response:
            await self._report_response(command, response, awaited=TaskStatus.PAUSED)

    async def _cancel(self, command: Command) -> None:
        response = await self._post_until_answered(command, "cancel")
        if response and response.status == HTTPStatus.NOT_FOUND:
            await self._observer.on_command_answered(command, Accepted())
            gone = Outcome(status=TaskStatus.CANCELLED, message="the unit does not know the task (any more)")
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
        """Tell until there is an answer; None if the attempt is over before."""
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
        """Report a response, and what it says of the attempt. What is `awaited` and not said is looked for soon."""
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
        asked: set[Key] = set()
        while running := set(self._observer.running_attempts()):
            new = running.intersection(self._observer.accepted_attempts()) - asked
            asked |= new
            self.send([_pause_to_drain(key) for key in new])
            await asyncio.sleep(DRAIN_CHECK_SECONDS)


def _supersedes(command: Command, before: Command) -> bool:
    """Whether what is under way is broken off. A start is not, for a cancel: it must arrive before."""
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


def _pause_to_drain(key: Key) -> Command:
    return Command(f"drain-{key[0]}-{key[1]}", *key, PauseOrder("the unit is drained"))
