"""The distinction between optimised and plain builds of Python."""

import sys
import sysconfig

import pytest
import python_build


@pytest.mark.parametrize(
    ("prefix", "options", "build"),
    [
        ("/root/.pyenv/versions/3.11.7", "'--enable-shared'", "plain"),
        ("/root/.pyenv/versions/3.11.7", "'--enable-shared' '--enable-optimizations'", "optimised"),
        ("/usr/local", None, "plain"),
        ("/usr", "'--enable-shared'", "optimised"),
    ],
)
def test_an_optimised_build_is_told_from_a_plain_one(
    monkeypatch: pytest.MonkeyPatch, prefix: str, options: str | None, build: str
) -> None:
    monkeypatch.setattr(sys, "base_prefix", prefix)
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": options}.get)
    assert python_build.build() == build
