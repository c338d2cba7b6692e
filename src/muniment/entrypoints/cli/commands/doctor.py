"""`muniment doctor`."""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from muniment.adapters import key_files
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.adapters.bounded_http import exchange
from muniment.adapters.par2 import Par2Program
from muniment.adapters.private_files import read_private
from muniment.archive.catalog import CommitState
from muniment.archive.manifest import Par2
from muniment.archive.signing import PrivateKeyHeader
from muniment.bootstrap.archive import STAGING, Archive
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import KeyUnavailableError, MunimentError, NotFoundError
from muniment.text import count, moment, size

OK, WARN, FAIL = "OK", "WARN", "FAIL"
_LEAST_FREE_BYTES = 200_000_000
_OTHERS = 0o077
_EARLIEST_NOW_S = 1_767_225_600  # 2026-01-01: this program is not older
_ANSWER_BYTES_MAX = 100_000


@dataclass(frozen=True)
class Check:
    """One finding, and what to do about it."""

    name: str
    level: str
    message: str
    remedy: str = ""


Examine = Callable[[Archive], Iterator[Check]]


@click.command(cls=Command, name="doctor", short_help="Check that this home is in good health.")
@click.option("--online", is_flag=True, help="Also try to reach the timestamp calendars.")
@pass_session
def command(session: Session, online: bool) -> None:
    """Check that this home is in good health; changes nothing.

    Ends with 1 if something must be done. The bytes of commits are not read: that is what `muniment verify` does.
    """
    checks: list[Check] = []
    told: dict[str, str] = {}
    with session.archive() as archive:
        for name, examine in _EXAMINATIONS.items():
            if name == "calendars" and not online:
                continue
            for check in _guarded(name, examine, archive, told):
                checks.append(check)
                session.say(f"{check.level:4}  {check.name}: {check.message}")
                if check.remedy:
                    session.say(f"        -> {check.remedy}")
    healthy = all(check.level != FAIL for check in checks)
    session.answer({"ok": healthy, "checks": [asdict(check) for check in checks]})
    if not healthy:
        click.get_current_context().exit(MunimentError.exit_code)


def _guarded(
    name: str, examine: Examine, archive: Archive, told: dict[str, str]
) -> Iterator[Check]:
    """Examine; what ends an examination is said once, as `told` keeps it with the check that said it, however many it ends."""
    try:
        yield from examine(archive)
    except MunimentError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or name}: {error.strerror or error}"
    else:
        return
    if message in told:
        yield Check(name, WARN, f"not checked, for the same reason as: {told[message]}")
    else:
        told[message] = name
        yield Check(name, FAIL, message)


def _home(archive: Archive) -> Iterator[Check]:
    mode = stat.S_IMODE(os.stat(archive.home).st_mode)
    if mode & _OTHERS:
        message = f"others can look into {archive.home}"
        yield Check("home", WARN, message, f"chmod 700 {archive.home}")
    else:
        yield Check("home", OK, str(archive.home))
    free_bytes = shutil.disk_usage(archive.home).free
    wanted_bytes = archive.settings.batch_bytes * 5 // 4
    level = FAIL if free_bytes < _LEAST_FREE_BYTES else WARN if free_bytes < wanted_bytes else OK
    remedy = "" if level == OK else f"free some space: one commit may take {size(wanted_bytes)}"
    yield Check("disk", level, f"{size(free_bytes)} free", remedy)


def _signing_key(archive: Archive) -> Iterator[Check]:
    header = PrivateKeyHeader.read(read_private(archive.keys / key_files.SIGNING))
    if header.verify_key != archive.verify_key:
        yield Check(
            "signing key",
            FAIL,
            "signing and signing.pub are two different keys",
            "see docs/guides/keys.md",
        )
        return
    locked = " (with a passphrase)" if header.encrypted else ""
    yield Check("signing key", OK, f"{header.verify_key.key_id}{locked}")


def _recipients(archive: Archive) -> Iterator[Check]:
    keys = {item.key: item.name for item in key_files.load_recipients(archive.keys)}
    try:
        own = [identity.recipient for identity in archive.identities]
    except KeyUnavailableError as error:
        if os.path.lexists(archive.keys / key_files.IDENTITY):
            raise
        yield Check("identity", WARN, str(error), "this is right for a home that only writes")
    else:
        if any(recipient in keys for recipient in own):
            yield Check("identity", OK, f"opens what is sealed to {own[0]}")
        else:
            message = "nothing is sealed to the identity of this home any more"
            yield Check("identity", WARN, message, "muniment keys add-recipient")
    if len(keys) > 1:
        yield Check("recipients", OK, f"{count(len(keys), 'recipient')} can open the archive")
    else:
        message = "only one recipient can open the archive: if its secret is lost, so is all"
        yield Check("recipients", WARN, message, "add a second one: muniment keys add-recipient")


def _how_to_bring_back(archive: Archive) -> str:
    if archive.settings.backup:
        return "muniment rebuild --from-backup, or of a partner's copy: muniment rebuild --from DIR"
    return "muniment rebuild --from DIR, a folder of copies; or set `backup` to where one is, and rebuild --from-backup"


