"""The ExecutionUnitManager: connects, drains and deletes units."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from taskplane.server.core.clock import monotonic, utc_now
from taskplane.server.core.command import Command, Verdict, VerdictAction, Welcome, drop_command
from taskplane.server.core.errors import (
    CommandPending,
    DatabaseUnavailable,
    DropReason,
    ServerStopping,
    SessionSuperseded,
    UnitInUse,
    UnitNotFound,
)
from taskplane.server.core.tuning import DEFAULT_TUNING, Tuning
from taskplane.server.core.unit import DrainOrder, HeldAttempt, Hello, Unit
from taskplane.server.execution_units.links import Link
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.execution_units.unit_ids import ConnectingProcess, UnitIdGuard
from taskplane.server.store.store import Store
from taskplane.server.tasks.mutations import ReconciledUnit
from taskplane.server.tasks.state_manager import TaskStateManager

log = logging.getLogger(__name__)

# Interval at which a drain call checks if the unit has left, in seconds.
DRAIN_CHECK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Intervals:
    """Interval of a unit's heartbeats, and how long it may be silent, in seconds."""

    heartbeat: float = 5.0
    lease: float = 30.0


class ExecutionUnitManager:
    """Begins and ends the sessions of all units, and executes the requests of operators."""

    def __init__(
        self,
        store: Store,
        states: TaskStateManager,
        registry: Registry,
        intervals: Intervals,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._store = store
        self._states = states
        self._registry = registry
        self.intervals = intervals
        self.unit_ids = UnitIdGuard(registry, intervals.lease, tuning.probe_seconds)

    async def connect(self, hello: Hello, link: Link) -> Session:
        """Connect a unit with a stream; see `attach`. Raises UnitIdTaken as well."""
        unit_id = hello.unit_id or new_unit_id(hello.unit_name)
        await self.unit_ids.admit(unit_id, ConnectingProcess(boot_id=hello.boot_id))
        known = self._registry.find(unit_id)
        return await self.attach(_new_record(hello, unit_id, known), link, hello.inventory, hello.boot_id)

    async def attach(
        self, record: Unit, link: Link, inventory: Sequence[HeldAttempt] | None, boot_id: str = ""
    ) -> Session:
        """Begin a session: end the unit's older session, reconcile its inventory, and send the welcome.

        The process must have been admitted by `unit_ids`. Without an inventory, the recorded attempts are assumed.
        Raises SessionSuperseded if a newer session of the unit begins first, and DatabaseUnavailable; the unit is not
        connected then.
        """
        unit, session = self._attach(record, boot_id, link)
        try:
            await self._reconcile(unit, session, inventory)
        except BaseException:
            if unit.session is session:
                self._registry.detach_session(unit)
            raise
        log.info("unit %s connected, session %s, boot %s", record.id, session.session_id, boot_id or "unknown")
        return session

    async def _reconcile(self, unit: UnitEntry, session: Session, inventory: Sequence[HeldAttempt] | None) -> None:
        is_new_process = unit.record.boot_id != session.boot_id
        drain_before = unit.record.drain
        settled = await self._states.reconcile(session.unit_id, inventory, is_new_process=is_new_process)
        if unit.session is not session:
            raise _superseded(session.unit_id)
        # Before any await: later transactions may change the verdicts.
        self._welcome(unit, session, settled)
        drain = unit.record.drain
        if is_new_process and drain is drain_before:
            drain = None  # requested of the previous process; a concurrent drain stays
        if drain:
            self._request_drain(session, drain)
        # After the reconciliation: if the server dies before, the next one must see a new process too. Before any new
        # work.
        unit.record = replace(unit.record, boot_id=session.boot_id, drain=drain)
        await self._store.save_units([unit.view()])
        session.set_flags(welcomed=True)

    def _welcome(self, unit: UnitEntry, session: Session, settled: ReconciledUnit) -> None:
        superseded: list[Command] = []
        for verdict in settled.verdicts:
            match verdict.action:
                case VerdictAction.PAUSE if self._runs_elsewhere(unit, verdict):
                    # The same transaction has resumed the task elsewhere, when no holder was known.
                    superseded.append(drop_command(verdict.task_id, verdict.attempt, DropReason.SUPERSEDED))
                case VerdictAction.PAUSE:
                    self._registry.hold(unit, verdict.task_id, verdict.attempt)
                case VerdictAction.KEEP if unit.runs(verdict.task_id, verdict.attempt):
                    unit.running[verdict.task_id].accepted = True
        heartbeat, lease = self.intervals.heartbeat, self.intervals.lease
        session.link.welcome(Welcome(session.unit_id, session.session_id, heartbeat, lease, tuple(settled.verdicts)))
        session.deliver([*map(unit.dispatch_command, settled.dispatches), *settled.commands, *superseded])

    def _runs_elsewhere(self, unit: UnitEntry, verdict: Verdict) -> bool:
        """Return True if the next attempt is assigned to another unit."""
        following = self._registry.slots.assignments.find(verdict.task_id, verdict.attempt + 1)
        return following is not None and following.unit_id != unit.record.id

    async def disconnect(self, session: Session) -> None:
        """End a session after the end of its stream. Without a goodbye, the unit keeps its tasks.

        A superseded session is ignored: the unit is connected by the newer session.
        """
        unit = self._registry.find(session.unit_id)
        if unit is None or unit.session is not session:
            return
        self._registry.detach_session(unit)
        log.info("unit %s disconnected, session %s", session.unit_id, session.session_id)
        try:
            await self._store.save_units([unit.view()])
        except DatabaseUnavailable as error:
            log.debug("unit %s is not stored as OFFLINE: %s", session.unit_id, error.message)

    async def goodbye(self, session: Session, reason: str) -> None:
        """Mark a unit as left: its remaining attempts are lost at once.

        A goodbye completes a drain. An HTTP unit stays drained; a unit with a stream may connect again.
        """
        session.set_flags(draining=True)
        unit = self._registry.find(session.unit_id)
        if unit is None or unit.session is not session:
            return
        unit.has_left = True
        if not unit.record.endpoint:
            unit.record = replace(unit.record, drain=None)  # stored at the end of the stream
        # Slots, not running attempts: a start may be committed and not yet sent.
        if self._registry.slots.load(session.unit_id):
            await self._states.leave(session.unit_id, f"unit left: {reason}" if reason else "unit left")

    async def drain(self, unit_id: str, drain: DrainOrder, wait_seconds: float) -> Unit:
        """Ask a unit to release its tasks and leave, and wait until it has left. It gets no new tasks.

        The request is stored. If the same process connects again, also to the next server, the request is repeated.
        A unit has left when it is not connected and has no task. Raises UnitNotFound, DatabaseUnavailable, and
        CommandPending if the unit has not left within `wait_seconds` (0: no wait).
        """
        asked_at = asyncio.get_running_loop().time()
        unit = self._registry.find(unit_id)
        if unit is None:
            raise UnitNotFound(unit_id)
        await self._store_drain(unit, drain)
        if not unit.is_gone:
            # Not if a concurrent call has requested a drain.
            if unit.session and unit.record.drain is drain:
                self._request_drain(unit.session, drain)
            if wait_seconds:
                await _wait_until_gone(unit, asked_at, wait_seconds)
        return unit.view()

    async def _store_drain(self, unit: UnitEntry, drain: DrainOrder) -> None:
        before = unit.record.drain
        # Before the write, so that concurrent writes of the record include the drain.
        unit.record = replace(unit.record, drain=drain)
        try:
            await self._store.save_units([unit.view()])
        except BaseException:
            if unit.record.drain is drain:
                unit.record = replace(unit.record, drain=before)
            raise

    def _request_drain(self, session: Session, drain: DrainOrder) -> None:
        session.set_flags(draining=True)
        session.link.request_drain(drain)

    def change_capacity(self, session: Session, capacity: int) -> None:
        """Change the number of the unit's slots."""
        if unit := self._registry.find(session.unit_id):
            self._registry.add(replace(unit.record, capacity=capacity, updated_at=utc_now()))

    def renew_lease(self, session: Session) -> None:
        """Renew the lease of a unit that has sent a message."""
        if not session.is_responsive:
            session.set_flags(is_responsive=True)
        unit = self._registry.find(session.unit_id)
        if unit and unit.session is session:
            unit.heard_at = monotonic()
            unit.last_heartbeat = utc_now()

    def units(self) -> list[Unit]:
        """Return all units in order of id."""
        return [unit.view() for unit in self._registry.all()]

    def unit(self, unit_id: str) -> Unit:
        """Return a unit. Raises UnitNotFound."""
        if unit := self._registry.find(unit_id):
            return unit.view()
        raise UnitNotFound(unit_id)

    async def delete_unit(self, unit_id: str) -> None:
        """Delete a unit without RUNNING tasks; a unit with a stream must be OFFLINE. Raises UnitNotFound, UnitInUse."""
        unit = self._registry.find(unit_id)
        if unit is None:
            raise UnitNotFound(unit_id)
        self._check_unused(unit)
        if unit.session:
            unit.session.link.end(UnitNotFound(unit_id))
            self._registry.detach_session(unit)
        await self._store.delete_unit(unit_id)
        if unit.session:
            await self._store.save_units([unit.view()])
            raise _in_use(unit, "it has connected meanwhile")
        self._registry.remove(unit_id)

    async def purge_absent(self, unseen_since: datetime) -> None:
        """Delete the units with a stream that were not connected since then and have no RUNNING task.

        A deleted unit may connect again. HTTP units stay registered.
        """
        for unit in self._registry.all():
            if unit.is_gone and not unit.record.endpoint and unit.last_seen < unseen_since:
                # The unit may have connected, or was deleted, during an earlier iteration.
                with suppress(UnitInUse, UnitNotFound):
                    await self.delete_unit(unit.record.id)

    def _check_unused(self, unit: UnitEntry) -> None:
        if unit.session and not unit.record.endpoint:
            raise _in_use(unit, "it is connected")
        # Slots, not running attempts: a start may be committed and not yet sent.
        if in_use := self._registry.slots.load(unit.record.id):
            raise _in_use(unit, f"{in_use} of its slots are in use")

    async def save_heartbeats(self) -> None:
        """Store all connected units, and each other unit whose status or load has changed."""
        units = [unit for unit in self._registry.all() if unit.session or not unit.is_stored]
        views = [unit.view() for unit in units]
        await self._store.save_heartbeats(views)
        for unit, view in zip(units, views, strict=True):
            unit.stored = view.status, view.current_load

    def end_all(self) -> None:
        """End all sessions: the server is stopping."""
        for unit in self._registry.all():
            if unit.session:
                unit.session.link.end(ServerStopping())

    def _attach(self, record: Unit, boot_id: str, link: Link) -> tuple[UnitEntry, Session]:
        known = self._registry.find(record.id)
        if known and known.session:
            log.info("unit %s: session %s is superseded", record.id, known.session.session_id)
            known.session.link.end(_superseded(record.id))
            self._registry.detach_session(known)
        unit = self._registry.add(record)
        unit.has_left = False
        session = Session(secrets.token_hex(8), record.id, boot_id, link)
        self._registry.attach_session(unit, session)
        return unit, session


async def _wait_until_gone(unit: UnitEntry, asked_at: float, wait_seconds: float) -> None:
    try:
        async with asyncio.timeout_at(asked_at + wait_seconds):
            while not unit.is_gone:  # noqa: ASYNC110  (many events lead here, and none is urgent)
                await asyncio.sleep(DRAIN_CHECK_SECONDS)
    except TimeoutError:
        raise CommandPending(
            f"unit {unit.record.id!r} has not left within {wait_seconds:g} s; it is still draining",
            metadata={"unit_id": unit.record.id},
        ) from None


def new_unit_id(unit_name: str) -> str:
    """Generate an id for a unit."""
    return f"{unit_name.strip().replace('/', '-')[:200]}-{secrets.token_hex(4)}"


def _in_use(unit: UnitEntry, why: str) -> UnitInUse:
    return UnitInUse(f"unit {unit.record.id!r} cannot be deleted: {why}", metadata={"unit_id": unit.record.id})


def _superseded(unit_id: str) -> SessionSuperseded:
    return SessionSuperseded(f"a newer session of unit {unit_id!r} has connected", metadata={"unit_id": unit_id})


def _new_record(hello: Hello, unit_id: str, known: UnitEntry | None) -> Unit:
    now = utc_now()
    before = known.record if known else None
    return Unit(
        id=unit_id,
        unit_type=hello.unit_type,
        unit_name=hello.unit_name,
        capacity=hello.capacity,
        config=before.config if before else {},
        last_heartbeat=now,
        created_at=before.created_at if before else now,
        updated_at=now,
        task_types=hello.task_types,
        labels=hello.labels,
        sdk=hello.sdk,
        boot_id=before.boot_id if before else hello.boot_id,
        drain=before.drain if before else None,
    )
