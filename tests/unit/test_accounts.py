"""Keys, permissions, quotas, rate limits and the audit chain, without a database."""

import itertools
import os
from dataclasses import replace

import http_sf
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.accounts.api_keys import ApiKey, check_key, new_token, parse_token
from muniment.accounts.audit import FIRST, AuditEntry, verify_chain
from muniment.accounts.permissions import ROLES, Permission, Role, parse_scopes
from muniment.accounts.principals import AuthenticationError, PermissionDeniedError
from muniment.accounts.quotas import Allowance, Amount, Quota, QuotaExceededError, check_room
from muniment.accounts.rate_limits import MemoryRateCounters, RatePolicy, decide
from muniment.errors import IntegrityError, UsageError

NOW = 1_800_000_000


def make_key(role=Role.ARCHIVIST, **changes):
    token, key_id, digest = new_token(os.urandom)
    return token, replace(ApiKey(key_id, "example", "a key", role, None, digest, NOW), **changes)


def test_a_key_opens_with_its_token_alone():
    token, key = make_key()
    key_id, digest = parse_token(token)
    assert key_id == key.key_id
    assert check_key(key, digest, NOW) is key
    other, _ = make_key()
    with pytest.raises(AuthenticationError):
        check_key(key, parse_token(other)[1], NOW)
    with pytest.raises(AuthenticationError):
        check_key(None, digest, NOW)


@given(st.data())
def test_a_mistyped_key_is_noticed_before_it_is_looked_up(data):
    token, _ = make_key()
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[place]))
    with pytest.raises(AuthenticationError):
        parse_token(token[:place] + letter + token[place + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        {"revoked_at": NOW},
        {"expires_at": NOW},
        {"expires_at": NOW - 1},
        {"max_uses": 3, "uses": 3},
    ],
)
def test_a_key_ends(change):
    token, key = make_key(**change)
    with pytest.raises(AuthenticationError):
        check_key(key, parse_token(token)[1], NOW)


def test_scopes_never_give_more_than_the_role():
    _, key = make_key(Role.READER, scopes=frozenset({Permission.FILES_READ, Permission.KEYS_WRITE}))
    assert key.permissions == {Permission.FILES_READ}
    principal = key.principal()
    principal.require(Permission.FILES_READ)
    with pytest.raises(PermissionDeniedError):
        principal.require(Permission.KEYS_WRITE)
    for names in ([], ["files:read", "files:eat"]):
        with pytest.raises(UsageError):
            parse_scopes(names)


def test_only_owners_change_the_organisation_and_nobody_but_admins_makes_keys():
    may = {
        permission: {role for role in Role if permission in ROLES[role]}
        for permission in Permission
    }
    assert may[Permission.ORGANIZATION_WRITE] == {Role.OWNER}
    assert may[Permission.KEYS_WRITE] == may[Permission.MEMBERS_WRITE] == {Role.OWNER, Role.ADMIN}
    assert Role.AUDITOR not in may[Permission.FILES_READ]
    assert Role.CONTRIBUTOR not in may[Permission.FILES_LIST] | may[Permission.FILES_READ]


def entries(count):
    made = []
    for number in range(1, count + 1):
        previous = made[-1].hash if made else FIRST
        fields = ("key:a", "key.created", f"key:{number}", None, {"name": "n\u00e4me"}, "", "cli")
        made.append(AuditEntry("example", number, NOW + number, *fields, previous).sealed())
    return made


def test_a_chain_holds_and_can_be_checked_in_parts():
    whole = entries(5)
    count, last = verify_chain(whole)
    assert (count, last) == (5, whole[-1].hash)
    _, middle = verify_chain(whole[:2])
    assert verify_chain(whole[2:], middle) == (3, last)
    with pytest.raises(IntegrityError):
        verify_chain([])


@given(st.integers(0, 4), st.sampled_from(["change", "drop", "swap", "number", "hash"]))
def test_every_change_of_a_chain_is_found(place, how):
    chain = entries(6)
    last = chain[-1].hash
    match how:
        case "change":
            chain[place] = msgspec.structs.replace(chain[place], actor="key:b")
        case "drop":
            del chain[place]
        case "swap":
            chain[place], chain[place + 1] = chain[place + 1], chain[place]
        case "number":
            chain[place] = msgspec.structs.replace(chain[place], number=9).sealed()
        case "hash":
            chain[place] = msgspec.structs.replace(chain[place], action="key.revoked").sealed()
    with pytest.raises(IntegrityError):
        assert verify_chain(chain)[1] == last


