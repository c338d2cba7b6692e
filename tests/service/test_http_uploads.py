"""Uploads over HTTP: names, digests, preconditions, forms, lists, deleting; each on both databases."""

import base64
import hashlib
import os

import pytest
from litestar.testing import TestClient

from muniment.accounts.audit import verify_chain
from muniment.accounts.organizations import Act
from muniment.accounts.permissions import Role
from muniment.accounts.quotas import Amount, Quota
from muniment.bootstrap.operator import own_act
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app

DATA = b"some content\n" * 1000
TUS = {"tus-resumable": "1.0.0"}
CHUNK = TUS | {"content-type": "application/offset+octet-stream"}


def b64(data):
    return base64.b64encode(data).decode()


class Desk:
    """A service, and clients of one organisation and a strange one."""

    def __init__(self, home, url=""):
        home.mkdir(exist_ok=True)
        (home / "service.toml").write_text(f"database = {url!r}\ndisk_reserve_bytes = 0\n")
        self.home, self.service = home, Service(home)
        key, _ = self.service.operator.create_organization("example", "An Example", recovery=False)
        other, _ = self.service.operator.create_organization("other", "Another", recovery=False)
        self._app = create_app(self.service)
        self.client, self.stranger = self._client(key), self._client(other)

    def as_role(self, role):
        return self._client(self.service.operator.create_key("example", "a key", role))

    def _client(self, key):
        client = TestClient(self._app, base_url="http://muniment.test")
        client.headers["authorization"] = f"Bearer {key}"
        return client

    def put(self, path, data=DATA, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.put(f"/v1/files/{path}", content=data, headers=headers)

    def create(self, size, metadata=b"a", **more):
        headers = TUS | {"upload-length": str(size), "upload-metadata": f"filename {b64(metadata)}"}
        return self.client.post("/v1/tus", headers=headers | more)

    def append(self, location, offset, data, **more):
        headers = CHUNK | {"upload-offset": str(offset)} | more
        return self.client.patch(location, content=data, headers=headers)

    def offset(self, location):
        answer = self.client.head(location, headers=TUS)
        assert answer.status_code == 200, answer.headers
        return int(answer.headers["upload-offset"])

    def stored(self):
        """All files that wait to be archived, without the folder of the day."""
        root = self.home / "uploads" / "example"
        found = {}
        for folder, _folders, names in os.walk(os.fsencode(root)):
            for name in names:
                path = os.path.join(folder, name)
                place = os.path.relpath(path, os.fsencode(root)).partition(b"/")[2]
                with open(path, "rb") as file:
                    found[place] = file.read()
        return found

    def check_room(self, *sizes):
        """Nothing arrives any more, and these sizes are what is held."""
        assert not [path for path in (self.home / "incoming").rglob("*") if path.is_file()]
        organization = self.service.accounts.organization("example")
        assert organization.used == Amount(sum(sizes), len(sizes))
        assert organization.reserved == Amount()
        verify_chain(self.service.accounts.export_audit("example"))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "service")
    yield desk
    desk.service.close()


@pytest.fixture
def each_desk(tmp_path, database_url):
    """A desk on each kind of database, for what they could do in different ways."""
    desk = Desk(tmp_path / "service", "" if "sqlite" in database_url else database_url)
    yield desk
    desk.service.close()


