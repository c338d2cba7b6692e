"""The embedded block store: blocks in append-only CAR files and in place, found through an SQLite index.

The bytes on disk and how recovery works are specified in `docs/spec/store.md`.
"""

from muniment.adapters.block_store.maintenance import GcReport, Problem, VerifyReport
from muniment.adapters.block_store.open_stores import OpenStores
from muniment.adapters.block_store.recovery import RebuildReport
from muniment.adapters.block_store.store import EmbeddedBlockStore, StoreStats

__all__ = [
    "EmbeddedBlockStore",
    "GcReport",
    "OpenStores",
    "Problem",
    "RebuildReport",
    "StoreStats",
    "VerifyReport",
]
