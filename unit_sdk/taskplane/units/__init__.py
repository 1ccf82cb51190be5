"""The units that taskplane brings along, by name; nothing of one is imported before it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from taskplane.unit import Unit

__all__ = ["NAMES", "ReadyMade", "ready_made"]


@dataclass(frozen=True)
class ReadyMade:
    """A unit that only has to be run: `Unit(type=spec.unit_type, …)`, `spec.register(unit)`, `unit.run()`."""

    name: str
    unit_type: str
    module: str

    def register(self, unit: Unit) -> None:
        """Give `unit` the executors of this ready-made unit. ImportError: the `units` extra is not installed."""
        cast("Callable[[Unit], None]", import_module(self.module).register)(unit)


_BY_NAME = {
    spec.name: spec for spec in (ReadyMade("data-processing", "DATA_PROCESSOR", "taskplane.units.data_processing"),)
}

NAMES: tuple[str, ...] = tuple(_BY_NAME)


def ready_made(name: str) -> ReadyMade:
    """Return the ready-made unit of that name; LookupError names those that exist."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise LookupError(f"no ready-made unit is called {name!r}; there are: {', '.join(NAMES)}") from None
