"""Several organisations on one service, each doing whatever the API has, with its own ids and with those of the others.

Every name that an organisation gives carries its mark, and every id that it gets is remembered. So whatever leaks, in whichever field of
whichever route, is seen at once: an answer to one organisation must hold no mark and no id of another. And whatever an organisation does,
what the others see of themselves stays as it was: nothing is removed, changed or counted.

`MUNIMENT_TENANCY` is how many steps are taken in all.
"""

import itertools
import json
import os
import re

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.service.adversary.estate import NOT_OWNED, SOURCES, Estate, source_of

from muniment.accounts.permissions import Role

STEPS = int(os.environ.get("MUNIMENT_TENANCY", "300"))
STEPS_EACH = 100
ORGANIZATIONS = 3
IDS = {name for name in SOURCES if "/" not in name} - set(NOT_OWNED) | {"key"}
CHEAP = sorted(set(SOURCES.values()) - {"_commit"})
EVERYBODYS = {SOURCES[name] for name in NOT_OWNED}
UNSTEADY = re.compile(rb'"(last_used_at|uses|at|created_at|modified_at)":[0-9nul]+')
QUESTION = {
    "role": st.sampled_from(sorted(Role)),
    "number": st.integers(0, 10_000),
    "trick": st.sampled_from(["", "", "cursor", "name", "idempotency", "match", "none-match"]),
}
_numbers = itertools.count()


class Tenant:
    """An organisation as the model knows it.

    Attributes:
        mark: What only its own names hold.
        ids: What only it was given.
        cursors: Cursors that it was given.
        etags: ETags that it was given.
        seen: What it saw of itself when it was last asked.
    """

    def __init__(self, house):
        self.mark = f"t{next(_numbers):05}x{os.urandom(4).hex()}"
        self.owner = house.add(self.mark)
        self.keys = {role: house.tenants.key(self.mark, role) for role in Role}
        self.keys[Role.OWNER] = self.owner
        self.estate = Estate(house, self.mark)
        self.ids, self.cursors, self.etags, self.seen = set(), set(), set(), None
        self.pool = {}

    def learn(self, answer):
        """Remember what it was given."""
        if answer.media_type != "application/json" or answer.status >= 400:
            return
        self.etags.add(answer.header("etag"))
        for name, value in strings(answer.json()):
            if name in IDS and len(value) >= 8:
                self.ids.add(value)
            elif name == "next":
                self.cursors.add(value)

    def look(self, house):
        """Return what it sees of itself: every list and every plain resource."""
        shown = []
        for operation in house.operations:
            if operation.method == "GET" and not operation.parameters and operation.permission:
                if operation.path == "/v1/status":
                    continue  # the time of the disk, and how much of it is free
                answer = house.call("GET", operation.path, self.owner)
                self.learn(answer)
                shown.append((operation.path, answer.status, UNSTEADY.sub(b"", answer.body)))
        return shown