def _database(archive: Archive) -> Iterator[Check]:
    totals = archive.catalog.totals()
    if totals != archive.catalog.recount():
        yield Check("database", FAIL, "its totals do not add up", "muniment rebuild")
    known = {commit_id for commit_id, _sequence in archive.known_commits()}
    present = set(archive.commit_ids())
    lost, unknown = sorted(known - present), sorted(present - known)
    if lost:
        message = f"{count(len(lost), 'commit')} missing from the store: {', '.join(lost[:3])}"
        yield Check("database", FAIL, message, _how_to_bring_back(archive))
    if unknown:
        message = f"{count(len(unknown), 'commit')} in the store, but not in the database"
        yield Check("database", FAIL, message, "muniment rebuild")
    if not (lost or unknown):
        yield Check("database", OK, f"knows {count(totals.commits, 'commit')}, all in the store")
    if totals.problems:
        message = f"{count(totals.problems, 'path')} could not be archived"
        yield Check("problems", WARN, message, "muniment status")


def _blocks(archive: Archive) -> Iterator[Check]:
    try:
        with EmbeddedBlockStore.open_reader(archive.store.folder) as blocks:
            pinned = {pin.name for pin in blocks.pins()}
    except NotFoundError:
        pinned = set()
    missing = [commit_id for commit_id in archive.commit_ids() if commit_id not in pinned]
    if missing:
        message = f"{count(len(missing), 'commit')} not served as blocks"
        yield Check("block store", FAIL, message, "muniment rebuild")
    else:
        yield Check("block store", OK, f"{count(len(pinned), 'root')} pinned")


def _parity(_archive: Archive) -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trial").write_bytes(bytes(range(256)))
        Par2Program().create(Path(folder), "parity", ["trial"], Par2(4096, 1))
    yield Check("parity program", OK, "works")


def _clock(archive: Archive) -> Iterator[Check]:
    now = time.time()
    last = archive.catalog.totals().last_commit
    if now < _EARLIEST_NOW_S or (last is not None and now < last.created_at):
        after = f", before the last commit ({moment(last.created_at)})" if last else ""
        message = f"says {moment(int(now))}{after}"
        yield Check("clock", FAIL, message, "set the clock of this machine")
    else:
        yield Check("clock", OK, f"{moment(int(now))}")


def _unfinished(archive: Archive) -> Iterator[Check]:
    states = [state for state in CommitState if state is not CommitState.STORED]
    unfinished = {row.commit_id: row for row in archive.catalog.commits(*states)}
    oldest_s = time.time() - archive.settings.claim_timeout_s
    for row in unfinished.values():
        old = ", for long" if row.created_at < oldest_s else ""
        message = f"commit {row.commit_id} is not finished ({row.state}){old}"
        yield Check("unfinished", WARN, message, "muniment archive goes on with it")
    staging = archive.home / STAGING
    stray = (
        [path for path in staging.iterdir() if path.name not in unfinished]
        if staging.is_dir()
        else []
    )
    stray += archive.home.glob(".dry-run-*")
    for path in stray:
        message = f"{path} belongs to no commit: a run was killed"
        yield Check("unfinished", WARN, message, "if no run is at work, remove this folder")
    if not (unfinished or stray):
        yield Check("unfinished", OK, "no commit is half done")


def _timestamps(archive: Archive) -> Iterator[Check]:
    totals, settings = archive.catalog.totals(), archive.settings
    waiting = totals.timestamps_queued + totals.timestamps_pending
    if not settings.calendars:
        message = "no calendars are set: commits get no timestamps"
        yield Check("timestamps", WARN, message, "set `calendars` in config.toml")
    elif waiting:
        yield Check("timestamps", WARN, f"{waiting:,} not complete", "muniment ots upgrade")
    else:
        yield Check("timestamps", OK, "all complete")


def _backup(archive: Archive) -> Iterator[Check]:
    totals, settings = archive.catalog.totals(), archive.settings
    if not settings.backup:
        yield Check("backup", WARN, "none is configured", "docs/guides/backup.md")
    elif totals.not_backed_up:
        message = f"{count(totals.not_backed_up, 'commit')} not backed up"
        yield Check("backup", WARN, message, "muniment backup")
    else:
        yield Check("backup", OK, settings.backup)


def _calendars(archive: Archive) -> Iterator[Check]:
    for url in archive.settings.calendars:
        try:
            answer = exchange(
                "GET",
                url,
                timeout_s=archive.settings.calendar_timeout_s,
                max_bytes=_ANSWER_BYTES_MAX,
            )
        except MunimentError as error:
            yield Check("calendars", WARN, str(error), "timestamps stay queued meanwhile")
        else:
            yield Check("calendars", OK, f"{url} answers (HTTP {answer.status})")


_EXAMINATIONS: dict[str, Examine] = {
    "home": _home,
    "signing key": _signing_key,
    "recipients": _recipients,
    "database": _database,
    "block store": _blocks,
    "parity program": _parity,
    "clock": _clock,
    "unfinished": _unfinished,
    "timestamps": _timestamps,
    "backup": _backup,
    "calendars": _calendars,
}
