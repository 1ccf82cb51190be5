import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from taskplane.client import InvalidArgumentError, NotJsonError, TaskplaneError, task_spec, to_struct
from taskplane.client.convert import to_duration, to_timestamp


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"ratio": math.nan}, "config.ratio"),
        ({"ratio": -math.inf}, "config.ratio"),
        ({"rules": [{"limit": 1}, {"limit": object()}]}, "config.rules[1].limit"),
        ({"when": {"at": datetime(2026, 1, 1, tzinfo=UTC)}}, "config.when.at"),
        ({"ids": [2**53 + 1]}, "config.ids[0]"),
        ({"raw": b"bytes"}, "config.raw"),
        ({"text": "\ud800"}, "config.text"),
        ({"map": {1: "one"}}, "config.map"),
        ({"map": {"\ud800": 1}}, "config.map"),
    ],
)
def test_a_value_that_is_not_json_is_refused_with_its_path(value: dict[str, object], path: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        to_struct(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")


def nested(levels: int) -> dict[str, object]:
    return {"in": nested(levels - 1)} if levels > 1 else {"in": 1}


def test_a_config_that_is_nested_too_deeply_is_an_error_of_the_client() -> None:
    task_spec("WORK", "deepest", nested(24))
    with pytest.raises(TaskplaneError, match=r"config\.in.*: is nested deeper than 24 levels") as caught:
        task_spec("WORK", "too deep", nested(35))
    assert isinstance(caught.value, NotJsonError)
    assert isinstance(caught.value, InvalidArgumentError)
    assert [bad.field for bad in caught.value.field_violations] == [caught.value.path]


def test_a_document_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(NotJsonError, match="config: must be a dict, not list"):
        to_struct([1, 2])  # type: ignore[arg-type]  # the mistake under test


def test_times_keep_their_meaning() -> None:
    east = timezone(timedelta(hours=8))
    timestamp = to_timestamp(datetime(2026, 3, 1, 8, 30, tzinfo=east))
    duration = to_duration(timedelta(minutes=1, milliseconds=5))
    assert timestamp is not None
    assert timestamp.ToJsonString() == "2026-03-01T00:30:00Z"
    assert duration is not None
    assert duration.ToJsonString() == "60.005s"
    assert to_timestamp(None) is None
    assert to_duration(None) is None


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2026, 3, 1, 8, 30)  # noqa: DTZ001  the case under test
    assert to_timestamp(local) == to_timestamp(local.astimezone(UTC))
