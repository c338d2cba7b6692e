"""The two clients: every call, on either transport."""

import msgspec

from muniment.client.archive import ArchiveCalls
from muniment.client.calls import call
from muniment.client.drivers import Async, Sync
from muniment.client.events import EventCalls
from muniment.client.files import FileCalls
from muniment.client.flows import Flow
from muniment.client.operations import OperationCalls
from muniment.client.organization import OrganizationCalls
from muniment.client.pins import PinCalls
from muniment.client.uploads import UploadCalls


class Health(msgspec.Struct, frozen=True):
    """How a service is."""

    status: str


class Readiness(msgspec.Struct, frozen=True):
    """What a service can do.

    Attributes:
        status: `ready`, or `degraded`: it answers, and something is wrong.
        database: `ok`.
        disk: `ok`, or `low`: little more is taken in.
        workers: `ok`, or `none`: nobody does background work.
    """

    status: str
    database: str
    disk: str
    workers: str


class Calls(
    OrganizationCalls,
    UploadCalls,
    ArchiveCalls,
    FileCalls,
    OperationCalls,
    EventCalls,
    PinCalls,
):
    """Every call of the API.

    Each raises, beside what it says itself:
        ApiError: What the service refuses, and says why; one of its kinds, each of which is also an error of `muniment.errors`.
        ConnectionFailedError: No answer came, however often it was asked for.
        FormatError: The answer makes no sense.
    """

    @call
    def live(self) -> Flow[Health]:
        """Ask whether the service answers."""
        return self.get("/livez", Health)

    @call
    def ready(self) -> Flow[Readiness]:
        """Ask whether the service can work."""
        return self.get("/readyz", Readiness)


class Client(Calls, Sync):
    """Speaks to a service, and waits for its answers; see `Caller` for its arguments. Safe to use from several threads.

    Use it in a `with` block, or `close()` it.
    """


class AsyncClient(Calls, Async):
    """Speaks to a service from an event loop; see `Caller` for its arguments.

    It has the calls of `Client`, to be awaited, or to be iterated over with `async for`. Use it in an `async with` block, or
    await `close()`.
    """
