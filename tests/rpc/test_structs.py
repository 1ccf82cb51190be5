"""Structs and JSON: there and back, and what is refused."""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import example, given
from hypothesis import strategies as st

from taskplane.server.rpc.structs import MAX_JSON_BYTES, MAX_KEY_BYTES, NotJson, json_of, struct_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=10)
USUAL = {"inputPath": "/data/users.csv", "batchSize": 1000, "validationRules": ["email"]}
# What the most bytes of JSON come from.
LONG_AS_JSON = ["\x01" * 1000, "", -1.7976931348623157e308, -(2**53) + 1, None, False, [], {}, {"": None}]


@given(st.dictionaries(TEXTS, VALUES))
@example(USUAL)
@example({"true": True, "one": 1, "none": None, "list": [], "object": {}, "half": 0.5, "big": 2.0**60})
def test_a_struct_is_that_of_protobuf_and_comes_out_as_it_went_in(value: dict[str, Any]) -> None:
    struct = struct_of(value)
    assert struct == json_format.ParseDict(value, Struct())
    assert json_of(struct) == value


def test_a_value_of_no_kind_is_null() -> None:
    empty = Struct(fields={"empty": Value(), "list": Value(list_value=ListValue(values=[Value()]))})
    assert json_of(empty) == {"empty": None, "list": [None]}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_json_is_refused(number: float) -> None:
    with pytest.raises(NotJson, match="which is not JSON"):
        json_of(struct_of({"deep": [{"number": number}]}))


@pytest.mark.parametrize("value", LONG_AS_JSON, ids=range(len(LONG_AS_JSON)))
def test_no_value_is_longer_as_json_than_is_allowed_for(value: Any) -> None:
    for content in ({"": value}, {"list": [value] * 1000}):
        size = len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
        assert size <= 6 * struct_of(content).ByteSize()


@pytest.mark.parametrize("character", ["x", "\x01", "ü"])
def test_the_limit_is_exact(character: str) -> None:
    room = MAX_JSON_BYTES - len('{"text":""}')
    length = len(json.dumps(character, ensure_ascii=False).encode()) - 2
    fitting = {"text": character * (room // length)}
    assert json_of(struct_of(fitting)) == fitting
    with pytest.raises(NotJson, match="as JSON; at most 1048576 are allowed"):
        json_of(struct_of({"text": character * (room // length + 1)}))


@pytest.mark.parametrize("character", ["k", "ü"])
def test_a_key_is_as_long_as_every_database_keeps_it(character: str) -> None:
    longest = character * (MAX_KEY_BYTES // len(character.encode()))
    assert json_of(struct_of({"deep": [{longest: 1}]})) == {"deep": [{longest: 1}]}
    with pytest.raises(NotJson, match=r"has a key of \d+ bytes; at most 65535 are allowed"):
        json_of(struct_of({"deep": [{longest + character: 1}]}))
