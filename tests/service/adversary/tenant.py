"""What a model of several organisations knows of one of them: its marks, its ids, and all that is kept of it."""

import itertools
import os
import re

from tests.service.adversary.estate import NOT_OWNED, SOURCES, Estate

from muniment.accounts.permissions import Role
from muniment.adapters.sql.statements import Statements

CHEAP = sorted(set(SOURCES.values()) - {"_commit"})
EVERYBODYS = {SOURCES[name] for name in NOT_OWNED}
UNSTEADY = re.compile(rb'"(last_used_at|uses|at|created_at|modified_at)":[0-9nul]+')
SECRETS = ("key", "requestid", "merkle_root", "manifest_sha256", "commit_cid", "address")
POOLS = {name: SOURCES[name] for name in SOURCES if name.endswith("id")}
FOLDERS = ("organizations", "uploads", "incoming")
_numbers = itertools.count()


class Tenant:
    """An organisation as the model knows it.

    Attributes:
        mark: What only its own names hold; it is its id as well.
        keys: A key of each role.
        estate: What it makes, and how it asks.
        ids: What only it was given.
        named: Ids of others that it was made to name where answers repeat them later.
        pool: Ids of what it has or had, by where they came from.
        asked: What it asked, in words.
        cursors: Cursors that it was given.
        etags: ETags that it was given.
    """

    def __init__(self, house):
        self.house = house
        self.mark = f"t{next(_numbers):05}x{os.urandom(4).hex()}"
        self.owner = house.add(self.mark)
        self.keys = {role: house.tenants.key(self.mark, role) for role in Role}
        self.keys[Role.OWNER] = self.owner
        self.estate = Estate(house, self.mark)
        self.ids, self.named, self.cursors, self.etags = set(), set(), set(), set()
        self.pool, self.asked = {}, []

    def make(self, source):
        """Make something new."""
        value = getattr(self.estate, source)()
        self.pool.setdefault(source, []).append(value)
        if source not in EVERYBODYS:
            self.ids.add(value)

    def one(self, source, number=-1):
        """Return the id of something that it has or had."""
        held = self.pool.get(source) or ["0" * 32]
        return held[number % len(held)]

    def learn(self, answer):
        """Remember what it was given."""
        if answer.media_type != "application/json" or answer.status >= 400:
            return
        self.etags.add(answer.header("etag"))
        for name, value in strings(answer.json()):
            if name == "next":
                self.cursors.add(value)
            elif (name in POOLS or name in SECRETS) and len(value) >= 8:
                self.ids.add(value)
                held = self.pool.setdefault(POOLS.get(name, name), [])
                if (
                    value not in held and name != "key_id"
                ):  # nobody takes away the keys that it asks with
                    held.append(value)

    def look(self):
        """Return what it sees of itself: every list, every count and every plain resource."""
        shown = []
        for operation in self.house.operations:
            if operation.method == "GET" and not operation.parameters and operation.permission:
                if operation.path == "/v1/status":
                    continue  # the time of the disk, and how much of it is free
                answer = self.house.call("GET", operation.path, self.owner)
                self.learn(answer)
                shown.append((operation.path, answer.status, UNSTEADY.sub(b"", answer.body)))
        return shown

    def kept(self):
        """Return all that is kept of it: every row of the service's database, and every file."""
        found = set(self._files())
        with self.house.service.database.transaction() as connection:
            statements = Statements(connection, self.house.service.database.dialect)
            for table in self.house.owned_tables:
                query = f"SELECT * FROM {table} WHERE organization_id = ?"
                found |= {(table, repr(row)) for row in statements.rows(query, self.mark)}
        return found

    def _files(self):
        for folder in FOLDERS:
            for place, _folders, names in os.walk(self.house.service.home / folder / self.mark):
                for name in names:
                    if (
                        ".sqlite3" in name
                    ):  # it changes when it is closed; what is in it is seen by looking
                        continue
                    seen = os.stat(os.path.join(place, name))
                    yield place, name, seen.st_size, seen.st_mtime_ns


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
