"""What a key may pass on: never more than it has itself, and nothing that concerns those who may do more."""

from dataclasses import replace

from muniment.accounts.api_keys import ApiKey
from muniment.accounts.permissions import ROLES, Role
from muniment.accounts.principals import PermissionDeniedError
from muniment.accounts.quotas import Quota


def check_rank(actor: ApiKey, role: Role) -> None:
    """Check that a key may act on members and keys of a role: an admin on all but owners.

    Raises:
        PermissionDeniedError: The role may do something that the key's own may not.
    """
    if not ROLES[role] <= ROLES[actor.role]:
        raise PermissionDeniedError(
            f"this key may not act on {role} members or keys: it is {actor.role} itself"
        )


def limited_by(maker: ApiKey, wanted: ApiKey) -> ApiKey:
    """Return a key that another one may make, or put in the place of one that is there.

    Where it names no end, number of uses or quota, it has those of its maker.

    Raises:
        PermissionDeniedError: It may do something that its maker may not, for longer, more often, or with more room.
    """
    check_rank(maker, wanted.role)
    if excess := wanted.permissions - maker.permissions:
        raise PermissionDeniedError(
            f"this key may not pass on what it lacks itself: {', '.join(sorted(excess))}; name the scopes that it has"
        )
    uses_left = None if maker.max_uses is None else max(1, maker.max_uses - maker.uses)
    return replace(
        wanted,
        expires_at=_within("expires_at", wanted.expires_at, maker.expires_at),
        max_uses=_within("max_uses", wanted.max_uses, uses_left),
        quota=Quota(
            _within("quota_bytes", wanted.quota.size_bytes, maker.quota.size_bytes),
            _within("quota_files", wanted.quota.files, maker.quota.files),
        ),
    )


def _within(name: str, wanted: int | None, limit: int | None) -> int | None:
    if limit is not None and wanted is not None and wanted > limit:
        raise PermissionDeniedError(
            f"this key may not pass on more than it has: expected {name} of at most {limit}, got {wanted}"
        )
    return limit if wanted is None else wanted
