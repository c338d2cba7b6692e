"""A service with organisations, called in this process, and what its own description says can be asked of it."""

import json
import os
import re
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from unittest.mock import patch
from urllib.parse import quote

from sqlalchemy import event, inspect

from muniment.accounts.permissions import Permission
from muniment.accounts.quotas import Quota
from muniment.adapters.sql.statements import Statements
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app
from muniment.entrypoints.http.authentication import permission_of
from muniment.jobs.handlers import Handlers
from muniment.jobs.model import JobState
from muniment.jobs.worker import Worker
from muniment.service_jobs.pinning import PIN
from muniment.testing.asgi import AsgiCaller
from muniment.testing.tenants import Tenants

DESCRIPTION = "/v1/openapi.json"
_PARAMETER = re.compile(r"{([^{}]+)}")
_OPEN = [state for state in JobState if not state.is_end]
_WORK_S = 120


@dataclass(frozen=True)
class Operation:
    """One method of one path, with the permission that the route table gives it; None for a public one."""

    method: str
    path: str
    permission: Permission | None
    described: dict

    @property
    def name(self):
        return f"{self.method} {self.path}"

    @property
    def parameters(self):
        return _PARAMETER.findall(self.path)

    def target(self, values):
        return _PARAMETER.sub(lambda match: quote(values[match[1]], safe=""), self.path)


class House:
    """A service in `folder`, in the database at `url` if one is given.

    Attributes:
        kind: The kind of its database.
        asked: How many requests were made.
    """

    def __init__(self, folder, url="", **settings):
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "database": url,
            "rate_per_minute": 10**9,
            "failures_per_minute": 10**9,
            "disk_reserve_bytes": 0,
        } | settings
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        (folder / "service.toml").write_text("".join(lines))
        self.kind, self.asked = "postgresql" if url else "sqlite", 0
        self.service = Service(folder)
        self.app = create_app(self.service)
        self.tenants = Tenants(self.service.operator, self.service.accounts)
        self._closing = ExitStack()
        self.caller = self._closing.enter_context(AsgiCaller(self.app))
        self._closing.callback(self.service.close)

    def close(self):
        self.app.stop()
        self._closing.close()

    def add(self, organization_id, **quota):
        """Make an organisation, whose archive asks no calendar; returns its owner's key."""
        key = self.tenants.add(organization_id, Quota(**quota))
        with open(self.service.organization_home(organization_id) / "config.toml", "a") as config:
            config.write("calendars = []\nworkers = 1\n")
        return key

    def work(self, *kinds):
        """Have a worker do jobs until none of these kinds is left that anybody began, or none at all."""
        known = self.service.handlers
        left_out = (
            (PIN,) if kinds and PIN not in kinds else ()
        )  # nobody has the content of most pins
        handlers = Handlers({kind: known[kind] for kind in known if kind not in left_out})
        with Worker(self.service.jobs, handlers, name=f"worker-{os.urandom(8).hex()}"):
            deadline = time.monotonic() + _WORK_S
            while any(
                self.service.jobs.jobs(organization_id, states=_OPEN, kinds=kinds, limit=1)
                for organization_id in self.tenants.owners
            ):
                assert time.monotonic() < deadline, "the work does not end"
                time.sleep(0.02)

    def call(self, method, target, key="", body=b"", **headers):
        """Make a request; a body that is no bytes is sent as JSON."""
        self.asked += 1
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            fields["authorization"] = f"Bearer {key}"
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("content-type", "application/json")
        if method in ("POST", "PUT", "PATCH") and not body:
            fields.setdefault("content-length", "0")
        return self.caller.call(method, target, fields, body)

    @contextmanager
    def statements(self):
        """Note the statements that are sent to the service's database, without those of the key's own last use."""
        noted, engine = [], self.service.database._engine

        def note(statement):
            if "api_keys" not in statement:
                noted.append(statement)

        def note_of_core(_connection, _cursor, statement, *_more):
            note(statement)

        def noting(method):
            def noting_method(statements, sql, *values):
                note(sql)
                return method(statements, sql, *values)

            return noting_method

        with ExitStack() as stack:
            event.listen(engine, "before_cursor_execute", note_of_core)
            stack.callback(event.remove, engine, "before_cursor_execute", note_of_core)
            for name in ("rows", "run", "run_many"):  # which go straight to the driver
                method = noting(getattr(Statements, name))
                stack.enter_context(patch.object(Statements, name, method))
            yield noted

    @cached_property
    def description(self):
        answer = self.caller.call("GET", DESCRIPTION)
        assert answer.status == 200, answer
        return answer.json()

    @cached_property
    def routes(self):
        """The route table: permission by (method, path as OpenAPI writes it)."""
        table = {}
        for route in _litestar(self.app).routes:
            for handler in getattr(route, "route_handlers", []):
                for method in getattr(handler, "http_methods", ()):
                    if method != "OPTIONS" or "permission" in handler.opt:
                        table[str(method), route.path_format] = (
                            permission_of(handler),
                            handler.resolve_include_in_schema(),
                        )
        return table

    @cached_property
    def owned_tables(self):
        """The tables of the service's database whose rows belong to organisations."""
        found = inspect(self.service.database._engine)
        return [
            table
            for table in found.get_table_names()
            if any(column["name"] == "organization_id" for column in found.get_columns(table))
        ]

    @cached_property
    def operations(self):
        """Everything that can be asked."""
        return [
            Operation(
                method,
                path,
                permission,
                self.description["paths"].get(path, {}).get(method.lower(), {}),
            )
            for (method, path), (permission, _is_described) in sorted(self.routes.items())
        ]

    def resolve(self, schema):
        """Follow a reference of the description."""
        while "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = self.description["components"]["schemas"][name]
        return schema

    def body_of(self, operation):
        """Return media type and value of a body that the operation takes: its example, else the smallest; None if it takes none."""
        contents = operation.described.get("requestBody", {}).get("content", {})
        for media_type, content in contents.items():
            examples = content.get("examples", {})
            for example in examples.values():
                return media_type, example["value"]
            return media_type, self.smallest(content.get("schema", {}))
        return None

    def smallest(self, schema):
        """Return the smallest value that a schema allows."""
        schema = self.resolve(schema)
        for key in ("oneOf", "anyOf", "allOf"):
            if key in schema:
                return self.smallest(schema[key][0])
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        if "enum" in schema:
            # The least of the roles: a key may not give away more than it has.
            return "reader" if "reader" in schema["enum"] else schema["enum"][0]
        types = schema.get("type", "object")
        match types if isinstance(types, str) else types[0]:
            case "object":
                properties = schema.get("properties", {})
                return {
                    name: self.smallest(properties[name]) for name in schema.get("required", [])
                }
            case "array":
                return [self.smallest(schema["items"])] * schema.get("minItems", 0)
            case "string":
                return "a" * schema.get("minLength", 0)
            case "integer" | "number":
                return schema.get("minimum", 0)
            case "boolean":
                return False
        return None


def _litestar(app):
    """Find the application with the routes behind what stands in front of it."""
    while not hasattr(app, "routes"):
        app = app._app
    return app
