"""Proofs of many files, and a commit's own files, over HTTP: whoever has no key can check everything."""

import json

import pytest
from blake3 import blake3
from tests.service.test_http_archive import Office

from muniment.accounts.permissions import Role
from muniment.archive import canonical, record
from muniment.archive import manifest as manifests
from muniment.archive.proof import check_proof
from muniment.errors import FormatError, IntegrityError

LETTERS = {f"letters/{number}.txt": b"Dear Ana %d" % number for number in range(5)}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUNIMENT_CALENDARS", "")
        patch.setenv("MUNIMENT_WORKERS", "1")
        office = Office(tmp_path_factory.mktemp("proofs") / "home")
        with office.service.worker():
            yield fill(office)
        office.close()


def fill(office):
    for name, data in LETTERS.items():
        office.put(name, data)
    office.archive()
    office.put("later.txt", b"later")
    office.put("empty", b"")
    office.archive()
    return office


def proofs(office, **wanted):
    answer = office.client.post("/v1/proofs", json=wanted)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


def manifest_of(office, commit_id):
    answer = office.client.get(f"/v1/commits/{commit_id}/documents/manifest.json")
    found = manifests.decode(answer.content)
    manifests.verify_signature(found)
    return found


def test_every_file_is_proven_without_keys(office):
    found = proofs(office)
    assert [(view["commit_id"], view["disclosed"]["leaf"]) for view in found] == sorted(
        (view["commit_id"], view["disclosed"]["leaf"]) for view in found
    )
    contents = LETTERS | {"later.txt": b"later", "empty": b""}
    proven = {}
    for view in found:
        file = check_proof(view, manifest_of(office, view["commit_id"]))
        assert (b"/" + file.scanned.path).hex() == view["path_hex"]
        assert view["path_bytes"].partition("/")[2] in contents
        proven[view["path_bytes"].partition("/")[2]] = (file.scanned.size, file.digest)
    assert proven == {name: (len(data), blake3(data).digest()) for name, data in contents.items()}


def test_one_proof_is_the_same_wherever_it_is_asked_for(office):
    (file,) = office.client.get("/v1/files", params={"name": "later.txt"}).json()["items"]
    (view,) = proofs(office, path_bytes=[file["path_bytes"]])
    assert view.pop("path_bytes") == file["path_bytes"]
    assert office.client.get(file["address"] + "/proof").json() == view
    assert len(proofs(office, commit_id=file["commit_id"])) == 2


def test_nothing_else_passes_as_a_proof(office):
    view = proofs(office, paths=["*.txt"])[0]
    manifest = manifest_of(office, view["commit_id"])
    others = {line["commit_id"] for line in proofs(office)} - {view["commit_id"]}
    other, leaf = manifest_of(office, others.pop()), view["disclosed"]["leaf"]
    check_proof(view, manifest)
    with pytest.raises(IntegrityError):
        check_proof(view, other)
    for path, value in (
        (("disclosed", "fields", "blake3"), "00" * 32),
        (("disclosed", "fields", "path_hex"), b"elsewhere".hex()),
        (("disclosed", "fields", "mode"), 0o777),
        (("disclosed", "salts", "size"), "00" * 32),
        (("disclosed", "leaf"), leaf + 1),
        (("ciphertext_hash",), "blake3:" + "00" * 32),
        (("merkle_proof", "siblings"), []),
        (("merkle_proof", "leaf_index"), leaf + 1),
        (("merkle_proof", "leaf_index"), -1),
        (("merkle_proof",), None),
        (("disclosed",), {}),
    ):
        changed = json.loads(json.dumps(view))
        place = changed
        for name in path[:-1]:
            place = place[name]
        assert place[path[-1]] != value
        place[path[-1]] = value
        with pytest.raises(IntegrityError):
            check_proof(changed, manifest)


def test_a_proof_that_hides_a_field_does_not_prove_the_file(office):
    view = proofs(office, paths=["*.txt"])[0]
    disclosed = view["disclosed"]
    value = canonical.encode(disclosed["fields"].pop("size"))
    salt = bytes.fromhex(disclosed["salts"].pop("size"))
    disclosed["hidden"]["size"] = record.commitment(salt, "size", value).hex()
    with pytest.raises(FormatError, match="hidden"):
        check_proof(view, manifest_of(office, view["commit_id"]))


def test_what_is_erased_is_told_of_and_the_others_are_proven(office):
    view = next(v for v in proofs(office) if v["path_bytes"].endswith("/3.txt"))
    commit_id, leaf = view["commit_id"], view["disclosed"]["leaf"]
    archive = office.service.archives.get("one")
    path = archive.store.path(commit_id) / "keys.age"
    before = path.read_bytes()
    path.write_bytes(archive.seal_keyring(archive.open_keyring(commit_id).without([leaf])))
    try:
        found = proofs(office, commit_id=commit_id)
        assert len(found) == len(LETTERS)
        (gone,) = (view for view in found if "problem" in view)
        assert (gone["leaf_index"], gone["erased"]) == (leaf, True)
        path.write_bytes(b"damaged")
        found = proofs(office, commit_id=commit_id)
        assert [view["erased"] for view in found] == [False] * len(LETTERS)
    finally:
        path.write_bytes(before)


def test_who_may_ask(office):
    assert office.stranger.post("/v1/proofs", json={}).status_code == 404
    assert office.as_role(Role.AUDITOR).post("/v1/proofs", json={}).status_code == 200
    assert office.as_role(Role.CONTRIBUTOR).post("/v1/proofs", json={}).status_code == 403
    assert office.client.post("/v1/proofs", json={"paths": ["nothing"]}).status_code == 404
    assert office.client.post("/v1/proofs", json={"commit_id": "none"}).status_code == 404
    assert office.client.post("/v1/proofs", json={"format": "tar"}).status_code == 400


def test_sealed_files_are_handed_out_whole_and_in_parts(office):
    commit_id = proofs(office)[0]["commit_id"]
    archive = office.service.archives.get("one")
    for file in manifest_of(office, commit_id).sealed:
        address = f"/v1/commits/{commit_id}/documents/{file.name}"
        data = (archive.store.path(commit_id) / file.name).read_bytes()
        answer = office.client.get(address)
        assert answer.content == data
        assert answer.headers["etag"] == f'"{file.blake3}"'
        part = office.client.get(address, headers={"range": "bytes=3-9"})
        assert (part.status_code, part.content) == (206, data[3:10])
        assert part.headers["content-range"] == f"bytes 3-9/{len(data)}"
        beyond = office.client.get(address, headers={"range": f"bytes={len(data)}-"})
        assert beyond.status_code == 416
        assert office.stranger.get(address).status_code == 404
    for name in ("keys.age", "%2E%2E%2Fx", "nothing", "manifest.json.ots"):
        address = f"/v1/commits/{commit_id}/documents/{name}"
        assert office.client.get(address).status_code == 404
