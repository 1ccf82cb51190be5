"""The figures of a moment, from what is in memory."""

from dataclasses import dataclass

from taskplane.gateway.services import Services
from taskplane.server.core.unit import UnitStatus


@dataclass(frozen=True, slots=True)
class Figures:
    """How much of everything there is."""

    units: int
    units_connected: int
    slots: int
    slots_used: int
    watch_followers: int


def figures_of(services: Services) -> Figures:
    """Return the figures as they are now."""
    units = services.units.units()
    connected = [unit for unit in units if unit.status is not UnitStatus.OFFLINE]
    return Figures(
        units=len(units),
        units_connected=len(connected),
        slots=sum(unit.capacity for unit in connected),
        slots_used=sum(unit.current_load for unit in connected),
        watch_followers=services.watches.follower_count,
    )
