"""`muniment repair`."""

from typing import Any

import click

from muniment.bootstrap.archive import Archive
from muniment.entrypoints.cli.progress import progress_of
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import IntegrityError, MunimentError
from muniment.text import count


@click.command(
    cls=Command,
    name="repair",
    short_help="Mend damaged commits from their parity or a backup.",
)
@click.argument("commits", nargs=-1, metavar="[COMMIT...]")
@click.option("--dry-run", is_flag=True, help="Only list the damaged files.")
@pass_session
def command(session: Session, commits: tuple[str, ...], dry_run: bool) -> None:
    """Mend damaged commits from their parity or a backup: all commits, or only some.

    A file is replaced only by one that is exactly what the signed manifest says. The manifest itself and the keyring (keys.age) come
    from the backup: a manifest signed by the organisation, a keyring that this home can open.
    """
    results: list[dict[str, Any]] = []
    with session.archive() as archive, archive.lock(), progress_of(session) as progress:
        for commit_id in [archive.commit_id(name) for name in commits] or archive.commit_ids():
            progress.stage(commit_id, "repair", 0)
            result = _look(archive, commit_id) if dry_run else _mend(archive, commit_id)
            results.append(result)
            _say(session, result, has_backup=bool(archive.settings.backup))
    session.answer({"commits": results, "dry_run": dry_run})
    if not results:
        session.say("There are no commits yet: muniment archive FOLDER")
    elif not any(result["damaged"] or result["problem"] for result in results):
        session.say(f"{count(len(results), 'commit')} checked: nothing needs repair.")
    if any(result["problem"] or (dry_run and result["damaged"]) for result in results):
        click.get_current_context().exit(IntegrityError.exit_code)


def _look(archive: Archive, commit_id: str) -> dict[str, Any]:
    try:
        return _result(commit_id, damaged=archive.damaged_files(commit_id))
    except MunimentError as error:
        return _result(commit_id, problem=str(error))


def _mend(archive: Archive, commit_id: str) -> dict[str, Any]:
    try:
        report = archive.repair(commit_id)
    except MunimentError as error:
        return _result(commit_id, problem=str(error))
    parity, backup = list(report.from_parity), list(report.from_backup)
    return _result(commit_id, damaged=parity + backup, parity=parity, backup=backup)


def _result(
    commit_id: str,
    damaged: list[str] | None = None,
    parity: list[str] | None = None,
    backup: list[str] | None = None,
    problem: str | None = None,
) -> dict[str, Any]:
    return {
        "commit_id": commit_id,
        "damaged": damaged or [],
        "from_parity": parity or [],
        "from_backup": backup or [],
        "problem": problem,
    }


def _how_to_go_on(*, has_backup: bool) -> str:
    copy = "move its folder out of store/commits, then: muniment rebuild --from DIR, where DIR holds a partner's copy"
    if has_backup:
        return f"The backup could not mend it either: {copy}"
    return f"Set `backup` to a folder or bucket that has the commit, and repair again; or {copy}"


def _say(session: Session, result: dict[str, Any], *, has_backup: bool) -> None:
    name = result["commit_id"]
    if result["problem"]:
        session.warn(f"{name}  NOT MENDED: {result['problem']}")
        session.warn(f"  {_how_to_go_on(has_backup=has_backup)}")
    for key, how in (
        ("from_parity", "rebuilt from parity"),
        ("from_backup", "fetched from backup"),
    ):
        session.say(*(f"{name}  {how}: {file}" for file in result[key]))
    if not (result["from_parity"] or result["from_backup"]):
        session.say(*(f"{name}  damaged: {file}" for file in result["damaged"]))
