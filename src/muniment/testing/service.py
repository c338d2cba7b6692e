"""A real service for tests: `muniment serve` in a process of its own, on a port of loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from muniment.errors import ExternalServiceError

STOP_TIMEOUT_S = 20


class LocalService:
    """A service below a folder, which runs while this is open as a context manager.

    Args:
        folder: Its home; made if need be.
        arguments: Further arguments of `muniment serve`.
        settings: Settings of the service and of its archives, by environment variable; by default no calendar is asked.

    Attributes:
        url: Where it listens, without the version; empty while it does not run.
    """

    def __init__(
        self, folder: Path, *arguments: str, settings: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.url = ""
        self._arguments = arguments
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")
        }
        self.environment = kept | {"MUNIMENT_CALENDARS": ""} | (settings or {})
        self._process: subprocess.Popen[str] | None = None

    @property
    def process_id(self) -> int:
        """Its process, of which those that answer are children or itself."""
        assert self._process is not None
        return self._process.pid

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command of `muniment` on the service's own machine; returns its answer.

        Raises:
            ExternalServiceError: It fails.
        """
        done = subprocess.run(
            [*self._program(*words), "--json"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ExternalServiceError(f"muniment {' '.join(words)}: {done.stdout}{done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def create_organization(self, organization_id: str = "example", *options: str) -> str:
        """Make an organisation; returns its first API key, an owner's."""
        answer = self.run(
            "org", "create", organization_id, "An Example", "--no-recovery-kit", *options
        )
        key: str = answer["api_key"]
        return key

    def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            ExternalServiceError: It ended.
        """
        self._process = subprocess.Popen(
            [*self._program("serve", "--port", "0", *self._arguments), "--json"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = ""
        for line in self._process.stdout:
            told += line
            with contextlib.suppress(ValueError):
                self.url = json.loads(told).get("url", "")
                break
        if not self.url:
            self.stop()
            raise ExternalServiceError(f"the service did not start: {told}")

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """End it, and wait until it has ended."""
        process, self._process, self.url = self._process, None, ""
        if process is None:
            return
        assert process.stdout is not None
        with process.stdout:
            process.send_signal(signal_number)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _program(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "muniment", *words, "--home", str(self.folder)]
