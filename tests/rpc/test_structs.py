"""Structs and JSON: conversion in both directions, and refusals."""

import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import example, given
from hypothesis import strategies as st
from rpc.deep import lists_in_lists, objects_in_objects

from taskplane.protocol.documents import DocumentError
from taskplane.server.core.documents import LARGE_BYTES, MAX_KEY_BYTES, check, is_large, wire_bytes
from taskplane.server.rpc.structs import json_of, struct_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=10)
USUAL: dict[str, Any] = {"inputPath": "/data/users.csv", "batchSize": 1000, "validationRules": ["email"]}


@given(st.dictionaries(TEXTS, VALUES))
@example(USUAL)
@example({"true": True, "one": 1, "none": None, "list": [], "object": {}, "half": 0.5, "big": 2.0**60})
def test_a_struct_is_that_of_protobuf_and_comes_out_as_it_went_in(value: dict[str, Any]) -> None:
    struct = struct_of(value)
    assert struct == json_format.ParseDict(value, Struct())
    assert json_of(struct) == value
    assert wire_bytes(value) == struct.ByteSize()


def test_a_value_of_no_kind_is_null() -> None:
    empty = Struct(fields={"empty": Value(), "list": Value(list_value=ListValue(values=[Value()]))})
    assert json_of(empty) == {"empty": None, "list": [None]}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_json_is_refused(number: float) -> None:
    with pytest.raises(DocumentError, match="which is not JSON"):
        json_of(struct_of({"deep": [{"number": number}]}))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 16_383, 16_384, 16_390])
def test_what_a_document_is_on_the_wire_is_known_without_a_struct(length: int) -> None:
    for value in (
        {"text": "ü" * length},
        {"x" * length: None},
        {"list": [1.5] * length},
        {"": {"x": [[True] * length]}},
    ):
        assert wire_bytes(value) == struct_of(value).ByteSize()


@pytest.mark.parametrize("element", ["x", "ü", "\x01", 1, None, [], {}])
def test_the_limit_is_exact(element: Any) -> None:
    whole = {"list": [element] * 100_000}
    most = struct_of(whole).ByteSize()
    assert json_of(struct_of(whole), most) == whole
    check(whole, most)
    for refuse in (lambda: json_of(struct_of(whole), most - 1), lambda: check(whole, most - 1)):
        with pytest.raises(match=f"has {most} bytes as a google.protobuf.Struct; at most {most - 1} are"):
            refuse()


@pytest.mark.parametrize("fitting", [objects_in_objects(24), {"list": lists_in_lists(23)}])
def test_both_ways_to_look_at_a_document_find_it_too_deep(fitting: dict[str, Any]) -> None:
    check(fitting)
    assert json_of(struct_of(fitting)) == fitting
    for refuse in (lambda: json_of(struct_of({"in": fitting})), lambda: check({"in": fitting})):
        with pytest.raises(match="is nested deeper than 24 levels"):
            refuse()


@pytest.mark.parametrize("value", [{"text": "x" * LARGE_BYTES}, {"list": [None] * 9_000}, {"in": [{"x": 1}] * 9_000}])
def test_a_large_document_is_told_from_a_small_one(value: dict[str, Any]) -> None:
    assert is_large(value)
    assert not is_large(USUAL)
    assert not is_large(None)


@pytest.mark.parametrize("character", ["k", "ü"])
def test_a_key_is_as_long_as_every_database_keeps_it(character: str) -> None:
    longest = character * (MAX_KEY_BYTES // len(character.encode()))
    assert json_of(struct_of({"deep": [{longest: 1}]})) == {"deep": [{longest: 1}]}
    with pytest.raises(match=r"has a key of \d+ bytes; at most 65535 are allowed"):
        json_of(struct_of({"deep": [{longest + character: 1}]}))
    with pytest.raises(match=r"has a key of \d+ bytes; at most 65535 are allowed"):
        check({"deep": [{longest + character: 1}]})
