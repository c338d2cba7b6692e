"""What one fetch may take, and what it tells."""

from dataclasses import dataclass

from muniment.adapters.retrieval.standing import SourceReport
from muniment.content.cid import CID
from muniment.errors import ExternalServiceError


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch may take.

    Attributes:
        connections: Requests at once to each source.
        deadline_s: Seconds for all of it.
        car_bytes: Most bytes asked for in one CAR; larger parts of a DAG are fetched block by block, from all sources at once.
        batch_bytes: Bytes put into the store at once; twice this is held in memory at most, beside one block for each connection.
        hedge_s: After how many seconds a second source is asked for a block, when there is nothing else to do.
        failures: Failures in a row that a source may have, and failures to give one block until it is not asked for that any more.
        misses: Blocks in a row that a source may not have.
        backoff_s: For how long a source is left alone after a failure; doubled with each further one in a row.
        max_wait_s: For how long a source that asks to be left alone is waited for.
        waiting_nodes: Places of the DAG that wait to be looked at; a DAG that needs more is refused.
        known_nodes: Inner nodes that are remembered; a DAG that has more is refused.
    """

    connections: int = 4
    deadline_s: float = 86_400.0
    car_bytes: int = 16 << 20
    batch_bytes: int = 16 << 20
    hedge_s: float = 5.0
    failures: int = 5
    misses: int = 64
    backoff_s: float = 0.5
    max_wait_s: float = 60.0
    waiting_nodes: int = 1_000_000
    known_nodes: int = 2_000_000


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch is: what was fetched, what was there before, and how many wants are known now."""

    blocks: int
    bytes: int
    present_blocks: int
    wanted_blocks: int


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What came of a fetch.

    Attributes:
        root: What was asked for.
        cid: Where the path leads: what is complete in the store now.
        blocks: Blocks that were fetched.
        bytes: Their bytes.
        present_blocks: Blocks that the store had before; one that hangs in several places counts each time.
        missing_blocks: Blocks that no source gave.
        duration_s: How long it took.
        sources: What came of each source.
    """

    root: CID
    cid: CID
    blocks: int
    bytes: int
    present_blocks: int
    missing_blocks: int
    duration_s: float
    sources: tuple[SourceReport, ...]


class FetchFailedError(ExternalServiceError):
    """Not everything could be fetched; what was fetched is in the store, and another run goes on from there.

    Attributes:
        report: What came of it so far.
    """

    def __init__(self, message: str, report: FetchReport) -> None:
        super().__init__(message)
        self.report = report


class FetchCancelledError(FetchFailedError):
    """The caller wanted no more."""
