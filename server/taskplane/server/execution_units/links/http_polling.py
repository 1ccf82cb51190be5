"""Asks a unit about the attempts that it holds, and for a sign of life if it gives none by itself."""

import asyncio
import logging
from http import HTTPStatus

from taskplane.server.core.clock import monotonic
from taskplane.server.core.documents import LARGE_BYTES
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit_report import Outcome
from taskplane.server.execution_units.links.http_client import NoResponse, UnitClient, UnitResponse
from taskplane.server.execution_units.links.http_responses import InvalidResponse, read_outcome
from taskplane.server.execution_units.links.listener import LinkObserver
from taskplane.server.execution_units.links.poll_schedule import Key, PollSchedule

log = logging.getLogger(__name__)

# Questions under way at once to one unit.
MAX_CONCURRENT_POLLS = 8
# An attempt is lost when the unit twice does not know it, so far apart: its last callback may just be on its way.
CONFIRM_UNKNOWN_SECONDS = 1.0
# No task has this id. Any answer that is no 5xx shows that the unit is there, 404 above all.
PROBE_PATH = "status/0"


class StatusPoller:
    """The questions of one link. `run` is its one loop; answers to commands are heard here too."""

    def __init__(self, client: UnitClient, observer: LinkObserver, interval: float) -> None:
        self._client = client
        self._observer = observer
        self._interval = interval
        self._schedule = PollSchedule(interval)
        self._wake = asyncio.Event()
        # The last word on each attempt, which need not be said twice, and those that were not known once.
        self._last: dict[Key, Outcome] = {}
        self._unknown: set[Key] = set()
        # What was said of these is not durable yet; while the database is away, that takes its time.
        self._unsettled: set[Key] = set()

    async def run(self) -> None:
        """Ask for ever. What the unit should hold from before is asked about at once."""
        for key in self._observer.accepted_attempts():
            self._schedule.poll_soon(key, monotonic())
        async with asyncio.TaskGroup() as settling:
            while True:
                await self._round(settling)
                await self._pause()

    def poll_soon(self, key: Key) -> None:
        """Ask about an attempt soon: the unit was told something whose effect is to be seen."""
        self._schedule.poll_soon(key, monotonic())
        self._wake.set()

    def note_callback(self, key: Key) -> None:
        """Note that the unit has called back about an attempt, and need not be asked for a while."""
        self._schedule.note_callback(key, monotonic())

    async def has_started(self, key: Key) -> bool:
        """Ask whether the unit has begun an attempt; it accepts what it says that it has."""
        response = await self._request(f"status/{key[0]}")
        if response is None or not (response.is_success or response.is_unreadable):
            return False
        try:
            outcome = read_outcome(response.body)
        except InvalidResponse:
            return True
        if outcome is None or outcome.attempt == key[1]:
            return True
        # Without its number, a paused attempt is rather the one before.
        return outcome.attempt is None and outcome.status is not TaskStatus.PAUSED

    async def probe(self) -> None:
        """Ask something that any unit answers."""
        await self._request(PROBE_PATH)

    async def apply_response(self, key: Key, response: UnitResponse) -> Outcome | None:
        """Pass on what an answer says of an attempt, unless it says nothing new. Returns it."""
        try:
            is_large = len(response.body) > LARGE_BYTES
            outcome = await off_loop(read_outcome, response.body) if is_large else read_outcome(response.body)
        except InvalidResponse as error:
            log.warning("what the unit says of task %s is passed over: %s", key[0], error)
            return None
        if outcome and outcome != self._last.get(key) and outcome.attempt in {None, key[1]}:
            self._last[key] = outcome
            await self._observer.on_outcome(key, outcome)
        return outcome

    async def _round(self, settling: asyncio.TaskGroup) -> None:
        held = set(self._observer.accepted_attempts())
        self._schedule.keep(held, monotonic())
        self._last = {key: each for key, each in self._last.items() if key in held}
        self._unknown &= held
        due = [key for key in self._schedule.take_due(monotonic()) if key not in self._unsettled]
        for first in range(0, len(due), MAX_CONCURRENT_POLLS):
            some = due[first : first + MAX_CONCURRENT_POLLS]
            responses = await asyncio.gather(*(self._request(f"status/{task_id}") for task_id, _ in some))
            if not any(responses):
                return  # nobody there; the others will be asked in the next rounds
            for key, response in zip(some, responses, strict=True):
                if response:
                    # Not waited for: answers that are still to come renew the lease.
                    self._unsettled.add(key)
                    settling.create_task(self._settle(key, response))
        if not due and self._observer.is_silent():
            await self.probe()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._schedule.seconds_left(monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _settle(self, key: Key, response: UnitResponse) -> None:
        try:
            if response.is_unreadable:
                # As a checkpoint or result that is too large, which it holds; each further question would get the same.
                unreadable = Outcome(status=TaskStatus.FAILED, error_message=str(response), retryable=False)
                await self._observer.on_outcome(key, unreadable)
            outcome = await self.apply_response(key, response) if response.is_success else None
            if response.status == HTTPStatus.NOT_FOUND or (outcome and outcome.attempt not in {None, key[1]}):
                await self._not_known(key)
            else:
                self._unknown.discard(key)
        finally:
            self._unsettled.discard(key)

    async def _request(self, path: str) -> UnitResponse | None:
        try:
            response = await self._client.get(path)
        except NoResponse as error:
            log.info("GET %s: the unit %s", path, error)
            return None
        self._observer.on_response()
        return response

    async def _not_known(self, key: Key) -> None:
        if key in self._unknown:
            await self._observer.on_attempt_unknown(key)
            return
        self._unknown.add(key)
        self._schedule.poll_soon(key, monotonic(), CONFIRM_UNKNOWN_SECONDS)
