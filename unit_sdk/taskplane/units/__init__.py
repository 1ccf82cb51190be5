"""Built-in units by name. A unit's module is imported only when the unit registers."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from taskplane.unit import Unit

__all__ = ["NAMES", "BuiltInUnit", "built_in_unit"]


@dataclass(frozen=True)
class BuiltInUnit:
    """A built-in unit, ready to run: `Unit(type=spec.unit_type, …)`, `spec.register(unit)`, `unit.run()`."""

    name: str
    unit_type: str
    module: str

    def register(self, unit: Unit) -> None:
        """Register the executors of this built-in unit. Raises ImportError if the `units` extra is missing."""
        cast("Callable[[Unit], None]", import_module(self.module).register)(unit)


_BY_NAME = {
    spec.name: spec for spec in (BuiltInUnit("data-processing", "DATA_PROCESSOR", "taskplane.units.data_processing"),)
}

NAMES: tuple[str, ...] = tuple(_BY_NAME)


def built_in_unit(name: str) -> BuiltInUnit:
    """Return a built-in unit by name. Raises LookupError with the known names."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise LookupError(f"no built-in unit is called {name!r}; there are: {', '.join(NAMES)}") from None