def strings(value, name=""):
    """Iterate over all strings in a JSON value, each with the name that it goes by."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item, name)
    elif isinstance(value, str):
        yield name, value


class Tenancy(RuleBasedStateMachine):
    """Organisations that try everything."""

    house = None
    steps = 0

    @initialize()
    def begin(self):
        self.tenants = [Tenant(self.house) for _ in range(ORGANIZATIONS)]
        self._make(self.tenants[0], "_commit")  # to archive takes a while
        for tenant in self.tenants:
            for source in CHEAP:
                self._make(tenant, source)

    @rule(who=st.integers(0, ORGANIZATIONS - 1), source=st.sampled_from(CHEAP))
    def make(self, who, source):
        """Make something new."""
        self._make(self.tenants[who], source)

    def _make(self, tenant, source):
        value = getattr(tenant.estate, source)()
        tenant.pool.setdefault(source, []).append(value)
        if source not in EVERYBODYS:
            tenant.ids.add(value)
        tenant.seen = None

    @rule(who=st.integers(0, ORGANIZATIONS - 1), **QUESTION)
    def ask_for_ones_own(self, who, **question):
        self._ask(self.tenants[who], self.tenants[who], **question)

    @rule(who=st.integers(0, ORGANIZATIONS - 1), by=st.integers(1, ORGANIZATIONS - 1), **QUESTION)
    def ask_for_what_is_anothers(self, who, by, **question):
        self._ask(self.tenants[who], self.tenants[(who + by) % ORGANIZATIONS], **question)

    @rule(who=st.integers(0, ORGANIZATIONS - 1), by=st.integers(1, ORGANIZATIONS - 1), **QUESTION)
    def ask_for_what_is_anothers_as_owner(self, who, by, **question):
        question["role"] = Role.OWNER
        self._ask(self.tenants[who], self.tenants[(who + by) % ORGANIZATIONS], **question)

    def _ask(self, tenant, other, role, number, trick):
        """Ask for anything, with whatever is known of the other."""
        Tenancy.steps += 1
        operation = self.house.operations[number % len(self.house.operations)]
        values = {}
        for name in operation.parameters:
            source = source_of(operation, name)
            pool = tenant.pool if name in NOT_OWNED else other.pool  # nobody uses another's mark
            held = pool.get(source) or tenant.pool.get(source) or ["0" * 32]
            values[name] = held[number % len(held)]
        query, headers = self._trick(trick, other)
        for victim in self.tenants:
            if victim is not tenant and victim.seen is None:
                victim.seen = victim.look(self.house)
        answer = tenant.estate.call(operation, tenant.keys[role], values, query, **headers)
        assert answer.status < 500, (operation.name, answer)
        asked = json.dumps([values, query, headers])
        self._check_nothing_of_others(tenant, answer, asked, operation)
        tenant.learn(answer)
        is_foreign = any(
            value in victim.ids
            for name, value in values.items()
            for victim in self.tenants
            if victim is not tenant and name not in NOT_OWNED
        )
        if is_foreign and operation.permission:
            assert answer.status in (400, 403, 404, 412, 415, 422), (operation.name, answer)
        if operation.method not in ("GET", "HEAD", "OPTIONS"):
            tenant.seen = None
            for victim in self.tenants:
                if victim is not tenant:
                    assert victim.look(self.house) == victim.seen, (operation.name, answer)

    @invariant()
    def everybody_sees_only_their_own(self):
        for tenant in getattr(self, "tenants", ()):
            if tenant.seen:
                for path, _status, body in tenant.seen:
                    self._check_text(tenant, body.decode("utf-8", "replace"), path, "")

    def _trick(self, trick, other):
        one = sorted(other.cursors)[:1] or [""]
        etag = sorted(filter(None, other.etags))[:1] or ['"x"']
        return {
            "": ("", {}),
            "cursor": (f"cursor={one[0]}&limit=2", {}),
            "name": (
                f"name={other.mark[:-3]}&match=partial&status=queued,pinning,pinned,failed",
                {},
            ),
            "idempotency": ("", {"idempotency_key": '"the same of all"'}),
            "match": ("", {"if_match": etag[0]}),
            "none-match": ("", {"if_none_match": etag[0]}),
        }[trick]

    def _check_nothing_of_others(self, tenant, answer, asked, operation):
        text = answer.body.decode("utf-8", "replace") + repr(answer.headers)
        self._check_text(tenant, text, operation.name, asked)

    def _check_text(self, tenant, text, where, asked):
        for other in self.tenants:
            if other is not tenant:
                for secret in (other.mark, *other.ids):
                    assert secret not in text or secret in asked, (where, secret, text[:2000])


@pytest.mark.slow
def test_nobody_sees_guesses_counts_or_deletes_what_is_anothers(house):
    Tenancy.house = house
    run_state_machine_as_test(
        Tenancy,
        settings=settings(
            max_examples=STEPS // STEPS_EACH + 2,
            stateful_step_count=STEPS_EACH,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{Tenancy.steps} requests")
