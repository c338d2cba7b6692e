"""The conformance suite of `AccountStore`: every adapter keeps these promises."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from muniment.accounts.api_keys import ApiKey, new_token
from muniment.accounts.audit import verify_chain
from muniment.accounts.organizations import Act, Member, Organization
from muniment.accounts.permissions import Permission, Role
from muniment.accounts.ports import AccountStore
from muniment.accounts.principals import PermissionDeniedError
from muniment.accounts.quotas import Amount, Quota, QuotaExceededError
from muniment.errors import ConflictError, MunimentError, NotFoundError

NOW = 1_800_000_000


def act(organization_id: str = "example", at: int = NOW) -> Act:
    """Return an act of the system."""
    return Act(organization_id, "system", at * 1_000_000, "request-1", "192.0.2.1")


def enter(
    store: AccountStore, organization_id: str = "example", quota: Quota | None = None
) -> None:
    """Add an organisation."""
    organization = Organization(organization_id, "An Example", NOW, quota or Quota())
    store.create_organization(act(organization_id), organization)


def new_key(store: AccountStore, organization_id: str = "example", **fields: object) -> ApiKey:
    """Add a key."""
    _token, key_id, digest = new_token(os.urandom)
    plain = ApiKey(key_id, organization_id, "a key", Role.ARCHIVIST, None, digest, NOW)
    key = replace(plain, **fields)  # type: ignore[arg-type]  # whatever a check wants
    store.add_key(act(organization_id), key)
    return key


def successor(old: ApiKey) -> ApiKey:
    """Return a key that takes the place of another one."""
    _token, key_id, digest = new_token(os.urandom)
    return old.successor(key_id, digest, NOW)


def refuses(error: type[MunimentError], function: Callable[..., object], *args: object) -> None:
    """Check that a call raises."""
    try:
        function(*args)
    except error:
        return
    raise AssertionError(f"{function.__name__} did not raise {error.__name__}")


def check_organizations(store: AccountStore) -> None:
    """Organisations are found again as they were added, once."""
    enter(store, quota=Quota(1000, 10))
    assert store.organization("example").quota == Quota(1000, 10)
    refuses(ConflictError, enter, store)
    refuses(NotFoundError, store.organization, "nobody")
    store.set_quota(act(), Quota(None, 5))
    assert store.organization("example").quota == Quota(None, 5)
    enter(store, "another")
    assert [o.organization_id for o in store.organizations()] == ["another", "example"]


def check_keys(store: AccountStore) -> None:
    """Keys are found by their id, and only in their own organisation."""
    enter(store)
    enter(store, "another")
    key = new_key(store, scopes=frozenset({Permission.FILES_READ}), expires_at=NOW + 5, max_uses=2)
    assert store.find_key(key.key_id) == key == store.key("example", key.key_id)
    assert store.find_key("A" * 12) is None
    refuses(NotFoundError, store.key, "another", key.key_id)
    refuses(NotFoundError, store.revoke_key, act("another"), key.key_id)
    assert store.keys("another") == []
    later = new_key(store, created_at=NOW + 1)
    assert store.keys("example") == [later, key]


def check_uses(store: AccountStore) -> None:
    """A key with a limit is used exactly as often, whoever asks at once; others are noted once a minute."""
    enter(store)
    limited = new_key(store, max_uses=5)
    with ThreadPoolExecutor(4) as threads:
        allowed = list(threads.map(lambda _: store.use_key(limited, NOW), range(20)))
    assert sum(allowed) == 5
    free = new_key(store)
    assert store.use_key(free, NOW)
    noted = store.key("example", free.key_id)
    assert noted.last_used_at == NOW
    assert store.use_key(noted, NOW + 10)
    assert store.key("example", free.key_id).last_used_at == NOW


def check_rotation(store: AccountStore) -> None:
    """The old key goes on for the overlap, but never longer than it would have."""
    enter(store)
    old, short = new_key(store), new_key(store, expires_at=NOW + 3)
    for key, end in ((old, NOW + 60), (short, NOW + 3)):
        new = store.rotate_key(act(), key.key_id, successor, ends_at=NOW + 60)
        assert store.key("example", key.key_id).expires_at == end
        assert store.key("example", new.key_id) == new
        assert new.is_usable_at(NOW)
    store.revoke_key(act(at=NOW + 1), old.key_id)
    assert not store.key("example", old.key_id).is_usable_at(NOW + 1)
    used_up = new_key(store, max_uses=1)
    store.use_key(used_up, NOW)
    for ended in (old, short, used_up):  # nothing that was ended comes back
        refuses(
            ConflictError,
            lambda key_id: store.rotate_key(act(at=NOW + 4), key_id, successor, ends_at=NOW + 90),
            ended.key_id,
        )


def check_members(store: AccountStore) -> None:
    """A member's role is that of every key of theirs; the last owner stays."""
    enter(store)
    for member_id, role in (("o", Role.OWNER), ("a", Role.ARCHIVIST)):
        store.add_member(act(), Member(member_id, "example", member_id, role, NOW))
    key = new_key(store, member_id="a")
    assert store.set_role(act(), "a", Role.READER).role is Role.READER
    assert store.key("example", key.key_id).role is Role.READER
    refuses(ConflictError, store.set_role, act(), "o", Role.ADMIN)
    refuses(ConflictError, store.remove_member, act(), "o")
    refuses(NotFoundError, store.set_role, act(), "z", Role.OWNER)
    refuses(NotFoundError, lambda: new_key(store, member_id="z"))
    refuses(ConflictError, lambda: new_key(store, member_id="a", role=Role.OWNER))

    def spare(member: Member) -> None:
        raise PermissionDeniedError(f"{member.member_id} is spared")

    refuses(PermissionDeniedError, store.set_role, act(), "a", Role.AUDITOR, spare)
    refuses(PermissionDeniedError, store.remove_member, act(), "a", spare)
    assert store.members("example")[0].role is Role.READER
    store.remove_member(act(), "a")
    assert store.key("example", key.key_id).revoked_at == NOW
    assert [member.member_id for member in store.members("example")] == ["o"]
    refuses(NotFoundError, store.member, "example", "a")
    assert store.member("example", "o").role is Role.OWNER
    actions = [(entry.action, entry.target) for entry in store.export_audit("example")]
    assert actions[-2:] == [("key.revoked", f"key:{key.key_id}"), ("member.removed", "member:a")]


