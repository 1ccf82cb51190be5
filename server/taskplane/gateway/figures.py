"""Present statistics from memory."""

from dataclasses import dataclass

from taskplane.gateway.services import Services
from taskplane.server.services.statistics import unit_figures


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of units, slots and watches."""

    units: int
    units_connected: int
    slots: int
    slots_used: int
    watch_followers: int


def figures_of(services: Services) -> Figures:
    """Return the present statistics."""
    units = services.units.units()
    figures = unit_figures(units)
    return Figures(
        units=len(units),
        units_connected=figures.connected,
        slots=figures.slots,
        slots_used=figures.slots_used,
        watch_followers=services.watches.subscriber_count,
    )
