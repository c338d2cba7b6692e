"""The organisation of a key: itself, its members, its API keys, its audit log."""

from typing import Any

import msgspec

from muniment.client.calls import Caller, call, segment, stream
from muniment.client.flows import Emitting, Flow


class Amount(msgspec.Struct, frozen=True):
    """So many bytes in so many files."""

    size_bytes: int
    files: int


class Organization(msgspec.Struct, frozen=True):
    """An organisation: who it is, and how much of its quota it uses. Times are seconds since 1970; no quota is None."""

    organization_id: str
    name: str
    created_at: int
    quota_bytes: int | None
    quota_files: int | None
    used: Amount
    reserved: Amount
    pinned_bytes: int


class Member(msgspec.Struct, frozen=True):
    """A member of the organisation."""

    member_id: str
    name: str
    role: str
    created_at: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key, without what it opens things with. Times are seconds since 1970; no quota is None."""

    key_id: str
    name: str
    role: str
    scopes: list[str] | None
    member_id: str
    created_at: int
    expires_at: int | None
    max_uses: int | None
    uses: int
    last_used_at: int | None
    revoked_at: int | None
    quota_bytes: int | None
    quota_files: int | None
    used: Amount
    reserved: Amount


class NewKey(Key, frozen=True, kw_only=True):
    """A new API key: the only time that `key` is shown. It is left out of what is printed."""

    key: str

    def __repr__(self) -> str:
        return f"NewKey(key_id={self.key_id!r}, name={self.name!r}, role={self.role!r})"


class AuditEntry(msgspec.Struct, frozen=True):
    """One entry of the audit log; `at` is in microseconds since 1970."""

    organization_id: str
    number: int
    at: int
    actor: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str
    origin: str
    previous: str
    hash: str


class OrganizationCalls(Caller):
    """Calls about the organisation."""

    @call
    def show_organization(self) -> Flow[Organization]:
        """Show the organisation of the key."""
        return self.get("/v1/organization", Organization)

    @call
    def list_members(self) -> Flow[list[Member]]:
        """List the members."""
        return self.get("/v1/members", list[Member])

    @call
    def add_member(self, name: str, role: str) -> Flow[Member]:
        """Add a member."""
        return self.write("POST", "/v1/members", Member, {"name": name, "role": role})

    @call
    def show_member(self, member_id: str) -> Flow[Member]:
        """Show a member."""
        return self.get(f"/v1/members/{segment(member_id)}", Member)

    @call
    def change_member(self, member_id: str, role: str) -> Flow[Member]:
        """Change what a member, and every key of theirs, may do."""
        return self.write("PATCH", f"/v1/members/{segment(member_id)}", Member, {"role": role})

    @call
    def remove_member(self, member_id: str) -> Flow[None]:
        """Remove a member and revoke every key of theirs."""
        yield from self.change("DELETE", f"/v1/members/{segment(member_id)}")

    @call
    def list_keys(self) -> Flow[list[Key]]:
        """List the API keys, newest first; those that are no good any more as well."""
        return self.get("/v1/keys", list[Key])

    @call
    def show_key(self, key_id: str) -> Flow[Key]:
        """Show an API key."""
        return self.get(f"/v1/keys/{segment(key_id)}", Key)

    @call
    def create_key(
        self,
        name: str,
        role: str,
        *,
        scopes: list[str] | None = None,
        expires_at: int | None = None,
        max_uses: int | None = None,
        member_id: str = "",
        quota_bytes: int | None = None,
        quota_files: int | None = None,
    ) -> Flow[NewKey]:
        """Make an API key, which may never do more than the one that makes it. The answer is the only time that it is shown."""
        value = {
            "name": name,
            "role": role,
            "scopes": scopes,
            "expires_at": expires_at,
            "max_uses": max_uses,
            "member_id": member_id,
            "quota_bytes": quota_bytes,
            "quota_files": quota_files,
        }
        return self.write("POST", "/v1/keys", NewKey, value)

    @call
    def rotate_key(self, key_id: str, *, overlap_s: int = 86_400) -> Flow[NewKey]:
        """Make a key that takes the place of another, which goes on working for `overlap_s` seconds."""
        path = f"/v1/keys/{segment(key_id)}/rotate"
        return self.write("POST", path, NewKey, {"overlap_s": overlap_s})

    @call
    def revoke_key(self, key_id: str) -> Flow[None]:
        """Revoke an API key at once."""
        yield from self.change("DELETE", f"/v1/keys/{segment(key_id)}")

    @stream
    def list_audit(self) -> Emitting[AuditEntry]:
        """Iterate over the audit log, oldest first."""
        return self.pages("/v1/audit", AuditEntry)

    @stream
    def export_audit(self) -> Emitting[bytes]:
        """Iterate over the pieces of the whole audit log as JSON lines, which `muniment audit verify --file` checks."""
        return self.pieces("GET", "/v1/audit/export")
