"""How long "not found" takes: for what is another organisation's, for what nobody has, and for what is no id at all.

`python -m tests.service.adversary.timing [sqlite] [postgresql]` asks every route that takes an id, as a stranger, in turns and in an order
made by chance, and compares the times by their ranks (Mann and Whitney, 1947). Two ids that nobody has are compared as well: that
difference is noise. Something is found where what is another's takes another time than chance explains among so many comparisons.

What is no id at all may be answered sooner, without a look into the database: that tells how ids look, which nobody hides.

`MUNIMENT_TIMING` is how often each question is asked in each way.
"""

import itertools
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import median

from tests.service.adversary.estate import Estate
from tests.service.adversary.house import House

from muniment.testing.postgresql import LocalPostgres

ROUNDS = int(os.environ.get("MUNIMENT_TIMING", "300"))
CHANCE = 4.0
"""Standard deviations; by chance alone, one of 16,000 comparisons is beyond that."""

NO_ID = "none"
WAYS = ("another's", "nobody's", "nobody's too", "no id")
COMPARED = ("another's", "no id", "nobody's too")  # with nobody's; the last one is the control


@dataclass(frozen=True)
class Question:
    """Something to be asked, by what differs between the ways to ask it."""

    name: str
    ask: object
    values: dict


def questions(house, estate, stranger):
    """Return every question that names what belongs to somebody."""
    for operation in house.operations:
        owned = estate.owned_parameters(operation)
        if operation.permission is None or not owned:
            continue
        ways = {
            "another's": estate.values(operation),
            "nobody's": estate.nothing(operation),
            "nobody's too": estate.nothing(operation),
        }
        ways["no id"] = ways["nobody's"] | dict.fromkeys(owned, NO_ID)

        def ask(values, operation=operation):
            return estate.call(operation, stranger, values)

        yield Question(operation.name, ask, ways)
    yield from _in_queries_and_bodies(house, estate, stranger)


def _in_queries_and_bodies(house, estate, stranger):
    asked = {
        "GET /v1/files?commit_id": ("_commit", lambda one: ("GET", f"/v1/files?commit_id={one}")),
        "POST /v1/restore commit_id": (
            "_commit",
            lambda one: ("POST", "/v1/restore", {"commit_id": one}),
        ),
        "POST /v1/keys member_id": (
            "_member",
            lambda one: (
                "POST", "/v1/keys", {"name": "a key", "role": "reader", "member_id": one},
            ),
        ),
    }  # fmt: skip
    for name, (source, request) in asked.items():
        there = estate.made[source]

        def ask(one, request=request):
            method, target, *body = request(one)
            return house.call(method, target, stranger, *body)

        nothing, nothing_too = estate._unlike(there), estate._unlike(there)
        yield Question(
            name, ask, dict(zip(WAYS, (there, nothing, nothing_too, NO_ID), strict=True))
        )


def measure(question, rounds, chance):
    """Ask in all ways in turns; returns the times in microseconds by way."""
    times = {way: [] for way in WAYS}
    statuses = {way: question.ask(question.values[way]).status for way in WAYS}
    if len(set(statuses.values())) != 1:
        raise AssertionError(f"{question.name} is answered in different ways: {statuses}")
    for _ in range(rounds):
        for way in chance.sample(WAYS, len(WAYS)):
            began = time.perf_counter_ns()
            question.ask(question.values[way])
            times[way].append((time.perf_counter_ns() - began) / 1000)
    return times


def deviation(some, others):
    """Return by how many standard deviations some times rank higher than others."""
    ordered = sorted(itertools.chain(((t, 1) for t in some), ((t, 0) for t in others)))
    rank_sum = sum(rank for rank, (_time, is_some) in enumerate(ordered, 1) if is_some)
    n, m = len(some), len(others)
    return (rank_sum - n * (n + m + 1) / 2) / sqrt(n * m * (n + m + 1) / 12)


def run(database, folder, url):
    """Measure all questions on one database; returns what differs."""
    house, found, asked, control = House(folder / "home", url), [], 0, 0.0
    try:
        house.add("own")
        stranger = house.add("other")
        estate = Estate(house, "own")
        estate.furnish()
        for question in questions(house, estate, stranger):
            times = measure(question, ROUNDS, random.Random(1))
            asked += ROUNDS * len(WAYS)
            control = max(control, abs(deviation(times["nobody's too"], times["nobody's"])))
            found += _compare(database, question.name, times)
    finally:
        house.close()
    print(f"summary: {database}: {asked} requests, noise up to {control:.1f} deviations, "
          f"{len(found)} findings", flush=True)  # fmt: skip
    return found


def _compare(database, name, times):
    base = median(times["nobody's"])
    told, found = [], []
    for way in COMPARED:
        difference = median(times[way]) - base
        far = deviation(times[way], times["nobody's"])
        told.append(f"{way} {difference:+.0f} µs ({far:+.1f})")
        if way == COMPARED[0] and abs(far) > CHANCE:
            found.append(f"{database}: {name}: {told[-1]} of {base:.0f} µs")
    print(f"  {name}: nobody's {base:.0f} µs, {', '.join(told)}", flush=True)
    return found


def main(databases):
    """Measure on each database; returns the exit status."""
    found = []
    for database in databases or ("sqlite", "postgresql"):
        with ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            url = ""
            if database == "postgresql":
                url = opened.enter_context(LocalPostgres()).create_database()
            found += run(database, folder, url)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