def check_exact(store: AccountStore) -> None:
    """What a check has seen is what is changed, whoever changes the same at once."""
    enter(store)
    store.add_member(act(), Member("m", "example", "M", Role.READER, NOW))
    key = new_key(store, member_id="m", role=Role.READER)
    roles, seen = [Role.READER, Role.AUDITOR, Role.CONTRIBUTOR, Role.ARCHIVIST, Role.ADMIN], []

    def take_turn(turn: int) -> bool:
        def is_first(member: Member) -> None:
            if member.role is not Role.READER:
                raise ConflictError("somebody was faster")
            time.sleep(0.05)  # all the others come meanwhile
            seen.append(turn)

        with suppress(ConflictError):
            store.set_role(act(), "m", roles[turn], is_first)
            return True
        return False

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(take_turn, (1, 2, 3, 4))) == len(seen) == 1
        assert store.member("example", "m").role is roles[seen[0]]
        demoted = []

        def replaced_by(old: ApiKey) -> ApiKey:
            demoted.append(threads.submit(store.set_role, act(), "m", Role.READER))
            time.sleep(0.05)
            return successor(old)

        # A key that takes the place of another while its member is made something else is that, too.
        new = store.rotate_key(act(), key.key_id, replaced_by, ends_at=NOW + 60)
        demoted[0].result()
        assert store.key("example", new.key_id).role is Role.READER
        once = list(threads.map(lambda _: revoked_first(store, new), range(4)))
    assert sum(once) == 1


def revoked_first(store: AccountStore, key: ApiKey) -> bool:
    """Revoke a key that nobody has revoked; returns whether that was so."""

    def is_good(found: ApiKey) -> None:
        if found.revoked_at is not None:
            raise ConflictError("somebody was faster")
        time.sleep(0.02)

    with suppress(ConflictError):
        store.revoke_key(act(), key.key_id, is_good)
        return True
    return False


def check_quota(store: AccountStore) -> None:
    """The last free byte is promised to one of many who ask at once."""
    enter(store, quota=Quota(100, None))

    def ask(number: int) -> bool:
        with suppress(QuotaExceededError):
            store.reserve("example", f"upload-{number}", Amount(30, 1), NOW + 60)
            return True
        return False

    with ThreadPoolExecutor(4) as threads:
        granted = [n for n, got in enumerate(threads.map(ask, range(12))) if got]
    assert len(granted) == 3
    assert store.organization("example").reserved == Amount(90, 3)
    store.settle("example", f"upload-{granted[0]}", Amount(20, 1))
    store.settle("example", f"upload-{granted[0]}", Amount(20, 1))
    store.settle("example", f"upload-{granted[1]}", None)
    found = store.organization("example")
    assert (found.used, found.reserved) == (Amount(20, 1), Amount(30, 1))


