"""The IPFS programs that tests hold us against: found on PATH or in the cache that `make engines` fills, and run.

Their versions are pinned by `engines/*/go.mod`; a program of any other version is never used.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from muniment.errors import ExternalServiceError

MODULES = Path(__file__).resolve().parents[3] / "engines"
"""The Go modules that pin the engines."""

ENGINES = {"ipfs": "kubo", "ipfs-cluster-service": "cluster", "ipfs-cluster-ctl": "cluster"}
"""The module that pins each program."""

COMMAND_TIMEOUT_S = 300
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
_VERSION_TIMEOUT_S = 30
_POLL_S = 0.05
_LOG_BYTES_SHOWN = 4_000
_PINNED = re.compile(
    r"^\s*github\.com/(?:ipfs/kubo|ipfs-cluster/ipfs-cluster) v(\S+)", re.MULTILINE
)
_TOLD = re.compile(r"version (\d+\.\d+\.\d+)(?:\+\w*)?\s")


@cache
def find_engine(program: str) -> Path:
    """Return the path of an engine's program, of exactly the pinned version.

    Args:
        program: One of `ENGINES`.

    Raises:
        ExternalServiceError: It is neither on PATH nor built.
    """
    version, built = pinned_version(program), engine_folder(ENGINES[program]) / program
    on_path = shutil.which(program)
    if on_path is not None and _version_of(on_path) == version:
        return Path(on_path)
    if built.is_file():
        return built
    raise ExternalServiceError(
        f"{program} {version} is neither on PATH nor built; run: make engines"
    )


def pinned_version(program: str) -> str:
    """Return the version of a program that its Go module pins, as in `0.43.1`."""
    found = _PINNED.search((MODULES / ENGINES[program] / "go.mod").read_text("utf-8"))
    if found is None:
        raise ExternalServiceError(f"no version of {program} is pinned in {MODULES}")
    return found[1]


def engine_folder(module: str) -> Path:
    """Return the folder of the cache to which `scripts/engines.sh` builds a module."""
    pins = b"".join((MODULES / module / name).read_bytes() for name in ("go.mod", "go.sum"))
    target = f"{platform.system()} {platform.machine()}\n".encode()
    key = hashlib.sha256(pins + target).hexdigest()[:16]
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "muniment" / "engines" / f"{module}-{key}"


def _version_of(program: str) -> str | None:
    try:
        told = subprocess.run(
            [program, "--version"],
            check=False,
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _TOLD.search(told.stdout)
    return found[1] if found else None


def run_engine(
    program: Path,
    *arguments: str | Path,
    environment: Mapping[str, str],
    stdin: bytes | None = None,
) -> bytes:
    """Run a program to its end and return what it prints.

    Raises:
        ExternalServiceError: It fails, which shows the end of what it says, or takes longer than `COMMAND_TIMEOUT_S`.
    """
    command = [program, *arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            input=stdin or b"",
            capture_output=True,
            env=environment,
            timeout=COMMAND_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ExternalServiceError(
            f"{program.name} took longer than {COMMAND_TIMEOUT_S} s: {arguments}"
        ) from error
    if done.returncode:
        raise ExternalServiceError(
            f"{program.name} failed with {done.returncode}: {arguments}\n{_end(done.stderr)}"
        )
    return done.stdout


class Daemon:
    """A program that runs until `stop`; everything that it says goes to a log file."""

    def __init__(self, *command: str | Path, environment: Mapping[str, str], log: Path) -> None:
        self._name, self._log = Path(command[0]).name, log
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,  # an interrupt of the tests is not one of the engine
            )

    @property
    def process_id(self) -> int:
        """Its process."""
        return self._process.pid

    def await_ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait until it says that it is ready.

        Raises:
            ExternalServiceError: It ended, or is not ready after `START_TIMEOUT_S`; shows the end of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if is_ready():
                return
            time.sleep(_POLL_S)
        self.stop()
        raise ExternalServiceError(
            f"{self._name} did not start; its log ends with:\n{_end(self.log)}"
        )

    @property
    def log(self) -> bytes:
        """What it said until now."""
        return self._log.read_bytes()

    def stop(self) -> None:
        """End it, by force if it takes longer than `STOP_TIMEOUT_S`."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def change_settings(file: Path, settings: Mapping[str, object]) -> None:
    """Change settings in a JSON file, each named by the way to it, as in `Routing.Type`; sections are made where missing."""
    config = json.loads(file.read_text("utf-8"))
    for name, value in settings.items():
        section: dict[str, Any] = config
        *way, last = name.split(".")
        for step in way:
            section[step] = section.get(step) or {}  # an empty section may be null
            section = section[step]
        section[last] = value
    file.write_text(json.dumps(config, indent=2), "utf-8")


def _end(log: bytes) -> str:
    return log[-_LOG_BYTES_SHOWN:].decode("utf-8", "replace")
