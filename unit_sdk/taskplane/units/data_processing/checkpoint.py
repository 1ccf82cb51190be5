"""From where a task goes on."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from taskplane.unit import TaskFailed

Count = Annotated[int, Field(ge=0)]


class InputIdentity(BaseModel):
    """What shows that an input is the same file as before."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    size: Count
    modified_ns: str  # nanoseconds since 1970 do not fit into a JSON number
    head_sha256: str


class Checkpoint(BaseModel):
    """A place between two rows of the input, and how long the part files are there."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    input: InputIdentity
    offset: Count
    """Where the next row begins in the input."""
    row: Count
    """Rows before it."""
    written: Count
    """Those of them that are in the output."""
    rejected: Count
    """Those that are in the rejects."""
    output_bytes: Count
    rejects_bytes: Count

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave; TaskFailed if it is something else."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise TaskFailed(f"the checkpoint is not one of this unit: {error}", retryable=False) from error

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return self.model_dump(by_alias=True)
