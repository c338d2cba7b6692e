"""A real PostgreSQL on this machine, for tests: a new cluster in a temporary folder, reached through a Unix socket alone."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from muniment.errors import ExternalServiceError

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
USER = "muniment"
"""The database's superuser; the socket's folder is private, so it needs no password."""

_LOG_BYTES_SHOWN = 2_000
_DEBIAN = Path("/usr/lib/postgresql")
_SERVER_USERS = ("postgres", "nobody")  # whom the server runs as where the tests run as root
_SOCKET = ".s.PGSQL.5432"  # the port is only a part of the socket's name
_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class LocalPostgres:
    """A context manager: the server runs until the block ends, and leaves nothing behind.

    Attributes:
        folder: The private folder of the cluster and its socket, made anew for each server.
        process_id: Its main process.
    """

    folder: Path
    process_id: int

    def __init__(self, *, durable: bool = False, connections: int = 100) -> None:
        """Describe a server.

        Args:
            durable: Wait for the disk at every commit, as a server in use does. Without it tests are faster, and a crash
                of the *machine* (not of a process) could lose data.
            connections: How many clients can be connected at once.
        """
        self._settings = [f"max_connections={connections}", *(() if durable else _NOT_DURABLE)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Make the cluster and start the server.

        Raises:
            ExternalServiceError: PostgreSQL is not installed, or does not start.
        """
        programs, account = find_programs(), _account()
        # Not below a test's own folder: that one is closed to the account, and its path may be too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="muniment-pg-"))
        try:
            if account is not None:
                os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as_account = _becoming(account)
            self._programs = programs
            self._initialise()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server (again) over the same cluster."""
        command = [
            *self._as_account,
            str(self._programs / "postgres"),
            *("-D", str(self.folder / "data"), "-k", str(self.folder), "-h", ""),
        ]
        for setting in self._settings:
            command += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        self.process_id = self._process.pid
        self._await_ready(self._process)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server: at once by default (SIGQUIT, as in a crash); SIGINT closes the cluster properly."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def create_database(self, options: str = "") -> str:
        """Create an empty database, with options of `CREATE DATABASE`, and return its URL. Without any, names sort as bytes do."""
        name = f"test_{secrets.token_hex(8)}"
        self.run_sql(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def use_tablespace(self, url: str, folder: Path) -> None:
        """Move a database that nobody is connected to into a folder below the server's own, such as a disk that is mounted there."""
        owner = self.folder.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        name = f"space_{secrets.token_hex(8)}"
        self.run_sql(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
        database = url.partition("@/")[2].partition("?")[0]
        self.run_sql(f"ALTER DATABASE {database} SET TABLESPACE {name}")

    def drop_database(self, url: str) -> None:
        """Remove a database that `create_database` made, whoever is still connected to it."""
        name = url.partition("@/")[2].partition("?")[0]
        self.run_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def run_sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement with psql and return what it prints.

        Raises:
            ExternalServiceError: The server refuses it.
        """
        arguments = ["-h", str(self.folder), "-U", USER, "-d", database, "-XAtqc", statement]
        return _run([str(self._programs / "psql"), *arguments], self.folder)

    def _initialise(self) -> None:
        options = [
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            f"--username={USER}",
        ]
        program = str(self._programs / "initdb")
        data = str(self.folder / "data")
        _run([*self._as_account, program, *options, "-D", data], self.folder)

    def _await_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.02)
        end = (self.folder / "log").read_bytes()[-_LOG_BYTES_SHOWN:].decode("utf-8", "replace")
        raise ExternalServiceError(
            f"PostgreSQL did not start within {START_TIMEOUT_S} s; its log ends with:\n{end}"
        )

    def _answers(self) -> bool:
        """Tell whether the server takes queries. The socket alone is there too early."""
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(self.folder / _SOCKET))
            with suppress(ExternalServiceError):
                return self.run_sql("SELECT 1") == "1\n"
        return False


def find_programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs: Debian keeps servers off the PATH.

    Raises:
        ExternalServiceError: There is none.
    """
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    if found is None:
        raise ExternalServiceError("PostgreSQL is not installed: expected the package postgresql")
    return Path(found).resolve().parent


def _account() -> pwd.struct_passwd | None:
    """Return whom to run the server as, for it refuses root; None for the user who runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in _SERVER_USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ExternalServiceError("PostgreSQL refuses to run as root, and there is no user for it")


def _becoming(account: pwd.struct_passwd | None) -> list[str]:
    """Return the command that runs another as an account, and has it end when this process does."""
    if shutil.which("setpriv") is None:
        if account is None:
            return []
        raise ExternalServiceError("PostgreSQL refuses to run as root, and setpriv is not there")
    ending = ["setpriv", "--pdeathsig=QUIT"]
    if account is None:
        return ending
    return [*ending, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise ExternalServiceError(f"cannot run {command[0]}: {error}") from error
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip()[-_LOG_BYTES_SHOWN:]
        raise ExternalServiceError(f"{Path(command[0]).name} failed: {told}")
    return done.stdout.decode("utf-8", "replace")
