"""A small CSV of users and the config of a task over it."""

from pathlib import Path
from typing import Any

import pytest

USERS = """\
id,name,email,phone
1,Ada,ada@example.org,+49 30 901820
2,"Grace, the
first",grace@example.org,+1 212 555 0100
3,Nobody,nobody,+1 212 555 0101
4,王,wang@example.org,+86 138 1234 5678
5,Short
6,Zoë,zoe@example.org,12345
7,Alan,alan@example.org,+44 20 7946 0000
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text(USERS, newline="")
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "users.json"


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    return tmp_path / "users.json.rejects.jsonl"


@pytest.fixture
def config(source: Path, target: Path) -> dict[str, Any]:
    """Return the requirements' config, with small batches for several safe points within a few rows."""
    return {
        "inputPath": str(source),
        "outputPath": str(target),
        "batchSize": 2,
        "validationRules": ["email", "phone"],
        "checkpointInterval": 4,
    }
