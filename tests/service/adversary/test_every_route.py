"""Every route as everybody: every role, every single scope, every useless key, nobody at all, and a stranger from elsewhere.

What there is comes from the route table and from the description of the API, so a new route is walked without being named here. What it
needs beyond that is an object for each parameter of its path: `Estate` says where such objects come from.
"""

import pytest
from tests.service.adversary.estate import Estate

from muniment.accounts.permissions import ROLES, Permission, Role

OWN, OTHER = "own", "other"


def expected(permission, permissions):
    """The outcome, from the table of permissions alone: what a key without the permission gets, and what one gets that has it."""
    if permission is None:
        return "answer"
    if permissions is None:
        return "unauthenticated"
    return "answer" if permission in permissions else "forbidden"


def outcome(answer):
    """What an answer says about who asked."""
    code = problem_of(answer).get("code", "")
    if answer.status == 401:
        assert code in ("unauthenticated", ""), answer
        assert answer.header("www-authenticate").startswith("Bearer")
        return "unauthenticated"
    return "forbidden" if answer.status == 403 else "answer"


def problem_of(answer):
    return answer.json() if answer.media_type == "application/problem+json" else {}


@pytest.fixture(scope="module")
def estate(house):
    for organization_id in (OWN, OTHER):
        house.add(organization_id)
    return Estate(house, OWN)


def test_every_route_is_described_and_every_description_is_a_route(house):
    described = {
        (method.upper(), path)
        for path, operations in house.description["paths"].items()
        for method in operations
        if method in ("get", "head", "post", "put", "patch", "delete", "options")
    }
    routes = {key for key, (_permission, is_described) in house.routes.items() if is_described}
    assert described == routes
    assert routes, "there are no routes"


def test_every_route_as_everybody(house, estate):
    """Nobody without a good key gets in; whoever has one gets what the table says, and nothing fails."""
    keys = {"no key": ("", None)}
    keys |= {
        kind: (key, None)
        for kind, key in house.tenants.useless_keys(OWN).items()
        if kind != "used up"
    }
    keys |= {role: (house.tenants.key(OWN, role), ROLES[role]) for role in Role}
    keys |= {
        f"only {scope}": (house.tenants.key(OWN, Role.OWNER, scope), frozenset({scope}))
        for scope in Permission
    }
    keys["used up"] = (house.tenants.useless_keys(OWN)["used up"], None)
    wrong = []
    for operation in house.operations:
        for who, (key, permissions) in keys.items():
            answer = estate.ask(operation, key)
            got, wanted = outcome(answer), expected(operation.permission, permissions)
            if (
                got == "forbidden"
                and wanted == "answer"
                and estate.gives_away(operation, permissions)
            ):
                continue  # to give somebody a role, or a key, takes all that it holds
            if got != wanted or answer.status >= 500:
                wrong.append(
                    f"{operation.name} as {who}: {got} ({answer.status}), expected {wanted}"
                )
    assert not wrong, "\n".join(wrong)


def test_who_is_refused_learns_nothing(house, estate):
    """All useless keys read alike; and who may not do a thing learns nothing about what there is."""
    useless = house.tenants.useless_keys(OWN)
    wrong = []
    for operation in house.operations:
        if operation.permission is None:
            continue
        told = {bare(estate.ask(operation, key)) for key in useless.values()}
        if len(told) != 1:
            wrong.append(f"{operation.name} tells useless keys apart: {told}")
        weak = house.tenants.key(OTHER, Role.OWNER, *(set(Permission) - {operation.permission}))
        if bare(estate.ask(operation, weak)) != bare(estate.ask_for_nothing(operation, weak)):
            wrong.append(f"{operation.name} tells who may not ask what there is")
    assert not wrong, "\n".join(wrong)


def test_an_owner_reaches_everything(house, estate):
    """What the tests above ask for is there, and is asked for as it has to be: else they would show nothing."""
    wrong = []
    for operation in house.operations:
        answer = estate.ask(operation, estate.owner)
        if (
            answer.status in (400, 401, 403, 404, 405, 406, 411, 412, 415, 422)
            or answer.status >= 500
        ):
            wrong.append(f"{operation.name}: {answer.status} {answer.body[:200]}")
    assert not wrong, "\n".join(wrong)


def test_a_stranger_cannot_tell_what_there_is(house, estate):
    """What another organisation has, and what nobody has, give the same answer, byte for byte."""
    stranger, wrong = house.tenants.owners[OTHER], []
    estate.furnish()
    before = estate.counts()
    for operation in house.operations:
        if operation.permission is None or not estate.owned_parameters(operation):
            continue
        owned = estate.owned_parameters(operation)
        values, nothing = estate.values(operation), estate.nothing(operation)
        there = bare(estate.ask(operation, stranger), values, owned)
        nowhere = bare(estate.ask_for_nothing(operation, stranger, nothing), nothing, owned)
        if there != nowhere:
            wrong.append(f"{operation.name}:\n  {there}\n  {nowhere}")
        elif there[0] < 400:
            wrong.append(f"{operation.name}: a stranger got {there}")
    assert not wrong, "\n".join(wrong)
    assert estate.counts() == before, "a stranger changed something"


def test_what_is_anothers_costs_what_nothing_costs(house, estate):
    """The same statements are sent to the database, so that the time taken tells as little as the answer."""
    stranger, wrong = house.tenants.owners[OTHER], []
    estate.furnish()
    for operation in house.operations:
        if operation.permission is None or not estate.owned_parameters(operation):
            continue
        values, nothing = estate.values(operation), estate.nothing(operation)
        estate.ask_for_nothing(operation, stranger, nothing)  # the key is remembered from here on
        with house.statements() as there:
            estate.ask_for_nothing(operation, stranger, values)
        with house.statements() as nowhere:
            estate.ask_for_nothing(operation, stranger, nothing)
        if there != nowhere:
            wrong.append(f"{operation.name}:\n  {there}\n  {nowhere}")
    assert not wrong, "\n".join(wrong)


def bare(answer, values=None, parameters=()):
    """An answer without what differs between any two: its request's id, and the ids that were asked for."""
    headers = dict(answer.headers)
    body = answer.body.decode("utf-8", "surrogateescape").replace(
        headers.pop("x-request-id", "\0"), "-"
    )
    headers.pop("ratelimit", None)
    headers.pop("date", None)
    for name in parameters:
        body = body.replace(values[name], f"<{name}>")
    if values:
        headers.pop("content-length", None)
    return answer.status, tuple(sorted(headers.items())), body
