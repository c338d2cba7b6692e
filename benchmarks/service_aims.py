"""What we hold ourselves to in the service's benchmark, and whether the figures of one run meet it."""

import math
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.service_hosts import CLUSTER
from benchmarks.service_loads import (
    COMMIT,
    CREATE,
    GET_LARGE,
    LIST,
    LIST_FILES,
    ONE,
    PUT_LARGE,
    STATUS,
    Figure,
)

P95_MS = 50
"""Of reads and of new pins at 1,000 a second."""
FLAT = 1.5
"""Processor time of a request with the most pins, to that with the fewest. Times are too restless on a busy machine."""
LARGE_MB_S = 1_000

Row = tuple[str, str, str, str]
Figures = Mapping[str, Mapping[str, Figure]]


def verdicts(figures: Figures, databases: Sequence[str], sizes: Sequence[int]) -> Iterator[Row]:
    """Every aim that can be judged: what, limit, figure and verdict."""
    for database in databases:
        by_size = [figures.get(f"{database}, {pins} pins", {}) for pins in sizes]
        files = figures.get(database, {})
        for load in (LIST, ONE, CREATE, LIST_FILES, COMMIT, STATUS):
            for row, pins in [*zip(by_size, sizes, strict=True), (files, 0)]:
                at_rate = row.get(f"{load}, at rate")
                if at_rate:
                    where = f"{database}, {pins} pins" if pins else database
                    # Who answers fewer answers them soon: none may be refused.
                    p95_ms = math.inf if at_rate.shed else at_rate.p95_ms
                    yield _at_most(f"{where}: {load} at 1,000/s, p95 ms", P95_MS, p95_ms)
        for load in (LIST, ONE, CREATE):
            first, last = (row.get(f"{load}, at rate") for row in (by_size[0], by_size[-1]))
            if first and last and len(sizes) > 1:
                what = f"{database}: {load}, {sizes[-1]} to {sizes[0]} pins"
                if not (first.shed or last.shed):  # times of some requests only say nothing
                    yield _at_most(f"{what}: p95", FLAT, last.p95_ms / first.p95_ms)
                yield _at_most(f"{what}: CPU", FLAT, last.cpu_ms / first.cpu_ms)
            peer = figures.get(CLUSTER, {}).get(f"{load}, most")
            ours = by_size[0].get(f"{load}, most")
            if peer and ours:
                what = f"{database}: {load}, requests/s to {CLUSTER}"
                yield _at_least(what, 1, ours.requests_s / peer.requests_s)
        for load in (PUT_LARGE, GET_LARGE):
            if load in files:
                yield _at_least(f"{database}: {load}, MB/s", LARGE_MB_S, files[load].mb_s)


def _at_most(what: str, limit: float, figure: float) -> Row:
    return what, f"at most {limit:g}", f"{figure:.2f}", "met" if figure <= limit else "MISSED"


def _at_least(what: str, limit: float, figure: float) -> Row:
    return what, f"at least {limit:g}", f"{figure:.2f}", "met" if figure >= limit else "MISSED"
