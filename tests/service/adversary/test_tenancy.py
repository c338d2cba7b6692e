"""Several organisations on one service, each doing whatever the API has, with its own ids and with those of the others.

Every name that an organisation gives carries its mark, and every id that it gets is remembered. So whatever leaks, in whichever field of
whichever route, is seen at once: an answer to one organisation must hold no mark and no id of another. And whatever an organisation does,
all rows and files that are kept of the others stay as they were, and so does all that they see and count.

`MUNIMENT_TENANCY` is how many steps are taken in all: a step is one request of one organisation, of which the others must notice nothing.
"""

import json
import os
import random
import sys
from collections import Counter
from urllib.parse import urlencode

import pytest
from tests.service.adversary.estate import CID, NOT_OWNED, source_of
from tests.service.adversary.tenant import CHEAP, Tenant

from muniment.accounts.permissions import Role

STEPS = int(os.environ.get("MUNIMENT_TENANCY", "300"))
SEED = int(os.environ.get("MUNIMENT_TENANCY_SEED", "1"))
TURNS, ORGANIZATIONS = 20, 3
REFUSED = (400, 403, 404, 405, 412, 415, 422)
WORK = ("catalog", "archive", "verify", "ots-upgrade", "batch", "unpin")
KINDS = (("own", "done"), ("own", "refused"), ("foreign", "refused"), ("foreign", "done"))
TRICKS = ("", "", "cursor", "filter", "idempotency", "match", "none-match", "body", "stream")
LONG, NEVER_DONE = 5_000, {"POST /v1/archive/resume/{commit_id}"}  # no commit is unfinished here
QUESTIONS, WORKS = 15, 1 / 8
ROLES = (*[Role.OWNER] * len(Role), *Role)


class Tenancy:
    """New organisations of a house that try everything on each other.

    Attributes:
        done: How often each operation was asked for, on whose things, and whether it was done.
    """

    def __init__(self, house, chance, done):
        self.house, self._chance, self.done = house, chance, done
        self.tenants = [Tenant(house) for _ in range(ORGANIZATIONS)]
        for tenant in self.tenants:
            for source in ("_commit", *CHEAP):
                tenant.make(source)
            self._label(tenant)

    def take_a_turn(self):
        """One of them makes something new, and asks for anything; the others look before it and after it."""
        chance = self._chance
        tenant, other, last = chance.sample(self.tenants, ORGANIZATIONS)
        victims = [other, last]
        tenant.make(chance.choice(CHEAP))
        if chance.random() < WORKS:
            self._work(tenant, other, victims)
        seen = [self._look(victim) for victim in victims]
        for _ in range(QUESTIONS):
            self._ask(tenant, other, victims, chance)
        assert [self._look(victim) for victim in victims] == seen, tenant.asked[-QUESTIONS:]

    def _work(self, tenant, other, victims):
        """Have done in the background what an organisation began, a batch on the pins of another too."""
        self.house.work(*WORK)
        kept = kept_of(victims)
        for operation in self.house.operations:
            if operation.name in ("POST /v1/pins/batch", "POST /v1/archive", "POST /v1/catalog"):
                more = {"change": _body_of(operation, other, number=-1)}
                self._call(tenant, other, operation, tenant.owner, {}, "", more)
        self.house.work(*WORK)
        assert sorted(kept_of(victims) ^ kept) == []

    def _label(self, tenant):
        """Have a pin whose words are found in every list of words."""
        body = {"cid": CID, "name": tenant.mark, "tags": [tenant.mark], "group": tenant.mark}
        body["metadata"] = {tenant.mark: tenant.mark}
        answer = self.house.call("POST", "/v1/pins", tenant.owner, body)
        assert answer.status == 202, answer
        tenant.learn(answer)

    def _look(self, tenant):
        seen = tenant.look()
        for path, _status, body in seen:
            self._check_text(tenant, body.decode("utf-8", "replace"), path, "")
        return seen

    def _ask(self, tenant, other, victims, chance):
        """Ask for anything, with whatever is known of the other; nothing of the others may change."""
        operation, role = chance.choice(self.house.operations), chance.choice(ROLES)
        trick, is_foreign = chance.choice(TRICKS), chance.random() < 0.5
        number, values = chance.randrange(100), {}
        for name in operation.parameters:  # nobody uses another's mark
            holder = other if is_foreign and name not in NOT_OWNED else tenant
            values[name] = holder.one(source_of(operation, name), number)
        query, more = self._trick(trick, operation, other, number)
        writes = operation.method not in ("GET", "HEAD", "OPTIONS")
        kept = kept_of(victims) if writes else set()
        answer = self._call(tenant, other, operation, tenant.keys[role], values, query, more)
        foreign = any(
            value in victim.ids
            for name, value in values.items()
            for victim in victims
            if name not in NOT_OWNED
        )
        if foreign and operation.permission:
            assert answer.status in REFUSED, (operation.name, answer)
        if writes:
            changed = kept_of(victims) ^ kept
            assert not changed, (operation.name, answer, sorted(changed))
        outcome = "refused" if answer.status >= 400 else "done"
        self.done[operation.name, "foreign" if foreign else "own", outcome] += 1

    def _call(self, tenant, other, operation, key, values, query, more):
        answer = tenant.estate.call(operation, key, values, query, **more)
        assert answer.status < 500, (operation.name, answer)
        asked = json.dumps([operation.name, values, query, more])
        tenant.asked.append(asked)
        if "items" in more.get("change", {}):  # its results name what was asked for later, too
            tenant.named.update(item["request_id"] for item in more["change"]["items"])
        text = answer.body.decode("utf-8", "replace") + repr(answer.headers)
        self._check_text(tenant, text, operation.name, asked)
        tenant.learn(answer)
        return answer

    def _trick(self, trick, operation, other, number):
        """Return a query and more that try to get at what is another's."""
        etag = sorted(filter(None, other.etags))[:1] or ['"x"']
        cursors = sorted(other.cursors) or [""]
        match trick:
            case "cursor":
                return f"cursor={cursors[number % len(cursors)]}&limit=2", {}
            case "filter":
                return urlencode(_filters_of(operation, other, number)), {}
            case "idempotency":
                return "", {"idempotency_key": '"the same of all"'}
            case "match":
                return "", {"if_match": etag[0]}
            case "none-match":
                return "", {"if_none_match": etag[0]}
            case "body":
                return "", {"change": _body_of(operation, other, number)}
            case "stream":
                return "", {"accept": "text/event-stream", "last_event_id": "0"}
        return "", {}

    def _check_text(self, tenant, text, where, asked):
        for other in self.tenants:
            if other is not tenant:
                for secret in {other.mark, *other.ids} - tenant.named:
                    assert secret not in text or secret in asked, (where, secret, text[:2000])


