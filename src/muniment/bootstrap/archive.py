"""An archive: from a home folder and its settings to the parts of it, each made when asked for.

A home holds::

    config.toml            settings (docs/reference/settings.md)
    keys/                  signing key, identity, recipients (docs/spec/keys.md)
    catalogue.sqlite3      the metadata database: an index, never the truth; a service may keep it in PostgreSQL
    store/                 commits/<commit_id>/, packs/ and their index (docs/spec/store.md)
    staging/<commit_id>/   commits that are not finished yet
"""

import os
import time
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from muniment.adapters import key_files
from muniment.adapters.commit_store import EmbeddedCommitStore
from muniment.adapters.processors import default_worker_count
from muniment.adapters.run_lock import run_lock
from muniment.archive.catalog import CommitRow, CommitState
from muniment.archive.commit_source import read_manifest, read_whole
from muniment.archive.keyring import Keyring, max_sealed_bytes, open_keyring, seal
from muniment.archive.manifest import KEYRING_NAME, MANIFEST_NAME, Organization, Previous
from muniment.archive.signing import SigningKey, VerifyKey
from muniment.bootstrap.catalogs import has_catalog, open_home_catalog
from muniment.errors import IntegrityError, NotFoundError, UsageError
from muniment.settings.archive import ArchiveSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from muniment.adapters.commit_folder import CommitFolder
    from muniment.adapters.rebuilding import RebuildReport
    from muniment.adapters.repairing import RepairReport
    from muniment.adapters.sql.catalog import SqlCatalog
    from muniment.adapters.sql.engine import Database
    from muniment.adapters.staging import StagingFolder
    from muniment.adapters.timestamping import Stamper
    from muniment.archive.age_keys import Identity
    from muniment.archive.backup import BackupReport, ObjectStorage
    from muniment.archive.backup import Progress as BackupProgress
    from muniment.archive.pipeline import Pipeline
    from muniment.archive.ports import Progress
    from muniment.archive.timestamps import HeaderSource

CONFIG = "config.toml"
KEYS = "keys"
STORE = "store"
STAGING = "staging"
LOCK = "lock"


def default_home() -> Path:
    """Return the home that is used when none is named: `$MUNIMENT_HOME`, else `~/.muniment`."""
    return Path(os.environ.get("MUNIMENT_HOME") or Path.home() / ".muniment")