def code(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


def test_a_file_is_stored_byte_for_byte_and_name_for_name(each_desk):
    desk = each_desk
    answer = desk.put("a/caf%E9%20%FF.txt")
    assert answer.status_code == 201, answer.text
    view = answer.json()
    assert view["path_bytes"] == "a/caf%E9%20%FF.txt"
    assert view["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert desk.put("empty", b"").json()["size_bytes"] == 0
    assert desk.stored() == {b"a/caf\xe9 \xff.txt": DATA, b"empty": b""}
    desk.check_room(len(DATA), 0)
    assert desk.client.get(f"/v1/uploads/{view['upload_id']}").json() == view
    assert code(desk.stranger.get(f"/v1/uploads/{view['upload_id']}")) == (404, "not-found")


@pytest.mark.parametrize("path", ["..%2F..%2Fetc%2Fpasswd", "a/..%2Fb", "a%00b", "%2E%2E/a", "%2F"])
def test_a_path_out_of_the_folder_is_refused(desk, path):
    assert desk.put(path).status_code in (400, 404, 405)
    assert desk.stored() == {}
    desk.check_room()


def test_two_files_of_one_name_stay_two(each_desk):
    desk = each_desk
    for number in range(5):
        assert desk.put("a.txt", b"%d" % number).status_code == 201
    assert desk.put("A.txt").status_code == 201
    for name in ("%C3%A4", "a%CC%88"):  # one letter, written in two ways
        assert desk.put(name, name.encode()).status_code == 201
    stored = desk.stored()
    assert len(stored) == 8
    assert {stored[b"a.txt"], *(stored[b"a (%d).txt" % n] for n in range(2, 6))} == {
        b"%d" % number for number in range(5)
    }


def test_where_something_else_lies_another_place_is_found(desk):
    first = desk.put("a").json()
    place = desk.service.receiver.store.get("example", first["upload_id"]).place
    squatter = desk.home / "uploads/example" / os.fsdecode(place.replace(b"/a", b"/b"))
    squatter.write_bytes(b"of somebody else")
    assert desk.put("b").status_code == 201
    assert desk.stored() == {b"a": DATA, b"b": b"of somebody else", b"b (2)": DATA}


def test_a_file_cannot_be_a_folder_as_well(each_desk):
    desk = each_desk
    assert desk.put("a").status_code == 201
    answer = desk.put("a/b")
    assert code(answer) == (409, "conflict")
    assert "'a' is a file already" in answer.json()["detail"]
    assert desk.put("c/d").status_code == 201
    assert code(desk.put("c")) == (409, "conflict")
    desk.check_room(len(DATA), len(DATA))


@pytest.mark.parametrize(
    ("header", "good", "bad"),
    [
        ("x_sha256", hashlib.sha256(DATA).hexdigest(), "0" * 64),
        ("content_md5", b64(hashlib.md5(DATA).digest()), b64(bytes(16))),
        ("content_digest", f"sha-256=:{b64(hashlib.sha256(DATA).digest())}:", f"sha-256=:{b64(bytes(32))}:"),
        ("repr_digest", f"md2=:AA==:, sha-512=:{b64(hashlib.sha512(DATA).digest())}:", f"sha-512=:{b64(bytes(64))}:"),
    ],
)  # fmt: skip
def test_an_announced_digest_has_to_hold(desk, header, good, bad):
    assert code(desk.put("a", **{header: bad})) == (422, "checksum-mismatch")
    desk.check_room()
    assert desk.put("a", **{header: good}).status_code == 201
    assert desk.put("b", **{header: "nonsense!"}).status_code == 400
    assert desk.stored() == {b"a": DATA}
    desk.check_room(len(DATA))


def test_requests_that_are_no_whole_file_are_refused(desk):
    assert code(desk.put("a", content_range="bytes 0-5/10")) == (400, "bad-request")
    assert code(desk.put("a", content_encoding="gzip")) == (415, "unsupported-media-type")
    answer = desk.client.put("/v1/files/a", content=iter([DATA]))  # chunked
    assert code(answer) == (411, "length-required")
    desk.check_room()


def test_if_none_match_refuses_a_path_that_waits(each_desk):
    desk = each_desk
    assert desk.put("a", if_none_match="*").status_code == 201
    assert code(desk.put("a", if_none_match="*")) == (412, "precondition-failed")
    assert code(desk.put("a", if_none_match='"x"')) == (400, "bad-request")
    assert desk.put("a").status_code == 201
    desk.check_room(len(DATA), len(DATA))


def test_room_is_reserved_before_a_byte_is_read(each_desk):
    desk = each_desk
    desk.service.operator.set_quota("example", Quota(len(DATA), 10))
    assert code(desk.put("a", DATA + b"x")) == (413, "quota-exceeded")
    assert desk.put("a").status_code == 201
    assert code(desk.put("b", b"x")) == (413, "quota-exceeded")
    desk.check_room(len(DATA))


def test_a_key_holds_no_more_than_its_own_quota(each_desk):
    desk = each_desk
    wanted = {
        "name": "an import",
        "role": "contributor",
        "quota_bytes": len(DATA),
        "quota_files": 1,
    }
    made = desk.client.post("/v1/keys", json=wanted).json()
    assert (made["quota_bytes"], made["used"]) == (len(DATA), {"size_bytes": 0, "files": 0})

    def put(key, path, data=DATA):
        headers = {"authorization": f"Bearer {key['key']}"}
        return desk.client.put(f"/v1/files/{path}", content=data, headers=headers)

    def held(key):
        view = desk.client.get(f"/v1/keys/{key['key_id']}").json()
        assert view["reserved"] == {"size_bytes": 0, "files": 0}
        return view["used"]

    assert code(put(made, "a", DATA + b"x")) == (413, "quota-exceeded")
    upload_id = put(made, "a").json()["upload_id"]
    desk.service.operator.set_quota("example", Quota(len(DATA), None))
    refused = put(made, "b", b"x")
    assert code(refused) == (413, "quota-exceeded")
    assert "the quota of the organisation is" in refused.json()["detail"]
    assert "the quota of the key is" in refused.json()["detail"]
    desk.service.operator.set_quota("example", Quota())
    assert desk.put("others").status_code == 201  # another key has room
    rotated = desk.client.post(f"/v1/keys/{made['key_id']}/rotate", json={}).json()
    assert rotated["used"] == held(rotated) == {"size_bytes": len(DATA), "files": 1}
    assert code(put(rotated, "b", b"x")) == (413, "quota-exceeded")
    assert desk.client.delete(f"/v1/uploads/{upload_id}").status_code == 204
    assert held(rotated) == held(made) == {"size_bytes": 0, "files": 0}
    assert put(rotated, "b").status_code == 201
    desk.check_room(len(DATA), len(DATA))


def test_a_disk_without_room_is_told_beforehand(desk):
    answer = desk.create(1 << 39)  # more than this disk has, and less than a file may have
    if answer.status_code == 201:
        pytest.skip("this disk has room for half a tebibyte")
    assert code(answer) == (507, "storage-full")
    desk.check_room()


def test_a_list_can_be_narrowed_and_paged(each_desk):
    desk = each_desk
    for name in ("a/1", "a/2", "b/1", "a%FF"):
        desk.put(name)
    kept = desk.create(5).headers["location"].rpartition("/")[2]

    def listed(**query):
        answer = desk.client.get("/v1/uploads", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert len(listed()["items"]) == 5
    assert {item["path"] for item in listed(prefix="a/")["items"]} == {"a/1", "a/2"}
    assert [item["upload_id"] for item in listed(state="receiving")["items"]] == [kept]
    first = listed(limit=3, state="received")
    rest = listed(limit=3, state="received", cursor=first["next"])
    assert len(first["items"] + rest["items"]) == 4
    assert rest["next"] is None
    assert desk.client.get("/v1/uploads", params={"state": "nonsense"}).status_code == 400
    assert desk.stranger.get("/v1/uploads").json()["items"] == []


def test_a_received_file_can_be_deleted_until_it_is_archived(each_desk):
    desk = each_desk
    first, second = (desk.put("a").json()["upload_id"] for _ in range(2))
    assert code(desk.stranger.delete(f"/v1/uploads/{first}")) == (404, "not-found")
    assert desk.as_role(Role.READER).delete(f"/v1/uploads/{first}").status_code == 403
    for _ in range(2):
        assert desk.client.delete(f"/v1/uploads/{first}").status_code == 204
    assert desk.client.get(f"/v1/uploads/{first}").json()["state"] == "deleted"
    desk.check_room(len(DATA))
    store = desk.service.receiver.store
    act = own_act("example")
    assert store.mark_archived(act, "c", [store.get("example", second).place]) == 1
    assert code(desk.client.delete(f"/v1/uploads/{second}")) == (409, "conflict")
    assert desk.put("a").status_code == 201
    assert sorted(desk.stored()) == [b"a (2)", b"a (3)"]  # no place is given twice
    actions = [entry.action for entry in desk.service.accounts.export_audit("example")]
    assert actions.count("upload.deleted") == 1


# Times


TIME_NS = 1_577_836_800_123_456_789
TIME = "1577836800.123456789"


def times(desk):
    """When the stored files were changed, by their names."""
    root = desk.home / "uploads" / "example"
    return {path.name: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_a_time_of_modification_is_kept_however_the_file_comes(each_desk):
    desk = each_desk
    answer = desk.put("put", x_mtime=TIME)
    assert answer.json()["modified_at"] == TIME_NS // 10**9
    assert desk.put("large", b"x" * (2 << 20), x_mtime="-1.5").json()["modified_at"] == -2
    assert desk.put("none").json()["modified_at"] is None
    assert desk.put("empty", x_mtime="").json()["modified_at"] is None
    parts = [
        (b'name="mtime"', TIME.encode()),
        (b'name="f"; filename="form"', b"1"),
        (b'name="f"; filename="next"', b"2"),
    ]
    first, second = desk.client.post("/v1/uploads", **form(*parts)).json()["items"]
    assert first["upload"]["modified_at"] == TIME_NS // 10**9
    assert second["upload"]["modified_at"] is None
    metadata = f"filename {b64(b'tus')},mtime {b64(TIME.encode())}"
    location = desk.create(10, **{"upload-metadata": metadata}).headers["location"]
    desk.append(location, 0, b"12345")
    desk.append(location, 5, b"67890")
    found = times(desk)
    assert (found.pop("large"), found["put"], found["form"], found["tus"]) == (
        -1_500_000_000,
        *[TIME_NS] * 3,
    )
    assert all(found[name] > TIME_NS for name in ("none", "empty", "next"))
    upload_id = answer.json()["upload_id"]
    assert desk.client.get(f"/v1/uploads/{upload_id}").json() == answer.json()


@pytest.mark.parametrize("time", ["x", "1e9", "1577836800000", "1.0000000001", "nan"])
def test_what_is_no_time_is_refused(desk, time):
    assert code(desk.put("a", x_mtime=time)) == (400, "bad-request")
    parts = [(b'name="mtime"', time.encode()), (b'name="f"; filename="a"', b"1")]
    assert code(desk.client.post("/v1/upload", **form(*parts))) == (400, "bad-request")
    for wrong in (time.encode(), b"\xff", "\u0663".encode()):
        metadata = f"filename {b64(b'a')},mtime {b64(wrong)}"
        answer = desk.create(1, **{"upload-metadata": metadata})
        assert code(answer) == (400, "bad-request")
    assert desk.stored() == {}
    desk.check_room()


def test_a_time_that_the_disk_cannot_keep_is_refused_before_the_bytes(desk, monkeypatch):
    utime = os.utime

    def clamped(file, ns):
        utime(file, ns=(max(0, ns[0]), max(0, ns[1])))

    monkeypatch.setattr(os, "utime", clamped)
    answer = desk.put("a", x_mtime="-7000000000")
    assert code(answer) == (400, "bad-request")
    assert "that the disk of the service can keep" in answer.json()["detail"]
    assert desk.put("b", x_mtime="7").status_code == 201
    desk.check_room(len(DATA))


def test_a_joined_file_has_the_time_that_came_with_the_whole(desk):
    part = {"upload-concat": "partial"}
    locations = [desk.create(4, **part).headers["location"] for _ in range(2)]
    for location in locations:
        desk.append(location, 0, b"1234")
    whole = {"upload-concat": f"final;{' '.join(locations)}"}
    metadata = f"filename {b64(b'joined')},mtime {b64(TIME.encode())}"
    headers = TUS | whole | {"upload-metadata": metadata}
    assert desk.client.post("/v1/tus", headers=headers).status_code == 201
    assert times(desk) == {"joined": TIME_NS}


# Forms


def test_a_form_brings_many_files_into_folders(desk):
    files = [("file", (f"folder/{n}.txt", b"%d" % n * n)) for n in range(40)]
    answer = desk.client.post("/v1/upload", files=files)
    assert answer.status_code == 201, answer.text
    assert [item["path"] for item in answer.json()["items"]] == [name for _, (name, _) in files]
    assert desk.stored() == {name.encode(): data for _, (name, data) in files}
    desk.check_room(*range(10), *(2 * n for n in range(10, 40)))


def form(*parts, boundary="xyz"):
    lines = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n"
        % (boundary.encode(), head, body)
        for head, body in parts
    )
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return {"content": lines + f"--{boundary}--\r\n".encode(), "headers": headers}


def test_a_form_keeps_names_byte_for_byte_and_heeds_fields(desk):
    answer = desk.client.post(
        "/v1/uploads",
        **form(
            (b'name="f"; filename="caf\xe9.txt"', b"1"),
            (b'name="path"', b"x/y/"),
            (b'name="sha256"', hashlib.sha256(b"2").hexdigest().encode()),
            (b'name="f"; filename="z"', b"2"),
            (b'name="f"; filename="no"; filename*=UTF-8\'\'%C3%A4', b"3"),
            (b'name="path"', b"whole/name"),
            (b'name="f"; filename="ignored"', b"4"),
        ),
    )
    assert answer.status_code == 201, answer.text
    expected = {b"caf\xe9.txt": b"1", b"x/y/z": b"2", b"\xc3\xa4": b"3", b"whole/name": b"4"}
    assert desk.stored() == expected


def test_what_is_wrong_with_one_file_of_a_form_is_told_of_that_one(desk):
    answer = desk.client.post(
        "/v1/upload",
        **form(
            (b'name="f"; filename="a"', b"1"),
            (b'name="f"; filename="../b"', b"2"),
            (b'name="sha256"', b"0" * 64),
            (b'name="f"; filename="c"', DATA),
            (b'name="f"; filename="a/d"', b"3"),
            (b'name="f"; filename="e"', b"4"),
        ),
    )
    assert answer.status_code == 207, answer.text
    codes = [item.get("problem", {}).get("code") for item in answer.json()["items"]]
    assert codes == [None, "bad-request", "checksum-mismatch", "conflict", None]
    assert desk.stored() == {b"a": b"1", b"e": b"4"}
    desk.check_room(1, 1)


@pytest.mark.parametrize(
    "form",
    [
        form(),
        form((b'name="path"', b"a")),
        form((b'name="path"', b"a" * 5000), (b'name="f"; filename="a"', b"1")),
        form((b'name="f"; filename="a\0"', b"1")),
        {"content": b"--xyz\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=xyz"}},
        {"content": b"a=b", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"content": b"--\r\n", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"", "headers": {"content-type": "multipart/form-data; boundary=xyz"}},
        {"content": b"x" * 100_000, "headers": {"content-type": "multipart/form-data; boundary=xyz"}},
    ],
)  # fmt: skip
def test_a_form_without_a_good_file_is_a_problem(desk, form):
    answer = desk.client.post("/v1/upload", **form)
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"] in ("bad-request", "too-large", "unsupported-media-type")
    desk.check_room()


def test_a_form_that_breaks_off_keeps_what_was_received(desk):
    whole = form((b'name="f"; filename="a"', b"1"), (b'name="f"; filename="b"', DATA))
    answer = desk.client.post("/v1/upload", **whole | {"content": whole["content"][:-5000]})
    assert answer.status_code == 207
    assert [("upload" in item, "problem" in item) for item in answer.json()["items"]] == [
        (True, False),
        (False, True),
    ]
    desk.check_room(1)


# Resumable uploads


def test_an_upload_arrives_in_pieces(each_desk):
    desk = each_desk
    answer = desk.create(len(DATA), b"x/caf\xe9")
    assert answer.status_code == 201, answer.text
    location, third = answer.headers["location"], len(DATA) // 3
    assert desk.offset(location) == 0
    for start in (0, third):
        answer = desk.append(location, start, DATA[start : start + third])
        assert answer.status_code == 204, answer.text
        assert int(answer.headers["upload-offset"]) == start + third == desk.offset(location)
        assert answer.headers["tus-resumable"] == "1.0.0"
    assert code(desk.append(location, third, b"x")) == (409, "conflict")
    assert desk.stored() == {}
    assert desk.append(location, 2 * third, DATA[2 * third :]).status_code == 204
    assert desk.offset(location) == len(DATA)
    assert desk.append(location, len(DATA), b"").status_code == 204
    assert desk.stored() == {b"x/caf\xe9": DATA}
    desk.check_room(len(DATA))


def test_the_first_bytes_may_come_at_once(desk):
    headers = CHUNK | {"upload-length": str(len(DATA)), "upload-metadata": f"filename {b64(b'a')}"}
    answer = desk.client.post("/v1/tus", content=DATA[:1000], headers=headers)
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "1000")
    assert desk.append(answer.headers["location"], 1000, DATA[1000:]).status_code == 204
    assert desk.create(0, b"empty").status_code == 201
    assert desk.stored() == {b"a": DATA, b"empty": b""}


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5"])
def test_a_chunk_with_another_checksum_is_dropped(desk, algorithm):
    location = desk.create(20).headers["location"]
    sums = {
        chunk: f"{algorithm} {b64(hashlib.new(algorithm, chunk).digest())}"
        for chunk in (b"0123456789", b"abcdefghij")
    }
    for start, (chunk, checksum) in zip((0, 10), sums.items(), strict=True):
        answer = desk.append(location, start, b"*" * 10, **{"upload-checksum": checksum})
        assert code(answer) == (460, "chunk-mismatch")
        assert desk.offset(location) == start
        answer = desk.append(location, start, chunk, **{"upload-checksum": checksum})
        assert answer.status_code == 204, answer.text
    assert desk.append(location, 0, b"", **{"upload-checksum": "crc32 AAAA"}).status_code == 400
    assert desk.stored() == {b"a": b"0123456789abcdefghij"}


def test_bytes_of_a_chunk_that_nobody_checked_are_not_counted(desk):
    location = desk.create(20).headers["location"]
    assert desk.append(location, 0, b"0123456789").status_code == 204
    receiver = desk.service.receiver
    upload = receiver.store.get("example", location.rpartition("/")[2])
    file = receiver.resume(upload)
    file.hold()
    file.write([b"abc"])
    assert desk.offset(location) == 10
    assert code(desk.append(location, 10, b"x")) == (423, "locked")
    file.close()  # as if killed
    assert desk.offset(location) == 10
    assert desk.append(location, 10, b"abcdefghij").status_code == 204
    assert desk.stored() == {b"a": b"0123456789abcdefghij"}


def test_an_announced_digest_of_the_whole_has_to_hold(desk):
    metadata = f"filename {b64(b'a')},sha256 {b64(b'0' * 64)}"
    answer = desk.create(5, **{"upload-metadata": metadata})
    location = answer.headers["location"]
    assert code(desk.append(location, 0, b"12345")) == (422, "checksum-mismatch")
    assert desk.client.head(location, headers=TUS).status_code == 410
    desk.check_room()


def test_an_upload_can_be_given_up(desk):
    location = desk.create(len(DATA)).headers["location"]
    assert desk.append(location, 0, DATA[:100]).status_code == 204
    assert desk.stranger.delete(location, headers=TUS).status_code == 404
    assert desk.stranger.head(location, headers=TUS).status_code == 404
    assert desk.client.delete(location, headers=TUS).status_code == 204
    assert code(desk.append(location, 100, b"x")) == (410, "gone")
    desk.check_room()
    *_, entry = desk.service.accounts.export_audit("example")
    known = {"path": "a", "size_bytes": len(DATA)}
    assert entry.action == "upload.cancelled"
    assert entry.before == known | {"state": "receiving"}
    assert entry.after == known | {"state": "cancelled"}


def test_requests_that_are_not_of_the_protocol_are_refused(desk):
    location = desk.create(5).headers["location"]
    for answer, status in [
        (desk.client.post("/v1/tus", headers={"upload-length": "5"}), 412),
        (desk.client.head(location, headers={"tus-resumable": "0.2.2"}), 412),
        (desk.create(5, **{"upload-length": "-1"}), 400),
        (desk.create(5, **{"upload-length": "1" * 30}), 400),
        (desk.create(5, **{"upload-metadata": "filename !"}), 400),
        (desk.create(5, **{"upload-metadata": "a,a"}), 400),
        (desk.create(5, b"../x"), 400),
        (desk.create(5, b"x" * 3000), 400),
        (desk.append(location, 0, b"x", **{"content-type": "text/plain"}), 415),
        (desk.append(location, 0, b"123456"), 413),
        (desk.append(location, 0, b"1", **{"upload-offset": "x"}), 400),
        (desk.client.post(location, headers=TUS), 405),
    ]:
        assert answer.status_code == status, answer.text
        assert answer.headers["tus-resumable"] == "1.0.0"
    override = CHUNK | {"x-http-method-override": "PATCH", "upload-offset": "0"}
    assert desk.client.post(location, content=b"12345", headers=override).status_code == 204


def test_the_protocol_describes_itself(desk):
    answer = desk.client.options("/v1/tus")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert "creation" in answer.headers["tus-extension"]


def test_what_nobody_finished_is_given_up_when_its_time_is_over(each_desk):
    desk = each_desk
    location = desk.create(len(DATA)).headers["location"]
    desk.append(location, 0, DATA[:100])
    assert desk.service.recover_uploads() == 0
    receiver = desk.service.receiver
    later = own_act("example").at + 8 * 86_400
    act = Act("example", "system", later * 1_000_000)
    assert receiver.recover(lambda _organization_id: act) == 1
    assert desk.client.head(location, headers=TUS).status_code == 410
    desk.check_room()
