"""The services behind the routes, provided by the application."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from taskplane.server.execution_units.callbacks import Callbacks
from taskplane.server.execution_units.http_units import HttpUnits
from taskplane.server.execution_units.manager import ExecutionUnitManager
from taskplane.server.idempotency.responses import StoredResponses
from taskplane.server.services.batch_control import BatchControl
from taskplane.server.services.statistics import StatisticsService
from taskplane.server.services.task_service import TaskService
from taskplane.server.services.watching import WatchService


@dataclass(frozen=True, slots=True)
class Services:
    """The services of the server. While `is_stopping`, readiness is refused.

    `outage` is the reason why the database cannot be read or written at present, or empty.
    """

    tasks: TaskService
    batches: BatchControl
    statistics: StatisticsService
    watches: WatchService
    units: ExecutionUnitManager
    http_units: HttpUnits
    callbacks: Callbacks
    responses: StoredResponses
    is_stopping: Callable[[], bool]
    outage: Callable[[], str]


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Using = Annotated[Services, Depends(_services)]
