"""The audit log of an organisation: a page at a time, or whole."""

import asyncio
from itertools import islice
from typing import Annotated

from litestar import Response, Router, get
from litestar.params import Parameter
from litestar.response import Stream

from muniment.accounts.audit import AuditEntry, write_entries
from muniment.accounts.permissions import Permission
from muniment.accounts.principals import Principal
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.authentication import needs
from muniment.entrypoints.http.pages import (
    PAGE_DEFAULT,
    PAGE_MAX,
    Page,
    decode_cursor,
    page_response,
)
from muniment.entrypoints.http.requests import HttpRequest
from muniment.entrypoints.http.streaming import SAFE, attachment, stream

_LINES_AT_ONCE = 100


@get("/audit", opt=needs(Permission.AUDIT_READ), sync_to_thread=True)
def list_audit(
    request: HttpRequest,
    service: Service,
    principal: Principal,
    limit: Annotated[int, Parameter(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: str = "",
) -> Response[Page[AuditEntry]]:
    """List the audit log, oldest first."""
    (after,) = decode_cursor(cursor, tuple[int]) if cursor else (0,)
    entries = service.accounts.audit(principal.organization_id, after, limit + 1)
    return page_response(request, entries, limit, lambda entry: (entry.number,))


@get(
    "/audit/export",
    opt=needs(Permission.AUDIT_READ),
    media_type="application/octet-stream",
)
async def export_audit(service: Service, principal: Principal) -> Stream:
    """Write the whole audit log, one entry a line as JSON, up to the entry that is the last now, whose hash is the `ETag`.

    `muniment audit verify --file` checks it without a service.
    """
    accounts, organization_id = service.accounts, principal.organization_id
    number, digest = await asyncio.to_thread(accounts.audit_head, organization_id)
    lines = write_entries(accounts.export_audit(organization_id, number))
    pieces = iter(lambda: b"".join(islice(lines, _LINES_AT_ONCE)), b"")
    headers = SAFE | {"content-disposition": attachment(b"audit.jsonl"), "etag": f'"{digest}"'}
    return await stream(pieces, headers, media_type="application/jsonl")


router = Router("/", route_handlers=[list_audit, export_audit], tags=["organisation"])
