"""Parameters of paths and queries."""

from typing import Annotated

from fastapi import Path
from pydantic import StringConstraints
from starlette.requests import Request

from taskplane.gateway.field_schemas import MAX_NUMBER, NO_NUL
from taskplane.gateway.schema import Digits
from taskplane.server.core.errors import FieldViolation, InvalidFields
from taskplane.server.core.unit import MAX_UNIT_ID

TaskId = Annotated[int, Path(alias="taskId", ge=1, le=MAX_NUMBER, description="Id of a task.", examples=[1]), Digits]
UnitId = Annotated[
    str,
    StringConstraints(pattern=NO_NUL),
    Path(
        alias="unitId", min_length=1, max_length=MAX_UNIT_ID, description="Id of a unit.", examples=["data-processor-1"]
    ),
]


async def check_query(request: Request) -> None:
    """Refuse repeated query parameters, and those that the OpenAPI document does not have for the path."""
    known = _described(request)
    seen: set[str] = set()
    violations = []
    for name, _ in request.query_params.multi_items():
        if name in seen:
            violations.append(FieldViolation(name[:200], "is given twice"))
        elif name not in known:
            violations.append(FieldViolation(name[:200], "is not known here"))
        seen.add(name)
    if violations:
        raise InvalidFields(*violations)


def _described(request: Request) -> set[str]:
    operation = request.app.openapi()["paths"][request.scope["route"].path_format][request.method.lower()]
    return {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
