import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]


def asked_for(*extras: str) -> list[Requirement]:
    """Return the requirements of pyproject.toml, without references from one extra to another."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != project["name"]]


def pins(name: str) -> dict[str, str]:
    lines = (PROJECT / "requirements" / name).read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pinned}


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("runtime.txt", ["cli", "server", "units"]),
        ("dev.txt", ["cli", "server", "units", "dev"]),
        ("docs.txt", ["cli", "server", "units", "docs"]),
    ],
)
def test_the_pins_are_what_the_project_asks_for(name: str, extras: list[str]) -> None:
    pinned = pins(name)
    for requirement in asked_for(*extras):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), "run `make lock`"


@pytest.mark.parametrize("name", ["dev.txt", "docs.txt"])
def test_larger_sets_contain_the_runtime_set(name: str) -> None:
    assert pins("runtime.txt").items() <= pins(name).items()


def test_the_pins_name_no_place() -> None:
    texts = [path.read_text() for path in (PROJECT / "requirements").glob("*.txt")]
    assert texts
    assert not any(mark in text for text in texts for mark in ("://", "--index-url", "--find-links", "--hash"))
