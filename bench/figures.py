"""What was measured, and the table that says it."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `samples` are repeats of the same measurement, `floor` what the layer below can do."""

    what: str
    samples: Sequence[float]
    unit: str
    floor: float | None = None
    floor_is: str = ""

    @property
    def median(self) -> float:
        """The middle of the repeats."""
        return statistics.median(self.samples)


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the value that so many percent of the samples do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a Markdown table."""
    head = "| what | min – median – max | floor | ratio to the floor |\n| --- | --- | --- | --- |"
    return "\n".join([head, *map(_line, figures)])


def _line(figure: Figure) -> str:
    spread = " – ".join(dict.fromkeys(_number(f(figure.samples)) for f in (min, statistics.median, max)))
    floor = f"{_number(figure.floor)} {figure.unit} ({figure.floor_is})" if figure.floor else ""
    ratio = f"{figure.median / figure.floor:.2f}" if figure.floor else ""
    return f"| {figure.what} | {spread} {figure.unit} | {floor} | {ratio} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"  # noqa: PLR2004  (three digits tell enough)