def kept_of(tenants):
    """Return all that is kept of some tenants."""
    return set().union(*(tenant.kept() for tenant in tenants))


def _filters_of(operation, other, number):
    """Return one of the filters that a route has, made to find what is another's."""
    values = {
        "commit_id": other.one("_commit"),
        "name": other.mark,
        "path": f"/{other.mark}",
        "prefix": other.mark,
        "tag": other.mark,
        "group": other.mark,
        "metadata": json.dumps({other.mark: other.mark}),
        "meta": json.dumps({other.mark: other.mark}),
        "cid": CID,
        "digest": other.one("digest"),
        "after": "0",
        "kind": "archive",
        "format": "csv",
    }
    named = [
        one["name"] for one in operation.described.get("parameters", ()) if one["in"] == "query"
    ]
    known = [name for name in named if name in values]
    if not known:
        return {}
    chosen = known[number % len(known)]
    more = {"match": "partial"} if chosen == "name" and "match" in named else {}
    return {chosen: values[chosen]} | more


def _body_of(operation, other, number):
    """Return what names another's things in a body."""
    pin = other.one("_pin", number)
    items = [
        {"action": "unpin", "request_id": pin},
        {"action": "change", "request_id": pin, "name": "changed"},
        {"action": "replace", "request_id": pin, "cid": CID},
    ]
    restorations = [{"commit_id": other.one("_commit")}, {"paths": [f"/{other.mark}/*"]}]
    return {
        "POST /v1/keys": {"member_id": other.one("_member", number)},
        "POST /v1/pins/batch": {"items": items, "atomic": number % 2 == 1},
        "POST /v1/restore": restorations[number % 2] | {"format": "tar"},
    }.get(operation.name, {})


@pytest.mark.slow
def test_nobody_sees_guesses_counts_or_deletes_what_is_anothers(house):
    done, chance = Counter(), random.Random(SEED)
    while done.total() < STEPS:
        tenancy = Tenancy(house, chance, done)
        for _ in range(TURNS):
            tenancy.take_a_turn()
        told = f"tenancy on {house.kind}: {done.total()} of {STEPS} steps"
        print(told, file=sys.stderr, flush=True)
    tell(house, done)


def tell(house, done):
    """Say what was asked; in a long run everything was, with ids of one's own and of others."""
    asked = {kind: {name for name, whose, how in done if (whose, how) == kind} for kind in KINDS}
    print(f"\nsummary: {house.kind}: {done.total()} steps, {house.asked} requests, 0 findings")
    for kind, names in asked.items():
        count = sum(number for (_name, *how), number in done.items() if tuple(how) == kind)
        print(f"summary:   {' '.join(kind)}: {count} steps, {len(names)} operations")
    never = sorted({one.name for one in house.operations} - asked["own", "done"])
    print(f"summary:   never done: {', '.join(never) or 'nothing'}")
    if done.total() >= LONG:
        owned = {one.name for one in house.operations if one.permission and _owned(one)}
        assert sorted(owned - asked["foreign", "refused"]) == [], (
            "never asked for what is another's"
        )
        assert set(never) <= NEVER_DONE


def _owned(operation):
    return set(operation.parameters) - set(NOT_OWNED)
