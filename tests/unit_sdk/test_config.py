from dataclasses import dataclass, field
from typing import Any, Literal

import pydantic
import pytest

from taskplane.unit.config import read_config
from taskplane.unit.errors import TaskFailed


@dataclass
class Copy:
    source: str
    mode: Literal["fast", "safe"] = "safe"
    batch_size: int = 1000
    ratio: float | None = None
    rules: list[str] = field(default_factory=list)


class Model(pydantic.BaseModel):
    source: str
    batch_size: int = pydantic.Field(gt=0)


def refusal(reader: Any, config: dict[str, Any]) -> str:
    with pytest.raises(TaskFailed) as caught:
        read_config(reader, config)
    assert not caught.value.retryable
    return caught.value.message


def test_without_a_reader_the_config_is_the_dict() -> None:
    assert read_config(None, {"a": 1}) == {"a": 1}


def test_a_dataclass_is_filled() -> None:
    assert read_config(Copy, {"source": "a.csv", "ratio": 1}) == Copy("a.csv", ratio=1)


def test_a_pydantic_model_is_filled() -> None:
    assert read_config(Model, {"source": "a.csv", "batch_size": 5}) == Model(source="a.csv", batch_size=5)


def test_any_callable_may_read_the_config() -> None:
    assert read_config(lambda config: config["a"] + 1, {"a": 1}) == 2


def test_a_dataclass_names_every_bad_field() -> None:
    text = refusal(Copy, {"sauce": "a.csv", "batch_size": "many", "mode": "slow", "ratio": True, "rules": None})

    for problem in (
        "sauce: unknown field",
        "source: missing",
        "batch_size: must be int, not 'many'",
        "mode: must be ",
        "ratio: must be float | None, not True",
        "rules: must be ",
    ):
        assert problem in text


def test_a_pydantic_model_names_every_bad_field() -> None:
    text = refusal(Model, {"batch_size": 0})

    assert "source: Field required" in text
    assert "batch_size: Input should be greater than 0" in text


def test_a_callable_refuses_in_its_own_words() -> None:
    def read(config: dict[str, Any]) -> int:
        raise ValueError(f"level: {config['level']} is too high")

    assert refusal(read, {"level": 9}) == "bad config: level: 9 is too high"


def test_a_key_that_a_callable_misses_is_named() -> None:
    assert refusal(lambda config: config["path"], {}) == "bad config: 'path' is missing"
