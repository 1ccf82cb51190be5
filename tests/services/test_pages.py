"""A page token returns its key to its own query only."""

import base64
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskplane.server.core.errors import InvalidFields
from taskplane.server.core.task import TaskStatus
from taskplane.server.services.pages import (
    TaskQuery,
    is_page_token,
    page_token,
    read_page_token,
    read_text_page_token,
)
from taskplane.server.store.reading import TaskFilter

QUERY = TaskQuery(filter=TaskFilter(statuses=(TaskStatus.PENDING,), min_priority=0, labels={"team": "data"}))
OTHER_QUERIES = [
    replace(QUERY, newest_first=False),
    replace(QUERY, filter=TaskFilter()),
    replace(QUERY, filter=replace(QUERY.filter, min_priority=None)),
    replace(QUERY, filter=replace(QUERY.filter, name_contains="x")),
    replace(QUERY, filter=replace(QUERY.filter, labels={"team": "web"})),
]


def assert_refused(read: object, token: str) -> None:
    assert callable(read)
    with pytest.raises(InvalidFields) as caught:
        read(token, QUERY.fingerprint)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(st.integers(0, 2**63 - 1))
def test_a_number_comes_back(key: int) -> None:
    assert read_page_token(page_token(QUERY.fingerprint, key), QUERY.fingerprint) == key


@given(st.text(max_size=255))
@example("\U0001f680" * 250)
def test_a_text_comes_back(key: str) -> None:
    token = page_token(QUERY.fingerprint, key)
    assert is_page_token(token)
    assert read_text_page_token(token, QUERY.fingerprint) == key


def test_no_token_is_the_first_page() -> None:
    assert read_page_token("", QUERY.fingerprint) is None
    assert read_text_page_token("", QUERY.fingerprint) == ""


@pytest.mark.parametrize("other", OTHER_QUERIES)
def test_a_token_of_another_query_is_refused(other: TaskQuery) -> None:
    assert_refused(read_page_token, page_token(other.fingerprint, 7))


def test_the_size_of_the_pages_and_the_count_may_change_from_page_to_page() -> None:
    assert replace(QUERY, page_size=3, include_total=True, page_token="x").fingerprint == QUERY.fingerprint


def test_a_token_with_a_key_of_the_wrong_kind_is_refused() -> None:
    assert_refused(read_page_token, page_token(QUERY.fingerprint, "text"))
    assert_refused(read_text_page_token, page_token(QUERY.fingerprint, 7))


@pytest.mark.parametrize("key", [-1, 2**63])
def test_a_token_with_a_key_that_no_row_has_is_refused(key: int) -> None:
    assert_refused(read_page_token, page_token(QUERY.fingerprint, key))


@given(st.text(min_size=1, max_size=100))
def test_a_token_that_was_made_up_is_refused(token: str) -> None:
    assert_refused(read_page_token, token)
    assert_refused(read_text_page_token, token)


@pytest.mark.parametrize("text", ["next, please", "é", base64.urlsafe_b64encode(b"[" * 3000).decode(), "x" * 10_000])
def test_an_invalid_token_is_distinguished_from_a_token_of_another_list(text: str) -> None:
    assert not is_page_token(text)
    assert_refused(read_page_token, text)
    assert is_page_token(page_token(OTHER_QUERIES[0].fingerprint, 7))
