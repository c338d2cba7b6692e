"""Clients that do whatever a service has, and send everything again until they know what became of it."""

import base64
import hashlib
import random
import time

import httpx

PATIENCE_S = 180
_TUS = {"tus-resumable": "1.0.0"}
_PAUSE_S = 0.1
_FILE_BYTES = (3, 1_000, 50_000, 400_000)


class Client:
    """A client that knows what was acknowledged, and what is only known to have begun.

    Attributes:
        brought: Digest of each file that was acknowledged, by path.
        begun: The same of each file of which is only known that its upload had begun.
        started: Operations that were acknowledged.
        batches: Those of them that change many pins, with the number of their items.
        cancelled: Those of them that were to end before their time.
        pinned: Pins that were acknowledged, and not removed since.
        keys: Keys that were acknowledged, by whether they were revoked.
        acts: How often it did each thing.
    """

    def __init__(self, url, key, number, cids):
        self._http = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=30, trust_env=False
        )
        self._chance, self._number, self._count = random.Random(number), number, 0
        self._cids = cids
        self.brought, self.begun = {}, {}
        self.started, self.batches, self.cancelled = set(), {}, set()
        self.pinned, self.keys = set(), {}
        self.retries, self.acts = 0, {}

    def close(self):
        self._http.close()

    def run(self, operations, after_each):
        """Do so many things, by chance."""
        acts = {
            self.bring: 5,
            self.bring_in_parts: 3,
            self.bring_in_forms: 3,
            self.archive: 2,
            self.verify: 2,
            self.pin: 4,
            self.unpin: 1,
            self.pin_many: 2,
            self.cancel: 2,
            self.make_key: 1,
        }
        with self._http:
            for act in self._chance.choices(list(acts), list(acts.values()), k=operations):
                act()
                self.acts[act.__name__] = self.acts.get(act.__name__, 0) + 1
                after_each()

    def bring(self):
        path, data = self._file()
        answer = self._ask("PUT", f"/v1/files/{path}", (201,), content=data)
        kept = self.brought if answer is not None else self.begun
        kept[path] = _digest(data)

    def bring_in_parts(self):
        path, data = self._file()
        name = base64.b64encode(path.encode()).decode()
        headers = {"upload-length": str(len(data)), "upload-metadata": f"filename {name}"} | _TUS
        answer = self._ask("POST", "/v1/tus", (201,), headers=headers)
        if answer is None:
            return  # it was made, and nobody knows its name: it ends by itself one day
        where, offset = answer.headers["location"], 0
        while offset < len(data):
            size = self._chance.randrange(1, len(data) // 2 + 1)
            part = {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
            try:
                answer = self._http.patch(
                    where, headers=part | _TUS, content=data[offset : offset + size]
                )
            except httpx.TransportError:
                answer = None
            if answer is None or answer.status_code != 204:
                self.retries += 1
                time.sleep(_PAUSE_S)
                answer = self._ask("HEAD", where, (200,), headers=_TUS)
            offset = int(answer.headers["upload-offset"])
        self.brought[path] = _digest(data)

    def bring_in_forms(self):
        """Send a form of several files; what was refused, or never told of, may have come all the same."""
        files = dict(self._file() for _ in range(self._chance.randrange(1, 4)))
        form = [("file", (path, data)) for path, data in files.items()]
        answer = self._ask("POST", "/v1/upload", (201, 207), files=form)
        told = answer.json()["items"] if answer is not None else []
        received = {item["path"] for item in told if "upload" in item}
        for path, data in files.items():
            (self.brought if path in received else self.begun)[path] = _digest(data)

    def archive(self):
        self._start("/v1/archive")

    def verify(self):
        commits = self._ask("GET", "/v1/commits?limit=20", (200,)).json()["items"]
        stored = [commit["commit_id"] for commit in commits if commit["state"] == "stored"]
        if stored:
            self._start(f"/v1/commits/{self._chance.choice(stored)}/verify")

    def cancel(self):
        if self.started:
            operation_id = self._chance.choice(sorted(self.started))
            self._ask("POST", f"/v1/operations/{operation_id}/cancel", (200,))
            self.cancelled.add(operation_id)

    def pin(self):
        answer = self._ask("POST", "/psa/pins", (202,), json=self._pin())
        if answer is not None:
            self.pinned.add(answer.json()["requestid"])

    def unpin(self):
        if self.pinned:
            request_id = self._chance.choice(sorted(self.pinned))
            self._ask("DELETE", f"/psa/pins/{request_id}", (202,))
            self.pinned.remove(request_id)

    def pin_many(self):
        items = [{"action": "pin"} | self._pin() for _ in range(self._chance.randrange(1, 20))]
        body = {"items": items, "atomic": self._chance.random() < 0.5}
        operation_id = self._start("/v1/pins/batch", json=body)
        if operation_id:
            self.batches[operation_id] = len(items)

    def make_key(self):
        answer = self._ask("POST", "/v1/keys", (201,), json={"name": "a key", "role": "reader"})
        if answer is not None:
            key_id = answer.json()["key_id"]
            self.keys[key_id] = False
            if self._chance.random() < 0.5:
                self._ask("DELETE", f"/v1/keys/{key_id}", (204,))
                self.keys[key_id] = True

    def _start(self, path, **more):
        answer = self._ask("POST", path, (202,), **more)
        if answer is None:
            return None
        operation_id = answer.json()["operation_id"]
        self.started.add(operation_id)
        return operation_id

    def _pin(self):
        self._count += 1
        return {"cid": self._chance.choice(self._cids), "name": f"pin {self._number}-{self._count}"}

    def _file(self):
        self._count += 1
        size = self._chance.choice(_FILE_BYTES)
        return f"{self._number}/{self._count}.bin", self._chance.randbytes(size)

    def _ask(self, method, path, wanted, headers=None, **more):
        """Ask until there is an answer; None if it is only known that it was done."""
        headers = {"idempotency-key": f'"{self._chance.randbytes(8).hex()}"'} | (headers or {})
        deadline, told = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, path, headers=headers, **more)
            except httpx.TransportError as error:
                told = repr(error)
            else:
                if answer.status_code in wanted:
                    return answer
                told = f"{answer.status_code} {answer.text}"
                if answer.status_code == 409 and "took effect" in answer.text:
                    return None
                assert answer.status_code in (409, 423, 429, 503), f"{method} {path}: {told}"
            self.retries += 1
            time.sleep(_PAUSE_S)
        raise AssertionError(f"{method} {path} was never answered: {told}")


def _digest(data):
    return hashlib.sha256(data).hexdigest()
