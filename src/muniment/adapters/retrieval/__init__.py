"""Fetching blocks over HTTP from gateways that nobody needs to trust (`docs/decisions/0014-retrieval.md`).

`fetch_dag` brings a DAG into a store from any `Source`s; `HttpSource` is a gateway, and `find_sources` asks delegated routing for some.
"""

from muniment.adapters.retrieval.delegated import FoundSources, find_sources
from muniment.adapters.retrieval.fetch import fetch_dag
from muniment.adapters.retrieval.http_source import HttpSource
from muniment.adapters.retrieval.ports import (
    HoldingStore,
    MisbehaviorError,
    NotHeldError,
    Source,
    UnavailableError,
    UnsupportedError,
)
from muniment.adapters.retrieval.report import (
    FetchCancelledError,
    FetchFailedError,
    FetchLimits,
    FetchProgress,
    FetchReport,
)
from muniment.adapters.retrieval.standing import SourceReport

__all__ = [
    "FetchCancelledError",
    "FetchFailedError",
    "FetchLimits",
    "FetchProgress",
    "FetchReport",
    "FoundSources",
    "HoldingStore",
    "HttpSource",
    "MisbehaviorError",
    "NotHeldError",
    "Source",
    "SourceReport",
    "UnavailableError",
    "UnsupportedError",
    "fetch_dag",
    "find_sources",
]
