"""Accepted configs, and refusals with the field's name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taskplane.units.data_processing import DataProcessingConfig

PATHS = {"inputPath": "/data/raw/users.csv", "outputPath": "/data/processed/users.json"}


def test_the_example_of_the_requirements() -> None:
    config = DataProcessingConfig.model_validate(
        PATHS | {"batchSize": 1000, "validationRules": ["email", "phone"], "checkpointInterval": 5000}
    )
    assert config.output_path == Path("/data/processed/users.json")
    assert config.validation_rules == ("email", "phone")
    assert config.rejects == Path("/data/processed/users.json.rejects.jsonl")


def test_only_the_paths_are_needed() -> None:
    config = DataProcessingConfig.model_validate(PATHS)
    assert (config.batch_size, config.validation_rules, config.checkpoint_interval) == (1000, (), 5000)


def test_a_whole_number_may_come_as_a_float_as_json_does_not_tell_them_apart() -> None:
    assert DataProcessingConfig.model_validate(PATHS | {"batchSize": 20.0}).batch_size == 20


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"inputPath": ""}, "inputPath", "must be the path of a file"),
        ({"inputPath": 7}, "inputPath", "must be the path of a file"),
        ({"outputPath": "a\0.json"}, "outputPath", "must be the path of a file"),
        ({"outputPath": "/data/users.xml"}, "outputPath", "/data/users.xml must end in .json or .jsonl"),
        ({"batchSize": 0}, "batchSize", "greater than or equal to 1"),
        ({"batchSize": 100_001}, "batchSize", "less than or equal to 100000"),
        ({"batchSize": 1.5}, "batchSize", "valid integer"),
        ({"batchSize": "1000"}, "batchSize", "valid integer"),
        ({"batchSize": True}, "batchSize", "valid integer"),
        ({"checkpointInterval": -1}, "checkpointInterval", "greater than or equal to 1"),
        ({"validationRules": "email"}, "validationRules", "valid tuple"),
        ({"validationRules": ["email", "emial"]}, "validationRules.1", "no rule 'emial'; known are: email, phone"),
        ({"validationRules": [1]}, "validationRules.0", "valid string"),
        ({"delimiter": ""}, "delimiter", "at least 1 character"),
        ({"delimiter": ";;"}, "delimiter", "at most 1 character"),
        ({"delimiter": '"'}, "delimiter", "cannot be a quote"),
        ({"encoding": "utf-16"}, "encoding", "'utf-16' is not known here, or not a superset of ASCII"),
        ({"encoding": "klingon"}, "encoding", "'klingon' is not known here"),
        ({"encoding": "base64"}, "encoding", "'base64' is not known here"),
        ({"phoneRegion": "Germany"}, "phoneRegion", "'Germany' is not a country in two capital letters"),
        ({"rejectsPath": "/data/processed/users.json"}, "", "rejectsPath and outputPath are the same file"),
        ({"inputPath": "/data/processed/users.json"}, "", "outputPath and inputPath are the same file"),
        ({"batch_size": 7}, "batch_size", "not permitted"),
        ({"colour": "red"}, "colour", "not permitted"),
    ],
)
def test_a_bad_value_is_refused_by_name(change: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        DataProcessingConfig.model_validate(PATHS | change)
    (error,) = refusal.value.errors()
    assert ".".join(map(str, error["loc"])) == field
    assert problem in error["msg"]


@pytest.mark.parametrize("field", ["inputPath", "outputPath"])
def test_a_missing_path_is_named(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        DataProcessingConfig.model_validate({name: path for name, path in PATHS.items() if name != field})
