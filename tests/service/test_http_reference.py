"""docs/reference/http.md says what the tables of the code say."""

import re
from pathlib import Path

from muniment.accounts.permissions import ROLES, Permission, Role
from muniment.entrypoints.http.front import (
    HEADER_BYTES_MAX,
    HEADER_FIELDS_MAX,
    PATH_BYTES_MAX,
    QUERY_BYTES_MAX,
    QUERY_FIELDS_MAX,
)

PAGE = (Path(__file__).parents[2] / "docs/reference/http.md").read_text("utf-8")


def test_every_role_may_what_its_row_says():
    for role, permissions in ROLES.items():
        row = re.search(rf"^\| {role} \| (.+) \|$", PAGE, re.MULTILINE)[1]
        named = {Permission(name) for name in re.findall(r"`([a-z]+:[a-z]+)`", row)}
        if row.startswith("everything"):
            named = frozenset(Permission) - named
        assert named == permissions, role
    assert len(ROLES) == len(Role)


def test_limits_are_those_of_the_code():
    assert PATH_BYTES_MAX == QUERY_BYTES_MAX == 8 * 1024
    assert f"8 KiB; 8 KiB and {QUERY_FIELDS_MAX} fields" in PAGE
    assert f"{HEADER_FIELDS_MAX}, and {HEADER_BYTES_MAX // 1024} KiB of them" in PAGE
