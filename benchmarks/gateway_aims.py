"""What we hold ourselves to in the gateway benchmark, and whether the figures of one run meet it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.gateway_loads import (
    CAR_STEP,
    KUBO,
    LARGE_STEPS,
    MUNIMENT,
    NGINX,
    RAW_STEP,
    SMALL_STEPS,
)
from benchmarks.loads import Served
from benchmarks.measure import Cost
from benchmarks.nodes import ADD, EXPORT, GET, IMPORT

Figures = Mapping[str, Mapping[str, Cost | Served]]
"""What was measured: by step, by tool."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Our figure is at most (or, where more is better, at least) `limit` times that of `peer`."""

    step: str
    figure: str
    limit: float
    peer: str = KUBO
    is_least: bool = False

    def judge(self, figures: Figures) -> tuple[str, str, str, str] | None:
        """Aim, limit, ratio and verdict; None if it cannot be judged."""
        row = figures.get(self.step, {})
        if MUNIMENT not in row or self.peer not in row:
            return None
        ratio = getattr(row[MUNIMENT], self.figure) / getattr(row[self.peer], self.figure)
        is_met = ratio >= self.limit if self.is_least else ratio <= self.limit
        limit = f"{'at least' if self.is_least else 'at most'} {self.limit:g}"
        what = f"{self.step}, {self.figure} to {self.peer}"
        return what, limit, f"{ratio:.2f}", "met" if is_met else "MISSED"


AIMS = (
    Aim(ADD, "wall_s", 0.7),
    Aim(GET, "wall_s", 1.0),
    Aim(EXPORT, "wall_s", 0.5),
    Aim(IMPORT, "wall_s", 1.0),
    *(Aim(step, "requests_s", 1.5, is_least=True) for step in SMALL_STEPS),
    *(Aim(step, "p99_ms", 0.5) for step in SMALL_STEPS),
    *(Aim(step, "mb_s", 1.0, is_least=True) for step in LARGE_STEPS),
    *(Aim(step, "mb_s", 0.8, NGINX, is_least=True) for step in LARGE_STEPS),
    Aim(RAW_STEP, "mb_s", 1.0, is_least=True),
    Aim(CAR_STEP, "mb_s", 2.0, is_least=True),
)
MEMORY_AIM = 1.0
"""The most memory that our server held under any load is at most this many times what Kubo's held."""


def verdicts(figures: Figures) -> Iterator[tuple[str, str, str, str]]:
    """Every aim that can be judged, as a row of aim, limit, ratio and verdict."""
    for aim in AIMS:
        row = aim.judge(figures)
        if row:
            yield row
    ours, theirs = (_most_memory(figures, name) for name in (MUNIMENT, KUBO))
    if ours and theirs:
        verdict = "met" if ours / theirs <= MEMORY_AIM else "MISSED"
        yield (
            "all loads, peak_mb to kubo",
            f"at most {MEMORY_AIM:g}",
            f"{ours / theirs:.2f}",
            verdict,
        )


def _most_memory(figures: Figures, name: str) -> float:
    """The peak under all loads that both servers were put under; 0 if there is none."""
    return max(
        (
            row[name].peak_mb
            for row in figures.values()
            if MUNIMENT in row and KUBO in row and isinstance(row[name], Served)
        ),
        default=0.0,
    )
