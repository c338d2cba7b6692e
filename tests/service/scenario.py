"""Runs the scenario of which the API's description shows the requests and the answers."""

import json
import re
import tempfile
import time
import tomllib
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote, urlencode

from tests.service.adversary.house import House

from muniment.entrypoints.http import contract

FOLDER = Path(contract.__file__).parent
RECORDED = FOLDER / "recorded.json"
SHOWN_FIELDS = (
    "accept-ranges",
    "content-disposition",
    "content-range",
    "etag",
    "link",
    "location",
    "tus-checksum-algorithm",
    "tus-extension",
    "tus-max-size",
    "tus-resumable",
    "tus-version",
    "upload-expires",
    "upload-length",
    "upload-metadata",
    "upload-offset",
)
HOME = "/srv/muniment"
_WORK_S = 60
_PLACE = re.compile(r"{([a-z_]+)}")
_SECRET = re.compile(r"mnk_\w+")
_RANDOM = re.compile(
    r"\b(?=[a-z]*[A-Z0-9])[0-9A-Za-z]{12}\b|[\w+/]{32,}=*|[0-9a-f-]{36}|[0-9a-f]{12,}|\b(?:baf|Qm|12D3)\w{20,}"
    r"|\d{8}T\d{6}Z-[a-z0-9]+|\d{4}-\d\d-\d\dT[\d:.]+Z|\d{4}-\d\d-\d\d|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|(?<=cursor=)[\w%-]+|SHA256:[\w/+]+|mnk_\w+|\d{4,}"
)


def steps():
    return tomllib.loads((FOLDER / "scenario.toml").read_text("utf-8"))["step"]


def run(folder, url=""):
    """Do every step in a new service; returns what is to be recorded."""
    house = House(folder, url, public_url="https://archive.example.org")
    try:
        key, known = house.add("example"), {}
        return [_do(house, key, step, known) for step in steps()]
    finally:
        house.close()


def like(value):
    """Return a value without what differs in every run: ids, digests and sizes of what is encrypted, times, progress, and the order of what came at once."""
    if isinstance(value, dict):
        return {
            like(name): name if name == "progress" else like(item) for name, item in value.items()
        }
    if isinstance(value, list):
        return sorted((like(item) for item in value), key=json.dumps)
    if isinstance(value, str):
        return _RANDOM.sub("*", value)
    return 0 if isinstance(value, int) and value >= 1000 else value


def _do(house, key, step, known):
    method, path = step["operation"].split(" ")
    parameters = _filled(step.get("parameters", {}), known)
    for name in _PLACE.findall(path):
        parameters.setdefault(name, known.get(name))
    query = {name: value for name, value in parameters.items() if f"{{{name}}}" not in path}
    target = _PLACE.sub(lambda match: quote(str(parameters[match[1]])), path)
    target += f"?{urlencode(query, doseq=True)}" if query else ""
    request = {"parameters": parameters, "headers": step.get("headers", {})}
    for name in ("body", "text", "media_type"):
        if name in step:
            request[name] = _filled(step[name], known)
    answer = house.call(method, target, key, **_sent(request))
    assert answer.status < 400, (step["operation"], answer)
    if "work" in step:
        _work(house, key, answer.json().get("operation_id", ""), step["work"])
    shown = _shown(answer, house.service.home)
    given = step.get("gives", {})
    for name, place in given.items():
        known[name] = _value(shown["body"], place)
    return {
        "operation": step["operation"],
        "request": request,
        "answer": {"status": answer.status} | shown,
        "gives": given,
    }


def _sent(request):
    fields = {name.replace("-", "_"): value for name, value in request["headers"].items()}
    if "text" in request:
        return fields | {"body": request["text"].encode(), "content_type": request["media_type"]}
    return fields | ({"body": request["body"]} if "body" in request else {})


def _filled(value, known):
    if isinstance(value, dict):
        return {name: _filled(item, known) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, known) for item in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda match: str(known.get(match[1], match[0])), value)
    return value


def _shown(answer, home):
    headers = {name: value for name, value in answer.headers if name in SHOWN_FIELDS}
    shown = {"headers": headers, "media_type": answer.media_type}
    if answer.media_type.endswith("json"):
        return shown | {"body": json.loads(_text(answer, home))}
    is_text = answer.media_type.startswith("text/") or answer.media_type.endswith("jsonl")
    return shown | ({"text": _text(answer, home)} if answer.body and is_text else {})


def _text(answer, home):
    """Return a body as it would be from a service in its usual place, without a key that opens anything."""
    text = _SECRET.sub("mnk_this_is_an_example_and_opens_nothing", answer.body.decode())
    return text.replace(str(home), HOME).replace(bytes(home).hex()[2:], HOME.encode().hex()[2:])


def _value(body, place):
    for part in place.removeprefix("$response.body#/").split("/"):
        body = body[int(part) if isinstance(body, list) else part]
    return body


def _work(house, key, operation_id, how):
    if how == "done":
        house.work()
        return
    assert how == "interrupted"
    full = OSError("the disk is full")
    broken = patch("muniment.adapters.par2.Par2Program.create", side_effect=full)
    with broken as create, house.service.worker():
        until = time.monotonic() + _WORK_S
        while not create.called:
            assert time.monotonic() < until, house.service.jobs.jobs("example")
            time.sleep(0.02)
    house.call("POST", f"/v1/operations/{operation_id}/cancel", key)


def record():
    """Write the answers of a new run beside the scenario."""
    with tempfile.TemporaryDirectory(prefix="muniment-examples-") as folder:
        recorded = run(Path(folder) / "home")
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n", "utf-8")


def read_recorded():
    """Return what was recorded last."""
    return json.loads(RECORDED.read_text("utf-8"))
