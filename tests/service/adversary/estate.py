"""Something of everything in one organisation, and how to ask for it by the name of a path's parameter."""

import base64
import random
import string
from types import MappingProxyType

from muniment.accounts.permissions import ROLES, Role

CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
FILE = b"what one organisation keeps, and another one never sees\n"
SOURCES = MappingProxyType(
    {
        "member_id": "_member",
        "key_id": "_key",
        "upload_id": "_upload",
        "/v1/pins/batch/{operation_id}": "_batch",
        "operation_id": "_operation",
        "commit_id": "_commit",
        "leaf": "_leaf",
        "name": "_document",
        "code": "_problem",
        "requestid": "_pin",
        "request_id": "_pin",
        "path": "_path",
    }
)
"""Where the object of a parameter comes from, by the beginning of a path that ends in it, or by its name.

A route with another parameter is walked by nobody, and a test fails, until it is added here.
"""

NOT_OWNED = ("path", "name", "leaf", "code")
"""Parameters that say which part of something, or what a new thing is to be called: they are everybody's."""

FORM = (
    "multipart/form-data; boundary=x",
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="form.txt"\r\n\r\nabc\r\n--x--\r\n',
)
BODIES = MappingProxyType(
    {
        "/v1/proofs": ("application/json", b"{}"),
        "/v1/restore": ("application/json", b"{}"),
        "/v1/pins/import": ("application/jsonl", b'{"cid":"%s"}\n' % CID.encode()),
    }
)
"""Bodies that their descriptions do not make plain."""


