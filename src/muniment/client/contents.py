"""Content that has a digest: fetched, resumed where the connection broke, and checked."""

from muniment.client.calls import Caller
from muniment.client.downloading import Checker
from muniment.client.errors import ConnectionFailedError
from muniment.client.flows import Emit, Emitting, read, sleep
from muniment.errors import IntegrityError


class ContentCalls(Caller):
    """What calls that hand out content are made of."""

    def checked_content(self, checker: Checker, address: str) -> Emitting[bytes]:
        """Emit the content behind what the checker has seen, however often the connection breaks, and check it."""
        failures = 0
        while checker.left_bytes:
            start = checker.position
            try:
                yield from self._rest_of(checker, address)
            except ConnectionFailedError:
                failures = 1 if checker.position > start else failures + 1
                if failures >= self._patience.attempts:
                    raise
                yield from sleep(self._patience.wait_s(failures, None))
        checker.finish()

    def _rest_of(self, checker: Checker, address: str) -> Emitting[bytes]:
        start = checker.position
        headers = {"range": f"bytes={start}-"} if start else {}
        answer = yield from self.send("GET", address, headers=headers, is_open=True)
        if start and answer.status != 206:
            raise IntegrityError(f"expected the rest of {address}, got something else")
        while portion := (yield from read()):
            checker.update(portion)
            yield Emit(portion)
        if checker.left_bytes:
            raise ConnectionFailedError(f"{address}: the answer ended too early")