def test_quotas_count_what_was_promised():
    quota = Quota(100, 2)
    almost = Allowance("key", quota, Amount(90, 1))
    check_room(Amount(10, 1), almost)
    with pytest.raises(QuotaExceededError, match="100 bytes, of which 10 are free"):
        check_room(Amount(11, 1), almost)
    full = Allowance("organisation", quota, Amount(0, 2))
    with pytest.raises(QuotaExceededError, match="organisation is 2 files, of which 0 are free"):
        check_room(Amount(0, 1), full)
    with pytest.raises(QuotaExceededError) as both:
        check_room(Amount(11, 1), full, almost)
    assert [of in str(both.value) for of in ("of the organisation", "of the key")] == [True, True]
    check_room(Amount(10**18, 1), Allowance("key", Quota(), Amount(10**18, 10**9)))


@given(
    st.integers(1, 20),
    st.integers(1, 60),
    st.lists(st.floats(0, 30), max_size=60),
)
def test_no_window_ever_passes_more_than_twice_the_quota(requests, window_s, pauses_s):
    policy, full_at, now, passed = RatePolicy("p", requests, window_s), 0.0, 1000.0, []
    for pause_s in pauses_s:
        now += pause_s
        decision, full_at = decide(policy, full_at, now)
        assert 0 <= decision.remaining <= requests
        if decision.is_allowed:
            passed.append(now)
            if decision.remaining < requests:  # `t` never lies either, nor is it later than need be
                later, _ = decide(policy, full_at, now + decision.reset_s, cost=0)
                assert later.remaining > decision.remaining
                sooner, _ = decide(policy, full_at, now + decision.reset_s - 1.01, cost=0)
                assert decision.reset_s == 1 or sooner.remaining == decision.remaining
        else:
            assert decision.reset_s >= 1
            later, _ = decide(policy, full_at, now + decision.reset_s)
            assert later.is_allowed  # Retry-After never lies
    for start in passed:
        within = [at for at in passed if start <= at < start + window_s]
        # A whole bucket at once, and what trickles in meanwhile.
        assert len(within) <= 2 * requests


def test_a_full_bucket_can_be_spent_at_once_and_clients_do_not_share_it():
    counters, policy = MemoryRateCounters(clients_max=4), RatePolicy("p", 3, 60)
    decisions = [counters.take(policy, "a", 50.0) for _ in range(4)]
    assert [d.is_allowed for d in decisions] == [True, True, True, False]
    assert [d.remaining for d in decisions] == [2, 1, 0, 0]
    assert decisions[3].reset_s == 20
    assert decisions[0].header == '"p";r=2;t=20'
    assert policy.header == '"p";q=3;w=60'
    assert counters.take(policy, "b", 50.0).is_allowed
    for client in map(str, itertools.islice(itertools.count(), 50)):
        counters.take(policy, client, 51.0)
    assert len(counters._full_at) <= 4


@given(st.integers(1, 10**9), st.integers(1, 86_400), st.integers(0, 9), st.floats(0, 10))
def test_the_fields_are_what_the_draft_says(requests, window_s, before, later_s):
    """draft-ietf-httpapi-ratelimit-headers, sections 3 and 4, read by somebody else's parser of structured fields (RFC 9651)."""
    policy = RatePolicy("per key", requests, window_s)
    full_at = 0.0
    for _ in range(before):
        _, full_at = decide(policy, full_at, 1000.0)
    decision, _ = decide(policy, full_at, 1000.0 + later_s)
    (item,) = http_sf.parse(policy.header.encode(), tltype="list")
    assert item == ("per key", {"q": requests, "w": window_s})
    (item,) = http_sf.parse(decision.header.encode(), tltype="list")
    name, parameters = item
    assert (name, type(name)) == ("per key", str)
    assert parameters == {"r": decision.remaining, "t": decision.reset_s}
    assert 0 <= parameters["r"] <= requests
    assert 0 <= parameters["t"] <= window_s


def test_a_clock_that_goes_back_shuts_nobody_out_for_longer_than_a_window():
    policy = RatePolicy("p", 2, 10)
    _, full_at = decide(policy, 0.0, 1_000_000.0)
    _, full_at = decide(policy, full_at, 1_000_000.0)
    decision, full_at = decide(policy, full_at, 5.0)
    assert not decision.is_allowed
    assert decide(policy, full_at, 5.0 + decision.reset_s)[0].is_allowed
    assert decision.reset_s <= 10
