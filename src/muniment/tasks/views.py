"""What commands print as JSON: names and units that stay as they are (docs/reference/cli.md)."""

from collections.abc import Iterable
from typing import Any

from muniment.archive.catalog import CommitRow, Problem
from muniment.text import display_path, moment


def path_view(path: bytes) -> dict[str, str]:
    """Describe an archived path: exactly in hex, and for people."""
    return {"path_hex": (b"/" + path).hex(), "path_display": display_path(path)}


def commit_view(row: CommitRow) -> dict[str, Any]:
    """Describe what the catalogue knows of a commit."""
    return {
        "commit_id": row.commit_id,
        "state": str(row.state),
        "sequence": row.sequence,
        "created_at": moment(row.created_at),
        "files": row.leaf_count,
        "source_bytes": row.source_bytes,
        "sealed_bytes": row.sealed_bytes,
        "merkle_root": f"blake3:{row.merkle_root.hex()}" if row.merkle_root else None,
        "manifest_sha256": f"sha256:{row.manifest_sha256.hex()}" if row.manifest_sha256 else None,
        "commit_cid": row.commit_cid,
        "timestamp": str(row.timestamp),
        "bitcoin_height": row.bitcoin_height,
        "bitcoin_time": moment(row.bitcoin_time),
        "backed_up_at": moment(row.backed_up_at),
    }


def problem_views(problems: Iterable[tuple[bytes, str]]) -> list[dict[str, str]]:
    """Describe paths that could not be handled, and why."""
    return [path_view(path) | {"message": message} for path, message in problems]


def problem_pair(problem: Problem) -> tuple[bytes, str]:
    """Return a catalogue's problem as path and message."""
    return problem.path, problem.message
