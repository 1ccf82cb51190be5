import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskplane.client import NotJsonError, to_dict, to_struct
from taskplane.client.convert import to_duration, to_timestamp

json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)
json_objects = st.dictionaries(st.text(), json_values)


@given(json_objects)
def test_what_goes_into_a_struct_comes_out_again(document: dict[str, object]) -> None:
    assert to_dict(to_struct(document)) == document


def test_whole_numbers_come_back_as_int() -> None:
    assert repr(to_dict(to_struct({"numbers": [17, 0.5, -(2**53), 3.0, 1e300]}))) == str(
        {"numbers": [17, 0.5, -(2**53), 3, 1e300]}
    )


def test_tuples_become_arrays() -> None:
    assert to_dict(to_struct({"pair": (1, "two")})) == {"pair": [1, "two"]}


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
def test_what_is_not_json_is_refused_with_its_path(value: dict[str, object], path: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        to_struct(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")


def test_a_document_that_is_no_object_is_refused() -> None:
    with pytest.raises(NotJsonError, match="config: list is not a JSON object"):
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