class Archive:
    """The archive of one organisation in one home.

    Args:
        home: The home folder.
        passphrase_prompt: Asked when the signing key is locked.
        workers_max: Processes that seal, verify and restore at most, whatever the settings say; 0 for no bound.
        service_database: The database of the service that the archive belongs to, for who has it open already.

    Raises:
        UsageError: There is no archive in this home.
    """

    def __init__(
        self,
        home: Path,
        passphrase_prompt: key_files.PassphrasePrompt | None = None,
        workers_max: int = 0,
        service_database: "Database | None" = None,
    ) -> None:
        self.home = home.absolute()
        self._passphrase_prompt = passphrase_prompt
        self._workers_max = workers_max
        self._service_database = service_database
        if not (self.home / CONFIG).is_file():
            raise UsageError(f"there is no archive in {self.home}: make one with `muniment init`")

    @cached_property
    def settings(self) -> ArchiveSettings:
        """The settings."""
        return ArchiveSettings.load(self.home / CONFIG)

    @property
    def organization(self) -> Organization:
        """Whose archive it is."""
        return Organization(self.settings.organization_id, self.settings.organization_name)

    @property
    def keys(self) -> Path:
        """The folder of the keys."""
        return self.home / KEYS

    @cached_property
    def catalog(self) -> "SqlCatalog":
        """The catalogue."""
        return open_home_catalog(self.home, self.settings, self._service_database)

    @cached_property
    def store(self) -> EmbeddedCommitStore:
        """The store of commits."""
        return EmbeddedCommitStore(self.home / STORE)

    @property
    def worker_count(self) -> int:
        """How many processes seal, verify and restore."""
        wanted = self.settings.workers or default_worker_count()
        return min(wanted, self._workers_max) if self._workers_max else wanted

    def lock(self, timeout_s: float | None = None) -> "AbstractContextManager[None]":
        """Hold the archive for a change, waiting for it for so long (a few seconds if left out).

        Raises:
            ConflictError: Another run holds it.
        """
        path = self.home / LOCK
        return run_lock(path) if timeout_s is None else run_lock(path, timeout_s=timeout_s)

    @cached_property
    def signing_key(self) -> SigningKey:
        """The organisation's signing key."""
        return key_files.load_signing_key(self.keys, self._passphrase_prompt)

    @cached_property
    def verify_key(self) -> VerifyKey:
        """Its public half."""
        return key_files.load_verify_key(self.keys)

    @cached_property
    def trusted_signers(self) -> list[VerifyKey]:
        """The keys that the organisation's commits may be signed by: the one in use, then those it had before.

        An old one stays in the folder as `signing-<anything>.pub` (docs/guides/keys.md).
        """
        olds = sorted(self.keys.glob("signing-*.pub"))
        return [self.verify_key, *map(read_verify_key, olds)]

    @cached_property
    def identities(self) -> "list[Identity]":
        """What opens keyrings.

        Raises:
            KeyUnavailableError: This home only writes.
        """
        return key_files.load_identities(self.keys)

    @property
    def has_identity(self) -> bool:
        """Whether this home can open anything: one that only writes cannot."""
        return os.path.lexists(self.keys / key_files.IDENTITY)

    def open_keyring(
        self, commit_id: str, identities: "Sequence[Identity] | None" = None
    ) -> Keyring:
        """Return a stored commit's keys, opened by the identities of this home or by others.

        Raises:
            KeyUnavailableError: None of them opens it.
            NotFoundError: The commit is not here.
        """
        with self.store.open(commit_id) as folder:
            return self.open_keyring_in(folder, identities)

    def open_keyring_in(
        self, folder: "CommitFolder", identities: "Sequence[Identity] | None" = None
    ) -> Keyring:
        """Return the keys of a commit that lies anywhere.

        Raises:
            KeyUnavailableError: None of the identities opens it.
            IntegrityError: The keyring is missing or damaged.
        """
        leaf_count = read_manifest(folder).merkle.leaf_count
        data = read_whole(folder, KEYRING_NAME, max_sealed_bytes(leaf_count))
        opened = open_keyring(data, identities or self.identities, leaf_count)
        return Keyring.decode(opened, folder.commit_id, leaf_count)

    def seal_keyring(self, keyring: Keyring) -> bytes:
        """Seal a keyring to the organisation's recipients."""
        recipients = [recipient.key for recipient in key_files.load_recipients(self.keys)]
        return seal(keyring.encode(), recipients)

    def previous_of(self, commit_id: str) -> Previous | None:
        """Describe the commit before this one, as it lies in the store; None when it is the first.

        Raises:
            NotFoundError: The commit before is not here.
            IntegrityError: It has not the sequence before this one's.
        """
        import hashlib  # noqa: PLC0415

        with self.store.open(commit_id) as folder:
            chain = read_manifest(folder).chain
        named = chain.previous
        if named is None:
            return None
        with self.store.open(named.commit_id) as folder:
            manifest = read_manifest(folder)
            digest = hashlib.sha256(read_whole(folder, MANIFEST_NAME)).hexdigest()
        if manifest.chain.sequence + 1 != chain.sequence:
            raise IntegrityError(
                f"the chain does not hold: commit {commit_id} is number {chain.sequence}, but the one before it number {manifest.chain.sequence}"
            )
        return Previous(named.commit_id, f"sha256:{digest}", manifest.merkle.root)

    def commit_ids(self) -> list[str]:
        """Return the ids of all commits in the store, oldest first; what else lies there is left out."""
        return [name for name in self.store.ids() if not name.startswith(".")]

    def commit_id(self, name: str) -> str:
        """Return the id of the commit in the store that is called so, or whose id alone begins so.

        Raises:
            NotFoundError: There is none, or more than one.
        """
        present = self.commit_ids()
        found = [commit_id for commit_id in present if commit_id.startswith(name)]
        if name in found or len(found) == 1:
            return name if name in found else found[0]
        what = "no commit" if not found else f"{len(found)} commits"
        raise NotFoundError(
            f"{what} in the store begins with {name!r}: `muniment commits` lists them"
        )

    def known_commits(self) -> list[tuple[str, int]]:
        """Return id and sequence of all stored commits that the database knows; none where there is no database."""
        if not has_catalog(self.home, self.settings):
            return []
        rows = self.catalog.commits(CommitState.STORED)
        return [(row.commit_id, row.sequence or 0) for row in rows]

    def staging(self, commit: CommitRow) -> "StagingFolder":
        """Return the staging folder of an unfinished commit."""
        from muniment.adapters.staging import StagingFolder  # noqa: PLC0415

        folder = self.home / STAGING / commit.commit_id
        return StagingFolder(folder, commit.commit_id, commit.chunk_bytes, self.worker_count)

    def pipeline(self, progress: "Progress", batch_bytes: int | None = None) -> "Pipeline":
        """Return what archives the pending files, in commits of at most `batch_bytes` (as the settings say, if left out)."""
        from muniment.adapters.par2 import Par2Program  # noqa: PLC0415
        from muniment.adapters.staging import keep_only  # noqa: PLC0415
        from muniment.archive.pipeline import Pipeline, Policy  # noqa: PLC0415

        settings = self.settings
        return Pipeline(
            policy=Policy(
                organization=self.organization,
                batch_bytes=batch_bytes or settings.batch_bytes,
                batch_files=settings.batch_files,
                chunk_bytes=settings.chunk_bytes,
                parity_percent=settings.parity_percent,
                compression=settings.compression,
                claim_timeout_s=settings.claim_timeout_s,
                disclose_files=settings.disclose_files,
            ),
            catalog=self.catalog,
            store=self.store,
            staging=self.staging,
            keep_staging=partial(keep_only, self.home / STAGING),
            parity_program=Par2Program(),
            timestamper=self.stamper(),
            signing_key=lambda: self.signing_key,
            seal_keyring=self.seal_keyring,
            open_keyring=self.open_keyring,
            clock=time.time,
            random=os.urandom,
            progress=progress,
        )

    def stamper(self) -> "Stamper":
        """Return what asks calendars and authorities for timestamps."""
        from muniment.adapters.timestamping import Stamper  # noqa: PLC0415

        settings = self.settings
        return Stamper(
            settings.calendars, settings.rfc3161_urls, settings.calendar_timeout_s, os.urandom
        )

    def header_source(self) -> "HeaderSource | None":
        """Return the configured source of Bitcoin headers, the most trustworthy one first; None without any."""
        from muniment.adapters import header_sources  # noqa: PLC0415

        settings = self.settings
        if settings.bitcoin_rpc_url:
            return header_sources.BitcoinCore(settings.bitcoin_rpc_url, settings.calendar_timeout_s)
        if settings.bitcoin_headers_file:
            return header_sources.headers_file(Path(settings.bitcoin_headers_file))
        if settings.esplora_url:
            return header_sources.Esplora(settings.esplora_url, settings.calendar_timeout_s)
        return None

    def timestamp_roots(self) -> bytes | None:
        """Return the root certificates, in PEM, of the timestamp authorities that are trusted; None without any.

        Raises:
            UsageError: The file cannot be read.
        """
        name = self.settings.rfc3161_roots_file
        if not name:
            return None
        try:
            return Path(name).read_bytes()
        except OSError as error:
            raise UsageError(
                f"setting 'rfc3161_roots_file': {name} cannot be read: {error.strerror}"
            ) from error

    def backup(self) -> "ObjectStorage":
        """Return the configured object backup.

        Raises:
            UsageError: None is configured.
        """
        from muniment.adapters.object_storage import open_storage  # noqa: PLC0415

        settings = self.settings
        if not settings.backup:
            raise UsageError(
                "no backup is configured: set `backup` in config.toml to a folder or s3://bucket/prefix"
            )
        return open_storage(
            settings.backup,
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
        )

    def back_up(self, commit_id: str, progress: "BackupProgress | None" = None) -> "BackupReport":
        """Copy a stored commit to the backup, verified, and note when.

        Raises:
            UsageError: No backup is configured.
            IntegrityError: The backup holds other bytes than it should.
            ExternalServiceError: The storage failed; what was sent is safe, run again.
        """
        from muniment.adapters.backing_up import local_files  # noqa: PLC0415
        from muniment.archive.backup import backup_commit  # noqa: PLC0415
        from muniment.archive.backup.sending import ignore_progress  # noqa: PLC0415

        files = local_files(self.store.path(commit_id))
        report = backup_commit(files, commit_id, self.backup(), progress or ignore_progress)
        self.catalog.update_commit(commit_id, backed_up_at=int(time.time()))
        return report

    def refresh_backup(self, commit_id: str) -> "BackupReport":
        """Bring what stands beside a commit in the backup up to date: keyring and timestamps.

        Raises:
            NotFoundError: The commit is not in the backup.
            IntegrityError, ExternalServiceError: As for `back_up`.
        """
        from muniment.adapters.backing_up import local_files  # noqa: PLC0415
        from muniment.archive.backup import refresh_beside  # noqa: PLC0415

        return refresh_beside(local_files(self.store.path(commit_id)), commit_id, self.backup())

    def verify_backup(self, commit_id: str) -> "BackupReport":
        """Read every object of a commit in the backup, compare it with the manifest that is here, and note the outcome.

        A commit whose backup is not whole counts as not backed up from then on, so the next backup sends what is missing.

        Raises:
            NotFoundError: The commit is not in the backup.
            IntegrityError: Objects are missing or damaged.
            ExternalServiceError: The storage failed.
        """
        import hashlib  # noqa: PLC0415

        from muniment.archive.backup import verify_backup  # noqa: PLC0415

        with self.store.open(commit_id) as folder:
            digest = hashlib.sha256(read_whole(folder, MANIFEST_NAME)).hexdigest()
        try:
            report = verify_backup(commit_id, self.backup(), manifest_sha256=digest)
        except (IntegrityError, NotFoundError):
            self.catalog.update_commit(commit_id, backed_up_at=None)
            raise
        self.catalog.update_commit(commit_id, backed_up_at=int(time.time()))
        return report

    def repair(self, commit_id: str) -> "RepairReport":
        """Mend a stored commit from its parity, else from the backup; manifest and keyring from the backup only.

        Raises:
            IntegrityError: Not all of it could be mended.
            KeyUnavailableError: The identity of this home cannot be read.
            ExternalServiceError: The backup failed.
        """
        from muniment.adapters.par2 import Par2Program  # noqa: PLC0415
        from muniment.adapters.repairing import repair_commit  # noqa: PLC0415

        return repair_commit(
            self.store.path(commit_id),
            Par2Program(),
            self.trusted_signers,
            identities=self.identities if self.has_identity else (),
            open_backup=self.backup if self.settings.backup else None,
        )

    def damaged_files(self, commit_id: str) -> list[str]:
        """Return the names of the files of a stored commit that `repair` would mend."""
        from muniment.adapters.repairing import damaged_names  # noqa: PLC0415

        identities = self.identities if self.has_identity else ()
        with self.store.open(commit_id) as folder:
            return damaged_names(folder, self.trusted_signers, identities)

    def rebuild(
        self,
        source: Path | None = None,
        *,
        from_backup: bool = False,
        stage: "Callable[[str, str], object]" = lambda _commit_id, _stage: None,
    ) -> "RebuildReport":
        """Recreate catalogue and block index from the store.

        Args:
            source: A folder whose commits are imported first.
            from_backup: Whether the commits that the store lacks are fetched from the backup first.
            stage: Told of each commit that is fetched, and of each that is entered.

        Raises:
            UsageError: No backup is configured.
            ExternalServiceError: The backup failed; what was fetched is safe, run again.
        """
        from muniment.adapters import fetching, rebuilding  # noqa: PLC0415

        report = rebuilding.RebuildReport()
        fetched: list[str] = []
        if source is not None:
            rebuilding.import_commits(
                source,
                self.store,
                self.trusted_signers,
                report,
                organization_id=self.organization.id,
            )
        if from_backup:
            fetched = fetching.fetch_commits(
                self.backup(),
                self.store,
                self.trusted_signers,
                report,
                lambda commit_id: stage(commit_id, "fetch"),
                organization_id=self.organization.id,
            )
        rebuilding.rebuild(
            self.store,
            self.catalog,
            self.trusted_signers,
            self.open_keyring,
            report,
            organization_id=self.organization.id,
            worker_count=self.worker_count,
            advance=lambda commit_id: stage(commit_id, "rebuilt"),
        )
        known = {commit_id for commit_id, _sequence in self.known_commits()}
        for commit_id in known.intersection(fetched):  # all of its backup was just read
            self.catalog.update_commit(commit_id, backed_up_at=int(time.time()))
        self.catalog.mend_totals()
        return report

    def backup_ids(self) -> list[str]:
        """Return the ids of the commits in the backup, oldest first.

        Raises:
            UsageError: No backup is configured.
            ExternalServiceError: It cannot be reached.
        """
        from muniment.archive.backup import list_commits  # noqa: PLC0415

        return [commit.commit_id for commit in list_commits(self.backup())]

    def close(self) -> None:
        """Release the catalogue if it is open."""
        catalog = self.__dict__.pop("catalog", None)
        if catalog is not None:
            catalog.close()


def read_verify_key(path: Path) -> VerifyKey:
    """Read a public key line of OpenSSH from a file that nobody else may change.

    Raises:
        KeyUnavailableError: The file is missing, or others can change it.
        FormatError: It is no Ed25519 public key line.
    """
    from muniment.adapters.private_files import read_public  # noqa: PLC0415
    from muniment.errors import FormatError  # noqa: PLC0415

    try:
        return VerifyKey.from_openssh(read_public(path).decode("utf-8", "replace"))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
