"""The checkpoint of a conversion."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from taskplane.unit import TaskFailed

NonNegative = Annotated[int, Field(ge=0)]


class InputIdentity(BaseModel):
    """Values by which a later attempt recognises an unchanged input file."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    size: NonNegative
    modified_ns: str  # nanoseconds since 1970, a string because a JSON number cannot hold them
    head_sha256: str


class ConversionCheckpoint(BaseModel):
    """A place between two rows of the input, with the lengths of the part files at this place."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    input: InputIdentity
    offset: NonNegative
    """The byte of the input where the next row begins."""
    row: NonNegative
    """Rows of the input before this place."""
    written: NonNegative
    """Rows in the output."""
    rejected: NonNegative
    """Rows in the rejects."""
    output_bytes: NonNegative
    rejects_bytes: NonNegative

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Parse a checkpoint of `to_json`. Raises TaskFailed for any other data."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise TaskFailed(f"the checkpoint is not one of this unit: {error}", retryable=False) from error

    def to_json(self) -> dict[str, Any]:
        """Return the checkpoint as a JSON object."""
        return self.model_dump(by_alias=True)