def check_key_quota(store: AccountStore) -> None:
    """What a key brings counts against its own quota too, and goes on counting against that of the key that takes its place."""
    enter(store, quota=Quota(100, None))
    enter(store, "another")
    key, free = new_key(store, quota=Quota(60, 3)), new_key(store)

    def ask(number: int) -> bool:
        with suppress(QuotaExceededError):
            store.reserve("example", f"upload-{number}", Amount(25, 1), NOW + 60, key.key_id)
            return True
        return False

    with ThreadPoolExecutor(4) as threads:
        granted = [n for n, got in enumerate(threads.map(ask, range(8))) if got]
    assert len(granted) == 2
    assert store.key("example", key.key_id).reserved == Amount(50, 2)
    assert store.organization("example").reserved == Amount(50, 2)  # the refused left nothing
    new = store.rotate_key(act(), key.key_id, successor, ends_at=NOW + 60)
    store.settle("example", f"upload-{granted[0]}", Amount(20, 1))
    store.settle("example", f"upload-{granted[0]}", Amount(20, 1))
    store.settle("example", f"upload-{granted[1]}", None)
    for shared in (store.key("example", key.key_id), store.key("example", new.key_id)):
        assert (shared.quota, shared.used, shared.reserved) == (
            Quota(60, 3),
            Amount(20, 1),
            Amount(0, 0),
        )
    refuses(QuotaExceededError, store.reserve, "example", "a", Amount(41, 1), NOW, new.key_id)
    refuses(QuotaExceededError, store.reserve, "example", "a", Amount(81, 1), NOW, free.key_id)
    refuses(NotFoundError, store.reserve, "another", "a", Amount(1, 1), NOW, new.key_id)
    store.reserve("example", "a", Amount(40, 1), NOW, new.key_id)
    store.reserve("example", "b", Amount(40, 1), NOW, free.key_id)
    assert store.key("example", free.key_id).reserved == Amount(40, 1)
    assert store.organization("example").reserved == Amount(80, 2)


def check_made_keys(store: AccountStore) -> None:
    """What the keys bring that a key with a quota made counts against its quota as well, however many they are."""
    enter(store)
    maker, free = new_key(store, quota=Quota(100, None)), new_key(store)

    def made_by(maker_id: str, quota: Quota) -> ApiKey:
        key = replace(maker, key_id=new_token(os.urandom)[1], quota=quota)
        store.add_key(act(), key, maker_id=maker_id)
        return key

    first, second = made_by(maker.key_id, Quota(80, None)), made_by(maker.key_id, Quota(100, None))
    deep = made_by(first.key_id, Quota(None, 3))
    other = made_by(free.key_id, Quota())
    store.reserve("example", "a", Amount(60, 1), NOW, deep.key_id)
    for key, held in ((deep, 60), (first, 60), (maker, 60), (second, 0), (other, 0)):
        assert store.key("example", key.key_id).reserved.size_bytes == held
    refuses(QuotaExceededError, store.reserve, "example", "b", Amount(21, 1), NOW, first.key_id)
    refuses(QuotaExceededError, store.reserve, "example", "b", Amount(41, 1), NOW, second.key_id)
    store.reserve("example", "b", Amount(200, 1), NOW, other.key_id)
    store.settle("example", "a", Amount(50, 1))
    assert store.key("example", maker.key_id).used == Amount(50, 1)
    assert store.key("example", maker.key_id).reserved == Amount(0, 0)
    store.reserve("example", "c", Amount(50, 1), NOW, second.key_id)
    refuses(NotFoundError, made_by, "A" * 12, Quota())
    last = deep
    for _ in range(5):
        last = made_by(last.key_id, Quota(1, None))
    refuses(ConflictError, made_by, last.key_id, Quota(1, None))


def check_audit(store: AccountStore) -> None:
    """Every change is in the log, in one chain, with no secret in it; nobody else's is."""
    enter(store)
    enter(store, "another")
    with ThreadPoolExecutor(4) as threads:
        keys = list(threads.map(lambda _: new_key(store), range(8)))
    store.revoke_key(act(), keys[0].key_id)
    entries = list(store.export_audit("example"))
    assert verify_chain(entries)[0] == len(entries) == 10
    assert [entry.action for entry in entries[:2]] == ["organization.created", "key.created"]
    assert entries[-1].before == {"revoked_at": None}
    assert entries[-1].after == {"revoked_at": NOW}
    assert {entry.organization_id for entry in entries} == {"example"}
    assert store.audit("example", 3, 2) == entries[3:5]
    assert all(key.digest.hex() not in str(entries) for key in keys)


CHECKS = (
    check_organizations,
    check_keys,
    check_uses,
    check_rotation,
    check_members,
    check_exact,
    check_quota,
    check_key_quota,
    check_made_keys,
    check_audit,
)
"""Every check, called with a store that is empty."""
