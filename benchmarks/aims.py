"""What we hold ourselves to in the archive benchmark, and whether the figures of one run meet it."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.measure import Cost
from benchmarks.tools import AGAIN, FIRST, RESTORE_ALL, RESTORE_ONE, STEPS, TOOLS, VERIFY, Stored

Costs = dict[str, dict[str, Cost]]
"""What was measured: by step, by tool."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What we hold ourselves to: our figure is at most `limit`, or `limit` times the best peer's."""

    step: str
    figure: str
    limit: float
    peers: tuple[str, ...] = ()


AIMS = (
    Aim(FIRST, "wall_s", 0.75, ("restic",)),
    Aim(FIRST, "cpu_s", 1.2, ("borg",)),
    Aim(AGAIN, "wall_s", 0.5, ("restic", "borg")),
    Aim(VERIFY, "wall_s", 0.7, ("restic", "borg")),
    Aim(RESTORE_ALL, "wall_s", 0.7, ("restic", "borg")),
    Aim(RESTORE_ONE, "wall_s", 0.3),
    *(Aim(step, "peak_mb", 300) for step in STEPS),
)
STORED_AIM = 1.05
"""What we store, parity apart, is at most this many times what restic stores."""


def medians(rounds: Sequence[Costs]) -> Costs:
    """The median of every figure by itself."""
    result: Costs = {}
    for step in STEPS:
        for tool in TOOLS:
            found = [costs[step][tool] for costs in rounds if tool in costs.get(step, {})]
            if found:
                result.setdefault(step, {})[tool] = median_cost(found)
    return result


def median_cost(costs: Sequence[Cost]) -> Cost:
    """The median of each figure of `costs`."""
    columns = zip(*(asdict(cost).values() for cost in costs), strict=True)
    return Cost(*map(statistics.median, columns))


def verdicts(costs: Costs, sizes: Mapping[str, Stored]) -> Iterator[tuple[str, str, str, str]]:
    """Every aim that can be judged, as a row of aim, limit, figure and verdict; nothing is judged without its peers."""
    for aim in AIMS:
        row = costs.get(aim.step, {})
        if "muniment" not in row or not all(peer in row for peer in aim.peers):
            continue
        ours = getattr(row["muniment"], aim.figure)
        best = min((getattr(row[peer], aim.figure) for peer in aim.peers), default=1.0)
        what = f"{aim.step}, {aim.figure}" + (f" to {' and '.join(aim.peers)}" if aim.peers else "")
        yield _verdict(what, aim.limit, ours / best)
    if "muniment" in sizes and "restic" in sizes:
        ratio = sizes["muniment"].data_bytes / sizes["restic"].data_bytes
        yield _verdict("stored without parity to restic", STORED_AIM, ratio)


def _verdict(what: str, limit: float, figure: float) -> tuple[str, str, str, str]:
    return what, f"{limit:g}", f"{figure:.3g}", "met" if figure <= limit else "MISSED"
