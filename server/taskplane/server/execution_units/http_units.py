"""HTTP units: registrations, heartbeats, and a link to each unit."""

import asyncio
import logging
from contextlib import suppress

from taskplane.server.core.clock import utc_now
from taskplane.server.core.endpoint import Endpoints
from taskplane.server.core.errors import (
    FieldViolation,
    InvalidFields,
    ServerStopping,
    TaskplaneError,
    UnitDrained,
    UnitHasStream,
    UnitNotFound,
)
from taskplane.server.core.unit import Registration, Unit
from taskplane.server.execution_units.http_unit_observer import HttpUnitObserver
from taskplane.server.execution_units.links.http import HttpLink
from taskplane.server.execution_units.links.http_client import NoResponse, UnitClient
from taskplane.server.execution_units.links.http_polling import PROBE_PATH
from taskplane.server.execution_units.manager import ExecutionUnitManager, new_unit_id
from taskplane.server.execution_units.registry import Registry
from taskplane.server.execution_units.report_handler import ReportHandler
from taskplane.server.execution_units.session import Session
from taskplane.server.execution_units.unit_entry import UnitEntry
from taskplane.server.execution_units.unit_ids import ConnectingProcess

log = logging.getLogger(__name__)

# Units that are connected concurrently at the server's start: in sequence, thousands would take minutes.
CONNECT_BATCH = 200


class HttpUnits:
    """Keeps a session for each registered unit that is not lost. Call `start` once, then `stop` once."""

    def __init__(
        self,
        manager: ExecutionUnitManager,
        registry: Registry,
        report_handler: ReportHandler,
        endpoints: Endpoints,
        poll_seconds: float,
    ) -> None:
        self._manager = manager
        self._registry = registry
        self._report_handler = report_handler
        self._endpoints = endpoints
        self._poll_seconds = poll_seconds
        self._link_tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def start(self) -> None:
        """Connect all registered units that are not drained. Each receives new work after its first response."""
        registered = [unit for unit in self._registry.all() if unit.record.endpoint and not unit.is_drained]
        for begin in range(0, len(registered), CONNECT_BATCH):
            group = registered[begin : begin + CONNECT_BATCH]
            for session in await asyncio.gather(*(self._connect(unit.record) for unit in group)):
                session.set_flags(is_responsive=False)

    async def stop(self) -> None:
        """Refuse new links and wait for the end of the others, which the manager has requested."""
        self._is_stopping = True
        if self._link_tasks:
            await asyncio.wait(self._link_tasks)

    async def register(self, registration: Registration) -> Unit:
        """Register a unit, or update its record, which is found by id, or by type and name if there is no id.

        The attempts that the unit had are polled at once, and lost if the unit no longer knows them. A registration
        ends a drained state. Raises InvalidFields, UnitIdTaken and DatabaseUnavailable.
        """
        if problem := self._endpoints.problem(registration.endpoint):
            raise InvalidFields(FieldViolation("endpoint", problem))
        unit_id = registration.unit_id
        if known := self._find_registered(registration):
            unit_id = known.record.id
            await self._manager.unit_ids.admit(unit_id, ConnectingProcess(endpoint=registration.endpoint))
        record = _new_record(registration, unit_id, self._registry.find(unit_id))
        await self._connect(record)
        return self._manager.unit(record.id)

    async def heartbeat(self, unit_id: str, capacity: int | None) -> Unit:
        """Renew a unit's lease. A lost unit is connected again; a drained unit stays away.

        Raises UnitNotFound and UnitHasStream.
        """
        with suppress(UnitDrained):
            session = await self.session_of(unit_id)
            if capacity is not None:
                self._manager.change_capacity(session, capacity)
        return self._manager.unit(unit_id)

    async def session_of(self, unit_id: str) -> Session:
        """Renew a unit's lease and return its session, a new one if the unit was lost.

        Raises UnitNotFound, UnitHasStream and UnitDrained.
        """
        unit = self._registry.find(unit_id)
        if unit is None:
            raise UnitNotFound(unit_id)
        if not unit.record.endpoint:
            raise UnitHasStream(unit_id)
        if unit.is_drained:
            raise UnitDrained(f"unit {unit_id!r} was drained; register it again")
        session = unit.session or await self._connect(unit.record)
        self._manager.renew_lease(session)
        return session

    async def reconnect_lost(self) -> None:
        """Probe lost units once a lease, forever: units without heartbeats come back only in this way."""
        while True:
            await asyncio.sleep(self._manager.intervals.lease)
            lost = [unit for unit in self._registry.all() if unit.record.endpoint and unit.session is None]
            for unit in lost:
                if not unit.is_drained and await _answers_probe(unit):
                    await self._reconnect(unit)

    async def _reconnect(self, unit: UnitEntry) -> None:
        try:
            await self.session_of(unit.record.id)
        except TaskplaneError as error:
            log.warning("unit %s has responded to a probe, but cannot be connected: %s", unit.record.id, error.message)

    def _find_registered(self, registration: Registration) -> UnitEntry | None:
        if registration.unit_id:
            return self._registry.find(registration.unit_id)
        wanted = (registration.unit_type, registration.unit_name)
        same = (unit for unit in self._registry.all() if (unit.record.unit_type, unit.record.unit_name) == wanted)
        return next((unit for unit in same if unit.record.endpoint), None)

    async def _connect(self, record: Unit) -> Session:
        if self._is_stopping:
            raise ServerStopping
        unit = self._registry.add(record)
        observer = HttpUnitObserver(unit, self._manager, self._report_handler)
        link = HttpLink(UnitClient(record.endpoint or ""), observer, self._poll_seconds)
        session = await self._manager.attach(record, link, inventory=None)
        link_task = asyncio.get_running_loop().create_task(self._run_link(session, link))
        self._link_tasks.add(link_task)
        link_task.add_done_callback(self._link_tasks.discard)
        return session

    async def _run_link(self, session: Session, link: HttpLink) -> None:
        try:
            await link.run()
        except Exception:
            # A defect in one link must not end the others. The unit's next heartbeat creates a new link.
            log.exception("the link to unit %s has failed", session.unit_id)
        finally:
            await self._disconnect(session, link)

    async def _disconnect(self, session: Session, link: HttpLink) -> None:
        try:
            if isinstance(link.error, UnitDrained):
                await self._manager.goodbye(session, "drained")
        except TaskplaneError as error:
            log.warning("unit %s: what it still has is lost with its lease: %s", session.unit_id, error.message)
        finally:
            await self._manager.disconnect(session)


def _new_record(registration: Registration, unit_id: str, known: UnitEntry | None) -> Unit:
    now = utc_now()
    before = known.record if known else None
    return Unit(
        id=unit_id or new_unit_id(registration.unit_name),
        unit_type=registration.unit_type,
        unit_name=registration.unit_name,
        capacity=registration.capacity,
        endpoint=registration.endpoint,
        config=registration.config,
        last_heartbeat=now,
        created_at=before.created_at if before else now,
        updated_at=now,
        task_types=registration.accepted_task_types(),
        labels=registration.labels,
        # A drain in progress continues.
        drain=known.record.drain if known and not known.is_drained else None,
    )


async def _answers_probe(unit: UnitEntry) -> bool:
    try:
        async with UnitClient(unit.record.endpoint or "") as client:
            await client.get(PROBE_PATH)
    except NoResponse:
        return False
    return True
