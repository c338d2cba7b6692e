"""What each command answers with --json: the keys of its object and their meaning. Tests hold the commands to it."""

COMMIT = {
    "commit_id": "its id",
    "state": "`stored`, or how far an unfinished one has come",
    "sequence": "place in the chain, from 1",
    "created_at": "RFC 3339, by the owner's clock",
    "files": "number of paths in it",
    "source_bytes": "plaintext bytes",
    "sealed_bytes": "bytes of its sealed files",
    "merkle_root": "`blake3:<hex>`",
    "manifest_sha256": "`sha256:<hex>`",
    "commit_cid": "root CID of its UnixFS directory",
    "timestamp": "`queued`, `pending` or `complete`",
    "bitcoin_height": "block that attests it, or null",
    "bitcoin_time": "that block's time where it was confirmed, or null",
    "backed_up_at": "when its backup was last verified, or null",
}
"""A commit as several commands describe it."""

PROBLEM = {
    "path_hex": "the path's bytes in hex",
    "path_display": "the path for people, with escapes for what does not print",
    "message": "what is wrong",
}
"""A path that could not be handled."""

_SCANNED = {
    "new": "paths never seen before",
    "changed": "paths that changed",
    "unchanged": "paths that did not",
}
_DRY_RUN = {"dry_run": "true when nothing was written"}

CID = {
    "cid": "as it was given, or found",
    "version": "0 or 1",
    "codec": "name of what the block holds, or a number",
    "hash": "name of the hash function, or a number",
    "digest_hex": "the hash",
    "v0": "the CIDv0 of the same block, or null",
    "v1": "the CIDv1, in base32",
    "base36": "the CIDv1 in base36, for DNS names",
}
"""What a CID says."""

SURVEY = {
    "complete": "whether all of its blocks are in the store",
    "blocks": "different blocks that are",
    "dag_bytes": "their bytes",
    "missing_blocks": "blocks that are missing or damaged",
    "first_missing": "CID of one of them, or null",
}
"""How much of a DAG there is."""

ORGANIZATION = {
    "organization": "`id` and `name`",
    "created_at": "seconds since 1970",
    "quota_bytes": "the most that it may hold, or null",
    "quota_files": "likewise, or null",
    "used_bytes": "what it holds of uploads",
    "used_files": "files in it",
    "reserved_bytes": "what is promised to uploads that still run",
    "reserved_files": "files that still arrive",
    "pinned_bytes": "what it holds for pins",
}
"""An organisation of a service."""

