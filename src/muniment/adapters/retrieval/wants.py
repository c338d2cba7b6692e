"""Wants: the blocks that a store lacks, and who was asked for each of them."""

from dataclasses import dataclass, field

from muniment.adapters.retrieval.standing import Standing
from muniment.adapters.retrieval.walk import Node


@dataclass(eq=False, slots=True)
class Want:
    """A block that the store lacks.

    Attributes:
        node: Its place.
        by_car: Ask for everything below it, too.
        is_alone: What hangs on it is not wanted.
        refused: Sources that do not have it.
        failures: How often each source failed to give it.
        askers: Sources that are being asked.
        asked_at: When the last one was.
    """

    node: Node
    by_car: bool = False
    is_alone: bool = False
    refused: set[Standing] = field(default_factory=set)
    failures: dict[Standing, int] = field(default_factory=dict)
    askers: set[Standing] = field(default_factory=set)
    asked_at: float = 0.0
