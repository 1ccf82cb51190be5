"""How much is measured: the quick form takes minutes, the full one a good quarter of an hour."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes of the measurements."""

    repeats: int = 3
    # Tasks of one throughput run.
    tasks: int = 3000
    batched_tasks: int = 10_000
    # Samples of one latency run.
    samples: int = 150
    idle_units: int = 1000
    fleet: tuple[int, ...] = (10, 1000)
    finished_tasks: tuple[int, ...] = (0, 100_000)
    progress_rates: tuple[float, ...] = (1, 10, 100)
    watchers: tuple[int, ...] = (1, 1000)
    # How long CPU use is watched.
    watch_seconds: float = 10.0


QUICK = Settings()
FULL = Settings(
    tasks=6000,
    batched_tasks=20_000,
    samples=300,
    idle_units=5000,
    fleet=(10, 1000, 5000),
    finished_tasks=(0, 100_000, 1_000_000),
    watch_seconds=20.0,
)
