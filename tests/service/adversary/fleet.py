"""A service as it is run: processes that answer and processes that work, which can be killed at any moment."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

START_S = 60
_READY, _DISTURBED = 0.5, 0.2


class Fleet:
    """Processes over the service in `home`; every one that is killed is started again.

    Attributes:
        url: Where the API is, whichever process answers there.
        kills: How many processes were killed.
        killed: Called with the id of each process that was killed, before another takes its place.
        log: File of what all processes say besides answering.
    """

    def __init__(self, home, workers, seed=1, **settings):
        self.home, self.settings, self.kills = home, settings, 0
        self.killed = lambda process_id: None
        self.log = home.parent / f"{home.name}.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = [("--port", str(self.port), "--workers", "0")] + [
            ("--only-work",)
        ] * workers
        self._running, self._ready = {}, set()
        self._chance = random.Random(seed)

    def __enter__(self):
        for place in range(len(self._arguments)):
            self.start(place)
        for process in self._running.values():
            self._await(process)
        return self

    def __exit__(self, *_exc):
        for process in self._running.values():
            process.kill()
            process.communicate()

    def start(self, place):
        """Start a process, 0 is the one that answers; it is ready a little later."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MUNIMENT_")}
        environment |= {
            f"MUNIMENT_SERVICE_{name.upper()}": str(value) for name, value in self.settings.items()
        }
        command = [sys.executable, "-m", "muniment", "serve", *self._arguments[place]]
        with open(self.log, "a") as log:
            self._running[place] = subprocess.Popen(
                [*command, "--home", str(self.home), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    def kill(self, place):
        """Kill a process, which can do nothing about it."""
        process = self._running[place]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"it had ended by itself: see {self.log}"
        self.kills += 1
        self.killed(process.pid)

    def kill_any(self):
        """Kill one of the processes, and start it again."""
        place = self._chance.randrange(len(self._arguments))
        self.kill(place)
        self.start(place)
        return self._running[place]

    @contextmanager
    def dying(self, least_s, most_s, disturb=None):
        """Have processes die all the time, until the block ends, and now and then whatever `disturb` does to what they need."""
        over, failures = threading.Event(), []

        def kill_on():
            try:
                while not over.wait(self._chance.uniform(least_s, most_s)):
                    process = self.kill_any()
                    if self._chance.random() < _READY:  # else it may be killed while it begins
                        self._await(process)
                    if disturb and self._chance.random() < _DISTURBED:
                        self._survive(disturb)
            except BaseException as error:
                failures.append(error)

        killer = threading.Thread(target=kill_on)
        killer.start()
        try:
            yield
        finally:
            over.set()
            killer.join()
        assert not failures, failures

    def _survive(self, disturb):
        """Disturb processes that have begun: each must live on."""
        for process in self._running.values():
            self._await(process)
        disturb()
        ended = [process.args for process in self._running.values() if process.poll() is not None]
        assert not ended, f"ended for lack of what they need: {ended}"

    def _await(self, process):
        """Wait once until a process is ready."""
        if process.pid not in self._ready:
            ready(process)
            self._ready.add(process.pid)

    def defects(self):
        """Return what processes said of errors that nobody foresaw."""
        text = self.log.read_text(errors="replace")
        return [text[at.start() :][:5000] for at in re.finditer("which is a defect in", text)]

    def stop(self):
        """End everything as an operator would."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            process.communicate(timeout=60)
        codes = [process.returncode for process in self._running.values()]
        self._running.clear()
        return codes


def ready(process):
    """Wait until a process says that it is ready."""
    told, deadline = "", time.monotonic() + START_S
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            break
        told += line
        try:
            return json.loads(told)
        except ValueError:
            continue
    process.kill()
    process.communicate()
    raise AssertionError(f"it does not start: {told}")
