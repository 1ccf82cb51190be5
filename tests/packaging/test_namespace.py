from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("root", ["protos", "server", "unit_sdk", "clients/python"])
def test_no_source_root_hides_the_others(root: str) -> None:
    assert (PROJECT / root / "taskplane").is_dir()
    assert not (PROJECT / root / "taskplane" / "__init__.py").exists()
