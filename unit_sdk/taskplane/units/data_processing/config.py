"""What a DATA_PROCESSING task can be told."""

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

MOST_ROWS_IN_A_BATCH = 100_000  # all of a batch is in memory at once


def _whole(value: object) -> object:
    # JSON knows one kind of number: 1000.0 is a whole number. "1000" and true are not.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _path(value: object) -> object:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must be the path of a file")
    return value


def _known_rule(name: str) -> str:
    if name not in known_rules():
        raise ValueError(f"there is no rule {name!r}; known are: {', '.join(known_rules())}")
    return name


WholeNumber = Annotated[int, BeforeValidator(_whole), Field(strict=True)]
FilePath = Annotated[Path, BeforeValidator(_path)]
RuleName = Annotated[str, AfterValidator(_known_rule)]


class DataProcessingConfig(BaseModel):
    """The config of a task, in the camelCase names of its JSON; unknown names are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    input_path: FilePath
    """The CSV file; its first record names the columns."""
    output_path: FilePath
    """Ends in `.json` (one array) or `.jsonl` (a line for each row); an existing file is replaced at the end.

    Without an ending it is one array. If it is a folder, the file in it is called as the input, with `.json`.
    """
    batch_size: WholeNumber = Field(default=1000, ge=1, le=MOST_ROWS_IN_A_BATCH)
    """Rows between two points where pause and cancel take hold."""
    validation_rules: tuple[RuleName, ...] = ()
    """Names of rules; each checks the column of its name."""
    checkpoint_interval: WholeNumber = Field(default=5000, ge=1)
    """Rows between two stored checkpoints."""
    rejects_path: FilePath | None = None
    """Where rows go that are not good; None: `<outputPath>.rejects.jsonl`."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Parts the fields of a row."""
    encoding: str = "utf-8"
    """Of the input; a UTF-8 byte order mark is skipped. The output is always UTF-8."""
    phone_region: str | None = None
    """Two letters (ISO 3166): the country of phone numbers that are written without + and country code."""

    @property
    def rejects(self) -> Path:
        """Where rows go that are not good."""
        return self.rejects_path or self.output_path.with_name(f"{self.output_path.name}.rejects.jsonl")

    @property
    def rule_options(self) -> RuleOptions:
        """What is said here to the rules."""
        return RuleOptions(phone_region=self.phone_region)

    @field_validator("output_path")
    @classmethod
    def _names_a_file(cls, path: Path, known: ValidationInfo) -> Path:
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
    def _can_part_fields(cls, delimiter: str) -> str:
        if delimiter in '"\r\n\0':
            raise ValueError("cannot be a quote, the end of a line or NUL")
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _keeps_lines_apart(cls, encoding: str) -> str:
        # Lines are found in the bytes, before decoding; UTF-16 and its like would be cut in the middle.
        try:
            keeps = b'\n,"'.decode(encoding) == '\n,"'
        except (LookupError, UnicodeError):
            keeps = False
        if not keeps:
            raise ValueError(f"{encoding!r} is not known here, or not a superset of ASCII (utf-8, latin-1, gb18030, …)")
        return encoding

    @field_validator("phone_region")
    @classmethod
    def _is_a_region(cls, region: str | None) -> str | None:
        if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"{region!r} is not a country in two capital letters, such as CN or DE")
        return region

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        paths = {"inputPath": self.input_path, "outputPath": self.output_path, "rejectsPath": self.rejects}
        by_path: dict[Path, str] = {}
        for field, path in paths.items():
            other = by_path.setdefault(path.absolute(), field)
            if other != field:
                raise ValueError(f"{field} and {other} are the same file: {path}")
        return self
