"""Polls a unit's status endpoint: for each attempt that the unit has, and as a liveness probe."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from taskplane.server.core.clock import monotonic
from taskplane.server.core.command import AttemptKey
from taskplane.server.core.documents import LARGE_BYTES
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit_report import Outcome
from taskplane.server.execution_units.links import LinkObserver
from taskplane.server.execution_units.links.http_client import NoResponse, UnitClient, UnitResponse
from taskplane.server.execution_units.links.http_responses import InvalidResponse, read_outcome

log = logging.getLogger(__name__)

# Concurrent status requests to one unit.
MAX_CONCURRENT_POLLS = 8
# The effect of an accepted command is polled after this many seconds; the wait doubles up to the poll interval.
FIRST_POLL_SECONDS = 0.25
# An attempt is lost if the unit does not know it in two polls this many seconds apart: its last callback may be late.
CONFIRM_UNKNOWN_SECONDS = 1.0
# No task has this id. Every response except 5xx proves that the unit is alive, and 404 is the usual one.
PROBE_PATH = "status/0"


@dataclass(slots=True)
class _Next:
    at: float
    # Seconds until the poll after the next one.
    wait: float


class PollSchedule:
    """The next poll of each attempt: after an interval of silence, or sooner while a command's effect is expected.

    Pure: times are seconds of any one clock.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: dict[AttemptKey, _Next] = {}

    def keep(self, held: Iterable[AttemptKey], now: float) -> None:
        """Schedule these attempts and no others."""
        self._next = {key: self._next.get(key) or _Next(now + self._interval, self._interval) for key in held}

    def note_callback(self, key: AttemptKey, now: float) -> None:
        """Postpone the next poll: the unit has reported on the attempt."""
        if key in self._next:
            self._next[key] = _Next(now + self._interval, self._interval)

    def poll_soon(self, key: AttemptKey, now: float, wait: float = FIRST_POLL_SECONDS) -> None:
        """Poll an attempt after `wait` seconds, and again after twice as long."""
        self._next[key] = _Next(now + wait, min(2 * wait, self._interval))

    def take_due(self, now: float) -> list[AttemptKey]:
        """Return the attempts to poll now, the most overdue first."""
        due = sorted((key for key, each in self._next.items() if each.at <= now), key=lambda key: self._next[key].at)
        for key in due:
            self.poll_soon(key, now, self._next[key].wait)
        return due

    def seconds_left(self, now: float) -> float:
        """Return the seconds until the next poll; at most an interval."""
        return max(0.0, min((each.at - now for each in self._next.values()), default=self._interval))


class StatusPoller:
    """The status requests of one link. `run` is the polling loop; responses to commands are applied here too."""

    def __init__(self, client: UnitClient, observer: LinkObserver, interval: float) -> None:
        self._client = client
        self._observer = observer
        self._schedule = PollSchedule(interval)
        self._wake = asyncio.Event()
        # The last outcome of each attempt: an unchanged outcome is not reported again.
        self._last: dict[AttemptKey, Outcome] = {}
        # Attempts that the unit did not know at the last poll.
        self._unknown: set[AttemptKey] = set()
        # Attempts whose outcome is not durable yet. They are not polled: while the database is away, requests would
        # pile up.
        self._applying: set[AttemptKey] = set()

    async def run(self) -> None:
        """Poll until cancelled. Attempts that the unit has accepted before are polled at once."""
        for key in self._observer.accepted_attempts():
            self._schedule.poll_soon(key, monotonic())
        async with asyncio.TaskGroup() as applying:
            while True:
                await self._poll_due(applying)
                await self._wait_for_next()

    def poll_soon(self, key: AttemptKey) -> None:
        """Poll an attempt soon, to see the effect of a command."""
        self._schedule.poll_soon(key, monotonic())
        self._wake.set()

    def note_callback(self, key: AttemptKey) -> None:
        """Postpone the next poll: the unit has called back about the attempt."""
        self._schedule.note_callback(key, monotonic())

    async def has_started(self, key: AttemptKey) -> bool:
        """Ask whether the unit has started an attempt."""
        response = await self._get(f"status/{key[0]}")
        if response is None or not (response.is_success or response.is_unreadable):
            return False
        try:
            outcome = read_outcome(response.body)
        except InvalidResponse:
            return True
        if outcome is None or outcome.attempt == key[1]:
            return True
        # A paused attempt without a number is most likely the previous attempt.
        return outcome.attempt is None and outcome.status is not TaskStatus.PAUSED

    async def probe(self) -> None:
        """Send a request to which every unit responds."""
        await self._get(PROBE_PATH)

    async def apply_response(self, key: AttemptKey, response: UnitResponse) -> Outcome | None:
        """Report the outcome in a response, unless it is unchanged. Returns the outcome."""
        try:
            is_large = len(response.body) > LARGE_BYTES
            outcome = await off_loop(read_outcome, response.body) if is_large else read_outcome(response.body)
        except InvalidResponse as error:
            log.warning("invalid status of task %s is ignored: %s", key[0], error)
            return None
        if outcome and outcome != self._last.get(key) and outcome.attempt in {None, key[1]}:
            self._last[key] = outcome
            await self._observer.on_outcome(key, outcome)
        return outcome

    async def _poll_due(self, applying: asyncio.TaskGroup) -> None:
        held = set(self._observer.accepted_attempts())
        self._schedule.keep(held, monotonic())
        self._last = {key: each for key, each in self._last.items() if key in held}
        self._unknown &= held
        due = [key for key in self._schedule.take_due(monotonic()) if key not in self._applying]
        for first in range(0, len(due), MAX_CONCURRENT_POLLS):
            some = due[first : first + MAX_CONCURRENT_POLLS]
            responses = await asyncio.gather(*(self._get(f"status/{task_id}") for task_id, _ in some))
            if not any(responses):
                return  # the unit is away; the other attempts are polled in later rounds
            for key, response in zip(some, responses, strict=True):
                if response:
                    # Not awaited: the responses to later polls renew the lease meanwhile.
                    self._applying.add(key)
                    applying.create_task(self._apply_poll(key, response))
        if not due and self._observer.is_silent():
            await self.probe()

    async def _wait_for_next(self) -> None:
        try:
            async with asyncio.timeout(self._schedule.seconds_left(monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _apply_poll(self, key: AttemptKey, response: UnitResponse) -> None:
        try:
            if response.is_unreadable:
                # Every further poll would return the same oversized checkpoint or result.
                unreadable = Outcome(status=TaskStatus.FAILED, error_message=str(response), retryable=False)
                await self._observer.on_outcome(key, unreadable)
            outcome = await self.apply_response(key, response) if response.is_success else None
            if response.status == HTTPStatus.NOT_FOUND or (outcome and outcome.attempt not in {None, key[1]}):
                await self._note_unknown(key)
            else:
                self._unknown.discard(key)
        finally:
            self._applying.discard(key)

    async def _get(self, path: str) -> UnitResponse | None:
        try:
            response = await self._client.get(path)
        except NoResponse as error:
            log.info("GET %s: the unit %s", path, error)
            return None
        self._observer.on_response()
        return response

    async def _note_unknown(self, key: AttemptKey) -> None:
        if key in self._unknown:
            await self._observer.on_attempt_unknown(key)
            return
        self._unknown.add(key)
        self._schedule.poll_soon(key, monotonic(), CONFIRM_UNKNOWN_SECONDS)
