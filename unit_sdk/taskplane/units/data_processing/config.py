"""The config of DATA_PROCESSING tasks."""

import os
from pathlib import Path
from typing import Annotated, Self

import phonenumbers
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from taskplane.units.data_processing.rules import RuleOptions, known_rules

MAX_BATCH_SIZE = 100_000  # rows; a batch is held in memory


def _integer(value: object) -> object:
    # JSON has one type of number: 1000.0 is an integer; "1000" and true are not.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _path(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must be the path of a file")
    return value


def _known_rule(name: str) -> str:
    if name not in known_rules():
        raise ValueError(f"there is no rule {name!r}; known are: {', '.join(known_rules())}")
    return name


Integer = Annotated[int, BeforeValidator(_integer), Field(strict=True)]
FilePath = Annotated[Path, BeforeValidator(_path)]
RuleName = Annotated[str, AfterValidator(_known_rule)]


class DataProcessingConfig(BaseModel):
    """The config of a task, with camelCase names in JSON; unknown names are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    input_path: FilePath
    """The CSV file; its first record names the columns."""
    output_path: FilePath
    """The output file: `.json` for one array, `.jsonl` for a line per row. An existing file is replaced at the end.

    A name without an ending is an array. In a folder, the file gets the name of the input, with `.json`.
    """
    batch_size: Integer = Field(default=1000, ge=1, le=MAX_BATCH_SIZE)
    """Rows between two safe points."""
    validation_rules: tuple[RuleName, ...] = ()
    """Names of rules; each rule checks the column of the same name."""
    checkpoint_interval: Integer = Field(default=5000, ge=1)
    """Rows between two stored checkpoints."""
    rejects_path: FilePath | None = None
    """The file of rejected rows; None: `<outputPath>.rejects.jsonl`."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """The separator of the fields."""
    encoding: str = "utf-8"
    """The encoding of the input, whose UTF-8 byte order mark is skipped. The output is always UTF-8."""
    phone_region: str | None = None
    """The country (ISO 3166, two letters) of phone numbers without + and country code."""

    @property
    def rejects(self) -> Path:
        """The path of the rejects file."""
        return self.rejects_path or self.output_path.with_name(f"{self.output_path.name}.rejects.jsonl")

    @property
    def rule_options(self) -> RuleOptions:
        """The options of the validation rules."""
        return RuleOptions(phone_region=self.phone_region)

    @field_validator("output_path")
    @classmethod
    def _resolve_output_path(cls, path: Path, known: ValidationInfo) -> Path:
        if path.suffix.lower() in {".json", ".jsonl"}:
            return path
        if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises if it must not look there)
            source = known.data.get("input_path")
            return path / f"{source.stem}.json" if source else path
        if path.suffix:
            raise ValueError(f"{path} must end in .json or .jsonl, have no ending, or be a folder")
        return path

    @field_validator("delimiter")
    @classmethod
    def _check_delimiter(cls, delimiter: str) -> str:
        if delimiter in '"\r\n\0':
            raise ValueError("cannot be a quote, the end of a line or NUL")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str) -> str:
        # Lines are found in the bytes, before decoding: encodings such as UTF-16 would be cut inside a character.
        try:
            keeps = b'\n,"'.decode(encoding) == '\n,"'
        except (LookupError, UnicodeError):
            keeps = False
        if not keeps:
            raise ValueError(f"{encoding!r} is not known here, or not a superset of ASCII (utf-8, latin-1, gb18030, …)")
        return encoding

    @field_validator("phone_region")
    @classmethod
    def _check_region(cls, region: str | None) -> str | None:
        if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"{region!r} is not a country in two capital letters, such as CN or DE")
        return region

    @model_validator(mode="after")
    def _check_paths_differ(self) -> Self:
        paths = {"inputPath": self.input_path, "outputPath": self.output_path, "rejectsPath": self.rejects}
        by_path: dict[Path, str] = {}
        for field, path in paths.items():
            other = by_path.setdefault(path.absolute(), field)
            if other != field:
                raise ValueError(f"{field} and {other} are the same file: {path}")
        return self
