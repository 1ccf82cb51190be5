"""Schemathesis against a live server: whatever the API's description allows or forbids, the answer is as it says."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from gateway.server import served
from schemathesis.specs.openapi.checks import positive_data_acceptance
from hypothesis import HealthCheck, Phase, settings

from taskplane.gateway.application import application

schema = schemathesis.openapi.from_dict(application(None).openapi())


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, served(f"sqlite:///{Path(folder) / 'taskplane.db'}") as url:
        yield url


@schema.exclude(path_regex="/events$").parametrize()
@settings(max_examples=25, derandomize=True, deadline=None)
def test_answers_are_as_described(case: schemathesis.Case, base_url: str) -> None:
    case.call_and_validate(base_url=base_url, excluded_checks=[positive_data_acceptance])
