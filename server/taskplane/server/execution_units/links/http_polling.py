"""Asks a unit about the attempts that it holds, and for a sign of life if it gives none by itself."""

import asyncio
import logging
from http import HTTPStatus

from taskplane.server.core.clock import monotonic
from taskplane.server.core.documents import LARGE_BYTES
from taskplane.server.core.off_loop import off_loop
from taskplane.server.core.outcome import Outcome
from taskplane.server.core.task import TaskStatus
from taskplane.server.execution_units.links.http_answers import BadAnswer, read_outcome
from taskplane.server.execution_units.links.http_client import Answer, NoAnswer, UnitClient
from taskplane.server.execution_units.links.listener import Listener
from taskplane.server.execution_units.links.poll_schedule import Key, PollSchedule

log = logging.getLogger(__name__)

# Questions under way at once to one unit.
AT_ONCE = 8
# An attempt is lost when the unit twice does not know it, so far apart: its last callback may just be on its way.
SECOND_LOOK_SECONDS = 1.0
# No task has this id. Any answer that is no 5xx shows that the unit is there, 404 above all.
SIGN_OF_LIFE = "status/0"


class Polling:
    """The questions of one link. `run` is its one loop; answers to commands are heard here too."""

    def __init__(self, client: UnitClient, listener: Listener, interval: float) -> None:
        self._client = client
        self._listener = listener
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
        for key in self._listener.accepted():
            self._schedule.look_after(key, monotonic())
        async with asyncio.TaskGroup() as settling:
            while True:
                await self._round(settling)
                await self._pause()

    def look_after(self, key: Key) -> None:
        """Ask about an attempt soon: the unit was told something whose effect is to be seen."""
        self._schedule.look_after(key, monotonic())
        self._wake.set()

    def heard_of(self, key: Key) -> None:
        """Note that the unit has called back about an attempt, and need not be asked for a while."""
        self._schedule.heard_of(key, monotonic())

    async def ask_about(self, key: Key) -> bool:
        """Ask whether the unit has begun an attempt; it accepts what it says that it has."""
        answer = await self._request(f"status/{key[0]}")
        if answer is None or not (answer.is_success or answer.is_unreadable):
            return False
        try:
            outcome = read_outcome(answer.body)
        except BadAnswer:
            return True
        if outcome is None or outcome.attempt == key[1]:
            return True
        # Without its number, a paused attempt is rather the one before.
        return outcome.attempt is None and outcome.status is not TaskStatus.PAUSED

    async def ask_for_sign_of_life(self) -> None:
        """Ask something that any unit answers."""
        await self._request(SIGN_OF_LIFE)

    async def hear(self, key: Key, answer: Answer) -> Outcome | None:
        """Pass on what an answer says of an attempt, unless it says nothing new. Returns it."""
        try:
            is_large = len(answer.body) > LARGE_BYTES
            outcome = await off_loop(read_outcome, answer.body) if is_large else read_outcome(answer.body)
        except BadAnswer as error:
            log.warning("what the unit says of task %s is passed over: %s", key[0], error)
            return None
        if outcome and outcome != self._last.get(key) and outcome.attempt in {None, key[1]}:
            self._last[key] = outcome
            await self._listener.told(key, outcome)
        return outcome

    async def _round(self, settling: asyncio.TaskGroup) -> None:
        held = set(self._listener.accepted())
        self._schedule.keep(held, monotonic())
        self._last = {key: each for key, each in self._last.items() if key in held}
        self._unknown &= held
        due = [key for key in self._schedule.take_due(monotonic()) if key not in self._unsettled]
        for first in range(0, len(due), AT_ONCE):
            some = due[first : first + AT_ONCE]
            answers = await asyncio.gather(*(self._request(f"status/{task_id}") for task_id, _ in some))
            if not any(answers):
                return  # nobody there; the others will be asked in the next rounds
            for key, answer in zip(some, answers, strict=True):
                if answer:
                    # Not waited for: answers that are still to come renew the lease.
                    self._unsettled.add(key)
                    settling.create_task(self._settle(key, answer))
        if not due and self._listener.is_silent():
            await self.ask_for_sign_of_life()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._schedule.seconds_left(monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _settle(self, key: Key, answer: Answer) -> None:
        try:
            if answer.is_unreadable:
                # As a checkpoint or result that is too large, which it holds; each further question would get the same.
                unreadable = Outcome(status=TaskStatus.FAILED, error_message=str(answer), retryable=False)
                await self._listener.told(key, unreadable)
            outcome = await self.hear(key, answer) if answer.is_success else None
            if answer.status == HTTPStatus.NOT_FOUND or (outcome and outcome.attempt not in {None, key[1]}):
                await self._not_known(key)
            else:
                self._unknown.discard(key)
        finally:
            self._unsettled.discard(key)

    async def _request(self, path: str) -> Answer | None:
        try:
            answer = await self._client.ask(path)
        except NoAnswer as error:
            log.info("GET %s: the unit %s", path, error)
            return None
        self._listener.heard()
        return answer

    async def _not_known(self, key: Key) -> None:
        if key in self._unknown:
            await self._listener.lost(key)
            return
        self._unknown.add(key)
        self._schedule.look_after(key, monotonic(), SECOND_LOOK_SECONDS)
