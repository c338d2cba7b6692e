"""The Python client of a Muniment service: typed, for programs that wait (`Client`) and for event loops (`AsyncClient`)."""

from muniment.client.client import AsyncClient, Client
from muniment.client.errors import ApiError, ConnectionFailedError, FieldProblem

__all__ = ["ApiError", "AsyncClient", "Client", "ConnectionFailedError", "FieldProblem"]
