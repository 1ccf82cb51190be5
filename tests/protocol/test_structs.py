import math
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from taskplane.protocol.documents import DocumentError
from taskplane.protocol.structs import fill_struct, to_dict, to_struct
from taskplane.v1.execution_unit_control_pb2 import CheckpointReport, PausedReport, Report, Reports, UnitMessage

texts = st.text(st.characters(codec="utf-8"))
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(st.dictionaries(texts, values))
def test_what_goes_in_comes_out(data: dict[str, Any]) -> None:
    assert to_dict(to_struct(data, "data")) == data


def test_whole_numbers_come_back_as_int() -> None:
    back = to_dict(
        to_struct({"row": 7, "share": 2.0, "part": 0.5, "yes": True, "least": -(2**53), "huge": 1e300}, "data")
    )

    types = {name: type(value) for name, value in back.items()}
    assert types == {"row": int, "share": int, "part": float, "yes": bool, "least": int, "huge": float}


class Colour(StrEnum):
    RED = "red"


def test_tuples_mappings_and_enums_become_json() -> None:
    document = {"pair": (1, "two"), "map": MappingProxyType({"a": None}), "colour": Colour.RED, "code": HTTPStatus.OK}
    assert to_dict(to_struct(document, "data")) == {
        "pair": [1, "two"],
        "map": {"a": None},
        "colour": "red",
        "code": 200,
    }


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ({"a": {"b": [1, float("nan")]}}, ValueError, r"checkpoint\.a\.b\[1\]: nan"),
        ({"a": float("inf")}, ValueError, r"checkpoint\.a: inf"),
        ({"a": 2**53 + 1}, ValueError, r"checkpoint\.a: 9007199254740993 .* text"),
        ({"a": "\udcff"}, ValueError, r"checkpoint\.a: .* not valid Unicode"),
        ({"a": {1, 2}}, TypeError, r"checkpoint\.a: set is not a JSON type"),
        ({"a": b"x"}, TypeError, r"checkpoint\.a: bytes is not a JSON type"),
        ({"a": {1: 2}}, TypeError, r"checkpoint\.a: keys must be texts, not int"),
        ({"a": {"\ud800": 2}}, ValueError, r"checkpoint\.a: .* not valid Unicode"),
        (["a"], TypeError, r"checkpoint: must be a dict, not list"),
    ],
)
def test_what_json_does_not_have_is_an_error_that_names_the_place(data: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        to_struct(data, "checkpoint")
    assert isinstance(caught.value, DocumentError), "one family"
    assert str(caught.value).startswith(f"{caught.value.path}: ")


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}


def test_the_deepest_data_that_is_taken_can_be_parsed_at_the_other_end() -> None:
    paused = PausedReport(checkpoint=CheckpointReport(data=to_struct(nested(24), "checkpoint")))
    message = UnitMessage(reports=Reports(reports=[Report(paused=paused)]))

    assert UnitMessage.FromString(message.SerializeToString()) == message


@pytest.mark.parametrize("deep", [nested(25), {"a": [[nested(22)]]}])
def test_deeper_data_is_refused_on_either_way(deep: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match=r"checkpoint\.a.*: is nested deeper than 24 levels"):
        to_struct(deep, "checkpoint")
    struct = Struct()
    fill_struct(struct, deep)
    with pytest.raises(DocumentError, match="is nested deeper than 24 levels"):
        to_dict(struct)


@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_a_received_number_that_json_lacks_is_refused(number: float) -> None:
    struct = Struct()
    fill_struct(struct, {"deep": [number]})
    with pytest.raises(DocumentError, match="which is not JSON"):
        to_dict(struct)
