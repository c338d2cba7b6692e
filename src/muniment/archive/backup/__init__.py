"""Object backup: whole commits copied to a folder or bucket, and enough there to rebuild everything else.

Layout: `commits/<commit_id>/<file>`, the files of `docs/spec/commit.md` under their own names and nothing else, so that a
backup can be read with `cp` or any S3 client. `manifest.json` is written last: a commit is complete in a backup exactly
when its manifest is there. Sealed files are written once and never replaced; the files beside them follow the newest.
"""

from muniment.archive.backup.objects import Check, LocalFile, Writable
from muniment.archive.backup.ports import (
    BESIDE,
    MANIFEST,
    ObjectInfo,
    ObjectStorage,
    check_key,
    object_key,
)
from muniment.archive.backup.reading import (
    DamagedBackupError,
    OpenTarget,
    StoredCommit,
    list_commits,
    restore_commit,
    verify_backup,
)
from muniment.archive.backup.sending import (
    Action,
    BackedUpObject,
    BackupReport,
    Progress,
    backup_commit,
    refresh_beside,
)

__all__ = [
    "BESIDE",
    "MANIFEST",
    "Action",
    "BackedUpObject",
    "BackupReport",
    "Check",
    "DamagedBackupError",
    "LocalFile",
    "ObjectInfo",
    "ObjectStorage",
    "OpenTarget",
    "Progress",
    "StoredCommit",
    "Writable",
    "backup_commit",
    "check_key",
    "list_commits",
    "object_key",
    "refresh_beside",
    "restore_commit",
    "verify_backup",
]
