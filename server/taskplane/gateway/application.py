"""The ASGI application: all routes over the services."""

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic.alias_generators import to_camel
from starlette.middleware.cors import CORSMiddleware

from taskplane.gateway import batches, errors, events, operations, tasks, units
from taskplane.gateway.bodies import bodies_of
from taskplane.gateway.body_budget import BodyBudget
from taskplane.gateway.callers import Callers, CallersMiddleware
from taskplane.gateway.openapi import DESCRIPTION, description_of
from taskplane.gateway.services import Services


def application(services: Services, callers: Callers) -> FastAPI:
    """Build the application. Its pages include their scripts, and work without the internet."""
    routers = [module.router for module in (batches, tasks, events, units, operations)]
    bodies = [each for router in routers for each in bodies_of(router)]
    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="taskplane",
        version=version("taskplane"),
        description=DESCRIPTION,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: to_camel(route.name),
    )
    app.state.services = services
    app.state.body_budget = BodyBudget()
    app.openapi = partial(description_of, app, bodies)  # type: ignore[method-assign]  # FastAPI's own way to do it
    errors.install(app)
    for router in routers:
        app.include_router(router)
    # Built now: otherwise the first request, and all others with it, would wait for the document.
    app.openapi()
    if callers.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(callers.origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["content-type", "last-event-id"],
            expose_headers=["location", "retry-after"],
        )
    # The middleware that is added last runs first.
    app.add_middleware(CallersMiddleware, callers=callers)
    return app
