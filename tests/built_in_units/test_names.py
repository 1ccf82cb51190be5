import pytest

from taskplane import units
from taskplane.unit import Unit


def test_units_are_found_by_name() -> None:
    assert units.NAMES == ("data-processing",)
    for name in units.NAMES:
        spec = units.built_in_unit(name)
        spec.register(Unit(name=name, type=spec.unit_type))


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(LookupError, match="no built-in unit is called 'data'; there are: data-processing"):
        units.built_in_unit("data")