class Estate:
    """What an organisation of a house has; made anew where a request has used it up.

    Attributes:
        made: What there is to ask for, by where it came from.
    """

    def __init__(self, house, organization_id):
        self.house, self.organization_id = house, organization_id
        self.owner = house.tenants.owners[organization_id]
        self.made = {}
        name = base64.b64encode(f"{organization_id}.txt".encode()).decode()
        self._tus = {"tus_resumable": "1.0.0", "upload_metadata": f"filename {name}"}
        self._chance = random.Random(5)

    def ask(self, operation, key):
        """Ask for a thing that is there."""
        answer = self.call(operation, key, self.values(operation))
        if operation.method != "GET" and answer.status < 400:
            for name in operation.parameters:  # it may be gone, or another one by now
                self.made.pop(source_of(operation, name), None)
        return answer

    def ask_for_nothing(self, operation, key, nothing=None):
        """Ask for a thing of the same look that is not there."""
        return self.call(operation, key, nothing or self.nothing(operation))

    def values(self, operation):
        """Return something that is there for each parameter of a path."""
        for source in (source_of(operation, name) for name in operation.parameters):
            if source not in self.made:
                self.made[source] = getattr(self, source)()
        return {name: self.made[source_of(operation, name)] for name in operation.parameters}

    def nothing(self, operation):
        """Return something that looks the same, and is not there."""
        owned = self.owned_parameters(operation)
        return {
            name: self._unlike(value) if name in owned else value
            for name, value in self.values(operation).items()
        }

    def furnish(self):
        """Have everything that can be asked for."""
        for operation in self.house.operations:
            self.values(operation)

    def owned_parameters(self, operation):
        return [name for name in operation.parameters if name not in NOT_OWNED]

    def gives_away(self, operation, permissions):
        """Tell whether a request would give somebody permissions, or take them away, that the one who asks does not have."""
        body = self.house.body_of(operation)
        role = body[1].get("role") if body and isinstance(body[1], dict) else None
        concerned = set(self.owned_parameters(operation)) & {"member_id", "key_id"}
        return bool(role or concerned) and not ROLES[Role(role or Role.READER)] <= permissions

    def counts(self):
        """Return how much there is of everything that can be listed."""
        found = {}
        for operation in self.house.operations:
            if operation.method == "GET" and not operation.parameters and operation.permission:
                answer = self.house.call("GET", operation.path, self.owner)
                listed = answer.json() if answer.media_type == "application/json" else None
                if isinstance(listed, dict):
                    listed = listed.get("items", listed.get("results"))
                if isinstance(listed, list):
                    found[operation.path] = len(listed)
        return found

    def call(self, operation, key, values, query="", change=None, **more):
        """Ask for something as it has to be asked; `change` is what else stands in its body, where that is JSON."""
        body = self.house.body_of(operation)
        headers = dict(self._tus)
        if operation.path.startswith("/v1/tus"):
            headers |= {"content_type": "application/offset+octet-stream", "upload_offset": "0"}
            headers |= {"upload_length": "3", "x_http_method_override": "PATCH"}
            data = b"abc" if operation.method in ("POST", "PATCH") else b""
        elif operation.path.startswith("/v1/upload") and operation.method == "POST":
            headers["content_type"], data = FORM
        elif operation.path in BODIES:
            headers["content_type"], data = BODIES[operation.path]
        elif body is None or operation.method in ("GET", "HEAD"):
            data = b""
        else:
            data, headers["content_type"] = body[1], body[0]
            if not body[0].startswith("application/json"):
                data = str(data).encode()
            if isinstance(data, dict) and "cid" in data:
                data = data | {"cid": CID}
        if isinstance(data, dict) and "name" in data:
            data = data | {"name": f"of {self.organization_id}"}
        if isinstance(data, dict):
            data = data | (change or {})
        target = operation.target(values) + (f"?{query}" if query else "")
        return self.house.call(operation.method, target, key, data, **(headers | more))

    def _unlike(self, value):
        """Return a value of the same look, which begins alike: ids begin with a time."""
        is_hex = set(value) <= set("0123456789abcdef-")
        letters = "abcdef" if is_hex else string.ascii_lowercase

        def other(letter):
            for kind in (letters, string.ascii_uppercase, string.digits):
                if letter in kind:
                    return self._chance.choice(kind)
            return letter

        kept = len(value) * 2 // 3
        return value[:kept] + "".join(map(other, value[kept:]))

    def _made(self, method, path, status, field, body=b"", **headers):
        answer = self.house.call(method, path, self.owner, body, **headers)
        assert answer.status == status, (method, path, answer)
        return answer.json()[field]

    def _member(self):
        return self._made(
            "POST",
            "/v1/members",
            201,
            "member_id",
            {"name": f"M of {self.organization_id}", "role": "reader"},
        )

    def _key(self):
        body = {"name": f"K of {self.organization_id}", "role": "reader"}
        return self._made("POST", "/v1/keys", 201, "key_id", body)

    def _upload(self):
        answer = self.house.call("POST", "/v1/tus", self.owner, upload_length="3", **self._tus)
        assert answer.status == 201, answer
        return answer.header("location").rpartition("/")[2]

    def _operation(self):
        return self._made("POST", "/v1/catalog", 202, "operation_id")

    def _commit(self):
        commits = self._commits()
        if not commits:
            upload = self._made(
                "PUT",
                f"/v1/files/{self.organization_id}/archived.txt",
                201,
                "state",
                FILE + self.organization_id.encode(),
            )
            assert upload == "received"
            self._made("POST", "/v1/archive", 202, "operation_id")
            self.house.work("archive")
            commits = self._commits()
        return commits[0]["commit_id"]

    def _commits(self):
        return self.house.call("GET", "/v1/commits", self.owner).json()["items"]

    def _batch(self):
        body = {"items": [{"action": "pin", "cid": CID, "name": self.organization_id}]}
        return self._made("POST", "/v1/pins/batch", 202, "operation_id", body)

    def _leaf(self):
        return "0"

    def _document(self):
        return "manifest.json"

    def _problem(self):
        return "not-found"

    def _pin(self):
        return self._made(
            "POST", "/psa/pins", 202, "requestid", {"cid": CID, "name": self.organization_id}
        )

    def _path(self):
        return f"{self.organization_id}-{self._chance.randrange(10**9)}.txt"


def source_of(operation, name):
    """Return where the object of a parameter comes from."""
    beginning = operation.path.partition("{" + name + "}")[0] + "{" + name + "}"
    source = SOURCES.get(beginning, SOURCES.get(name))
    assert source, f"{operation.name}: no source of {name}"
    return source
