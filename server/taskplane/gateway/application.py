"""The ASGI application: all routes over the services."""

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic.alias_generators import to_camel

from taskplane.gateway import errors, events, operations, tasks, units
from taskplane.gateway.openapi import DESCRIPTION, description_of
from taskplane.gateway.services import Services


def application(services: Services) -> FastAPI:
    """Build the application. Its pages come with their own scripts, so that they work without the internet."""
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
    app.openapi = partial(description_of, app)  # type: ignore[method-assign]  # FastAPI's own way to do it
    errors.install(app)
    for module in (tasks, events, units, operations):
        app.include_router(module.router)
    return app
