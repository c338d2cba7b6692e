"""Upgrading timestamps: from a calendar's promise to the block that proves it."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from muniment.adapters.calendars import trusted_calendars
from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.durable import write_durably
from muniment.archive import timestamps
from muniment.archive.catalog import CommitRow, TimestampState
from muniment.archive.commit_source import read_whole
from muniment.archive.manifest import MANIFEST_BYTES_MAX, MANIFEST_NAME, TIMESTAMP_NAME
from muniment.archive.ots import Block, Chain, DetachedTimestamp
from muniment.bootstrap.archive import Archive
from muniment.tasks.timestamp_checks import read_proof

if TYPE_CHECKING:
    from muniment.archive.timestamps import HeaderSource


@dataclass
class Upgraded:
    """What became of one commit's timestamp.

    Attributes:
        row: The commit.
        state: What is known of its timestamp now.
        changed: Whether that is more than before.
        notes: What calendars said.
        failed: What is wrong with the proof, in words.
        unreached: Whether no calendar could be reached.
    """

    row: CommitRow
    state: TimestampState
    changed: bool = False
    notes: tuple[str, ...] = ()
    failed: str = ""
    unreached: bool = False

    def view(self) -> dict[str, Any]:
        """Describe it as JSON."""
        return {
            "commit_id": self.row.commit_id,
            "timestamp": str(self.state),
            "changed": self.changed,
            "bitcoin_height": self.row.bitcoin_height,
            "notes": list(self.notes),
            "problem": self.failed or None,
        }


def upgrade_timestamp(archive: Archive, row: CommitRow, source: "HeaderSource | None") -> Upgraded:
    """Fetch what calendars have by now for a commit; send it to them, if none was reached before. The caller holds the archive's lock.

    Args:
        archive: The archive.
        row: The commit.
        source: Where headers of Bitcoin's blocks come from; None for nowhere.

    Raises:
        IntegrityError: The proof is damaged or contradicted.
    """
    with archive.store.open(row.commit_id) as folder:
        proof = read_proof(folder)
        if proof is None:
            return _send(archive, row, folder)
        settings = archive.settings
        calendars = trusted_calendars(settings.calendars, settings.calendar_timeout_s)
        upgraded = timestamps.upgrade(proof, calendars)
        if upgraded.changed:
            path = archive.store.path(row.commit_id) / TIMESTAMP_NAME
            write_durably(path, upgraded.detached.serialize())
        heights = _heights(upgraded.detached)
        if not heights:
            updated = archive.catalog.update_commit(row.commit_id, timestamp=TimestampState.PENDING)
            return Upgraded(updated, updated.timestamp, upgraded.changed, upgraded.notes)
        time_s = _confirmed_time(upgraded.detached, folder, source)
    updated = archive.catalog.update_commit(
        row.commit_id,
        timestamp=TimestampState.COMPLETE,
        bitcoin_height=min(heights),
        bitcoin_time=time_s,
    )
    return Upgraded(updated, updated.timestamp, upgraded.changed, upgraded.notes)


def _send(archive: Archive, row: CommitRow, folder: CommitFolder) -> Upgraded:
    """Ask for a timestamp of a commit that has none."""
    if not archive.settings.calendars:
        note = "no calendars are set (setting 'calendars'): nothing was asked"
        return Upgraded(row, row.timestamp, notes=(note,))
    beside = archive.stamper().stamp(read_whole(folder, MANIFEST_NAME, MANIFEST_BYTES_MAX))
    for name, data in beside.items():
        write_durably(archive.store.path(row.commit_id) / name, data)
    if TIMESTAMP_NAME not in beside:
        return Upgraded(row, row.timestamp, bool(beside), unreached=True)
    updated = archive.catalog.update_commit(row.commit_id, timestamp=TimestampState.PENDING)
    return Upgraded(updated, updated.timestamp, changed=True)


def _heights(proof: DetachedTimestamp) -> list[int]:
    return [
        path.attestation.height
        for _commitment, path in proof.commitments()
        if isinstance(path.attestation, Block) and path.attestation.chain is Chain.BITCOIN
    ]


def _confirmed_time(
    proof: DetachedTimestamp, folder: CommitFolder, source: "HeaderSource | None"
) -> int | None:
    """Return the block's time, if a header source confirms the proof.

    Raises:
        IntegrityError: It contradicts the proof.
    """
    digest = hashlib.sha256(read_whole(folder, MANIFEST_NAME, MANIFEST_BYTES_MAX)).digest()
    status = timestamps.verify(proof, digest, source)
    return int(status.time.timestamp()) if isinstance(status, timestamps.Verified) else None