ANSWERS: dict[str, dict[str, str]] = {
    "init": {
        "home": "the home folder",
        "organization": "`id` and `name`",
        "signing_key_id": "fingerprint of the signing key",
        "recipient": "the organisation's own recipient, or null with `--write-only`",
        "recovery_recipient": "the recipient of the recovery kit, or null",
        "recovery_kit": "the file that it was written to; its text with `--recovery-kit -`; else null",
    },
    "add": _SCANNED
    | {
        "pending_files": "paths that wait to be archived",
        "pending_bytes": "their bytes",
        "problems": "list of problems",
    }
    | _DRY_RUN,
    "archive": {
        "scan": "`new`, `changed` and `unchanged` paths",
        "commits": "list of the commits made",
        "vanished": "paths that were gone before they could be read",
        "problems": "list of problems",
    }
    | _DRY_RUN,
    "status": {
        "organization": "`id` and `name`",
        "pending_files": "paths that wait to be archived",
        "pending_bytes": "their bytes",
        "archived_files": "archived versions",
        "archived_bytes": "their bytes",
        "sealed_bytes": "bytes of the commits",
        "commits": "number of commits",
        "timestamps_queued": "commits that no calendar was reached for",
        "timestamps_pending": "commits that wait for their block",
        "backup": "where the backup is, or null",
        "not_backed_up": "commits without a verified backup",
        "last_commit": "the last commit, or null",
        "unfinished": "list of commits that a run did not finish",
        "roots": "list of places that `archive` looks at: `path_hex`, `path_display`",
        "problems": "list of problems",
        "next_steps": "list of sentences for people",
    },
    "commits": {"commits": "list of commits, the newest first"},
    "show": {
        "version": "2",
        "commit_id": "its id",
        "created_at": "RFC 3339, by the owner's clock",
        "merkle": "`algorithm`, `root`, `leaf_count`",
        "signature": "`algorithm`, `signer_org`, `signer_key_id`, `value`",
        "chain": "`sequence`, `previous_commit_id`, `previous_merkle_root`",
        "packaging": "`format`, `chunk_size`, `chunk_prefix`, `chunk_count`, `par2_redundancy` (percent)",
        "provenance": "`organization` and `organization_name`",
        "software": "`name` and `version`",
        "catalogue": "the commit as other commands describe it",
        "timestamp": "`state`, `detail`, `bitcoin_height`, `bitcoin_time`, `tokens`, as for `ots verify`",
        "files": "list of files, with `merkle_proof` and `encryption`",
        "problems": "list of sentences: what could not be shown",
    },
    "verify": {
        "ok": "true when commits were checked and nothing is wrong",
        "signer_compared": "false when a signature was only compared with the key in its manifest",
        "chains": "list, one an organisation: `organization`, `commits`, and `first` and `last` of their numbers",
        "commits": "list: `commit_id`, `organization`, `ok`, `signer`, `signer_compared`, `files`, `leaves`, `contents`, `content_bytes`, `erased`, `damaged`, `timestamp`, `problems`",
    },
    "restore": {
        "target": "the folder",
        "files": "paths put back",
        "bytes": "their bytes",
        "problems": "list of problems",
    }
    | _DRY_RUN,
    "repair": {
        "commits": "list: `commit_id`, `damaged`, `from_parity`, `from_backup`, `problem`",
    }
    | _DRY_RUN,
    "rebuild": {
        "commits": "commits that the database knows now, or would read",
        "files": "paths in them; 0 in a dry run",
        "imported": "list of ids of commits that were copied into the store",
        "problems": "list: `commit_id` and `message`",
    }
    | _DRY_RUN,
    "backup": {
        "commits": "list: `commit_id`, `objects`, `sent`, `replaced`, `sent_bytes`, `problem`",
    }
    | _DRY_RUN,
    "ots upgrade": {
        "commits": "list: `commit_id`, `timestamp`, `changed`, `bitcoin_height`, `notes`, `problem`",
    }
    | _DRY_RUN,
    "ots verify": {
        "commits": "list: `commit_id`, `state` (`verified`, `pending`, `queued`, `inconclusive`, `wrong`), `detail`, `bitcoin_height`, `bitcoin_time`, `tokens` (null, or `state`, `detail`, `times`)",
    },
    "ots info": {"commit_id": "its id", "steps": "list of lines for people"},
    "gateway": {
        "url": "where it listens; printed once it does",
        "store": "folder of the block store that is served",
    },
    "content add": {
        "added": "list: `cid`, `name_hex`, `name_display`, `paths`, `bytes` (of files), `dag_bytes` (of blocks)",
        "new_blocks": "blocks that the store did not have; 0 with `--only-cid`",
        "stored": "false with `--only-cid`",
        "problems": "list of problems",
    },
    "content get": {
        "cid": "of what was written",
        "target": "where it is",
        "paths": "files, folders and links written; 1 with `--archive`",
        "bytes": "bytes of the files, or of the TAR",
    },
    "content ls": {
        "cid": "of the folder",
        "entries": "list: `name_hex`, `name_display`, `cid`, `kind` (`file`, `directory`, `symlink`, `missing`, `unknown`), `bytes` (of a file), `dag_bytes` (as the folder says), `target_display`",
        "next_offset": "`--offset` for the entries behind these, or null",
    },
    "content cat": {
        "cid": "of the file",
        "offset": "where its bytes begin",
        "bytes": "how many",
        "content_base64": "the bytes, 16 MiB at most",
    },
    "content stat": CID
    | {
        "kind": "`file`, `directory`, `symlink` or `block`",
        "bytes": "of a file, or null",
        "target_display": "of a symlink, or null",
        "mode": "stored permissions in octal, or null",
        "mtime_ns": "stored modification time, nanoseconds since 1970, or null",
    }
    | SURVEY
    | {"pinned": "whether this very CID is", "pin_name": "the pin's name, or null"},
    "content import": {
        "cars": "list: `file`, `version`, `roots`, `blocks`, `bytes`, `new_blocks`",
        "roots": "list: `cid`, `complete`, `missing` (a CID, or null), `pinned`",
    },
    "content export": {
        "root": "root of the CAR",
        "file": "where it was written",
        "blocks": "blocks in it",
        "bytes": "its size",
    },
    "content fetch": {
        "root": "the CID that was asked for",
        "cid": "where the path leads",
        "pinned": "whether that is pinned now",
        "blocks": "blocks that were fetched",
        "bytes": "their bytes",
        "present_blocks": "blocks that the store had before; one that hangs in several places counts each time",
        "duration_s": "how long it took, in seconds",
        "sources": "list: `name`, `blocks`, `bytes`, `requests`, `misses` (did not have it), `failures`, `lies`, `dropped`, `problem`",
    },
    "content pin": {
        "pinned": "list: `cid`, and the keys from `complete` on of `content stat`",
    },
    "content unpin": {"unpinned": "list of CIDs"},
    "content pins": {"pins": "list: `cid`, `name`"},
    "content cid": {
        "cids": "list: the keys up to `base36` of `content stat`, and `converted` (with options, else null)",
    },
    "store stats": {
        "pack_count": "pack files",
        "pack_blocks": "blocks in them",
        "pack_bytes": "their bytes",
        "referenced_blocks": "blocks that lie in the files of commits",
        "referenced_bytes": "their bytes",
        "pins": "pinned roots",
    },
    "store verify": {
        "ok": "true when all blocks are whole",
        "blocks": "blocks hashed",
        "problems": "list: `cid`, `place`, `message`",
    },
    "store gc": {
        "kept_blocks": "blocks in packs that are needed",
        "removed_blocks": "blocks removed, or to be removed",
        "removed_bytes": "their bytes",
        "rewritten_packs": "packs that held any of them",
    }
    | _DRY_RUN,
    "serve": {
        "url": "where it listens, or null with `--only-work`; printed once it does",
        "home": "home of the service",
    },
    "org create": {
        "organization": "`id` and `name`",
        "api_key": "its first API key, an owner's: shown only now",
        "signing_key_id": "fingerprint of the signing key",
        "recipient": "the organisation's own recipient",
        "recovery_recipient": "the recipient of the recovery kit, or null",
        "recovery_kit": "as for `init`",
    },
    "org adopt": {
        "organization": "`id` and `name`, as the archive has them",
        "api_key": "an owner's API key: shown only now",
    },
    "org list": {"organizations": "list of organisations, as `org show` describes one"},
    "org show": ORGANIZATION,
    "org quota": ORGANIZATION,
    "api-key create": {
        "organization_id": "whose it is",
        "key_id": "its public name",
        "api_key": "the key: shown only now",
    },
    "api-key list": {"keys": "list of keys, newest first, as `api-key revoke` describes one"},
    "api-key rotate": {
        "organization_id": "whose it is",
        "key_id": "the new key's public name",
        "api_key": "the new key: shown only now",
    },
    "api-key revoke": {
        "key_id": "its public name",
        "name": "what its owner calls it",
        "role": "what it is",
        "scopes": "list of the part of the role that it has, or null for all of it",
        "member_id": "whose it is, or null for the organisation's own",
        "created_at": "seconds since 1970",
        "expires_at": "likewise, or null for never",
        "max_uses": "how often it can be used, or null",
        "uses": "how often it was",
        "last_used_at": "seconds since 1970, within a minute, or null",
        "revoked_at": "likewise, or null",
        "quota_bytes": "the most that may be held of what it brings, or null",
        "quota_files": "likewise, or null",
        "used_bytes": "held of what it, and the keys that it replaced, brought",
        "used_files": "likewise",
        "reserved_bytes": "promised to uploads of theirs that still run",
        "reserved_files": "likewise",
    },
    "audit export": {
        "file": "what was written",
        "entries": "how many",
        "last_hash": "hash of the last one",
    },
    "audit verify": {"entries": "how many were checked", "last_hash": "hash of the last one"},
    "db upgrade": {
        "version": "of the schema now",
        "version_before": "before; 0 for a new database",
    },
    "db check": {
        "version": "of the schema",
        "audit_entries": "by organisation: entries of its audit log, all checked",
        "catalogs": "by organisation: `commits` and `files` in its catalogue, or null where there is none yet",
    },
    "keys list": {
        "signing_key_id": "fingerprint of the signing key in use",
        "former_signing_key_ids": "list of fingerprints of those before",
        "identities": "list of the recipients that this home opens for",
        "recipients": "list: `recipient`, `name`",
    },
    "keys recipients": {"recipients": "list: `recipient`, `name`"},
    "keys add-recipient": {"recipient": "age1...", "name": "who it is"},
    "keys remove-recipient": {"recipient": "age1...", "name": "who it is"},
    "keys rewrap": {
        "commits": "list of ids of commits whose keys were sealed anew",
        "skipped": "commits that were done already",
    }
    | _DRY_RUN,
    "keys new-recovery-kit": {
        "recipient": "age1...",
        "name": "its name in the list",
        "recovery_kit": "as for `init`",
    },
    "keys check-recovery-kit": {"recipient": "age1...", "name": "its name in the list"},
    "keys recover": {
        "recipient": "age1...",
        "opened": "commits that the kit opens",
        "commits": "commits in the store",
    },
    "doctor": {
        "ok": "false when something must be done",
        "checks": "list: `name`, `level` (`OK`, `WARN`, `FAIL`), `message`, `remedy`",
    },
    "completion": {"shell": "its name", "script": "the script"},
}
"""By command."""
