"""Our TAR of a DAG and that of a real Kubo's gateway: the same members, modes, times and bytes."""

import io
import tarfile
import urllib.request

import pytest

from muniment.content.car import write_car
from muniment.content.cid import RAW
from muniment.content.dag_pb import PBLink
from muniment.content.tar_stream import tar_stream
from muniment.content.unixfs import Metadata, directory_dag, import_file, symlink_node
from muniment.content.unixfs.node import encode_directory, encode_file
from muniment.testing import hostile
from muniment.testing.kubo import LocalKubo

pytestmark = pytest.mark.engine

NS = 10**9
TOLD = Metadata(0o640, 1_700_000_000 * NS)
FRACTION = Metadata(0o4755, 1_500_000_000 * NS + 123_456_789)
OLD = Metadata(0o600, -5 * NS)
WITH_TIME = {"a" * 150, "ünïcode", "c", "told", "sub"}


def make_dag(put):
    """Return a folder of files and links with and without modes and times."""
    large = import_file(io.BytesIO(bytes(3_000_000)), put).root
    leaf = hostile.put_node(put, b"hello\n", RAW)
    plain_link, block = symlink_node(b"hello")
    put(plain_link, block)
    told_link, block = symlink_node(b"../elsewhere", metadata=TOLD)
    put(told_link, block)
    files = [
        hostile.put_node(put, encode_file([PBLink(leaf, b"", 6)], [6], metadata))
        for metadata in (TOLD, FRACTION, OLD)
    ]
    sub = hostile.put_node(put, encode_directory([PBLink(leaf, b"in", 6)], TOLD))
    sharded = directory_dag([(b"%d" % number + b"x" * 200, leaf, 6) for number in range(1100)])
    for cid, block in sharded.inner:
        put(cid, block)
    names = [b"a" * 150, "ünïcode".encode(), b"c"]
    links = [PBLink(cid, name, 6) for cid, name in zip(files, names, strict=True)]
    links += [PBLink(large, b"large", 3_000_000), PBLink(leaf, b"hello", 6)]
    links += [PBLink(plain_link, b"link", 1), PBLink(told_link, b"told", 1)]
    links += [PBLink(sub, b"sub", 6), PBLink(sharded.root, b"sharded", 6)]
    return hostile.put_node(put, encode_directory(links))


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: (
                member.type,
                member.mode,
                member.size,
                member.linkname,
                member.mtime,
                archive.extractfile(member).read() if member.isreg() else b"",
            )
            for member in archive
        }


def test_the_same_members(tmp_path):
    blocks = {}
    root = make_dag(blocks.__setitem__)
    with open(tmp_path / "dag.car", "wb") as file:
        write_car(file, [root], blocks.items())
    with LocalKubo() as kubo:
        kubo.import_car(tmp_path / "dag.car")
        kubo.start()
        with urllib.request.urlopen(f"{kubo.gateway_url}/ipfs/{root}?format=tar") as answer:
            theirs = members(answer.read())
    ours = members(b"".join(tar_stream(root, str(root), blocks.__getitem__)))
    assert list(ours) == list(theirs)
    assert len(ours) == 1 + 9 + 1 + 1100  # the root, its entries, and those of `sub` and `sharded`
    for name, (*said, mtime, data) in ours.items():
        *said_by_kubo, its_mtime, its_data = theirs[name]
        assert said == said_by_kubo, name
        assert data == its_data
        if name.removeprefix(f"{root}/") in WITH_TIME:
            assert round(mtime) == its_mtime, name  # it writes whole seconds
        else:  # Kubo says when it was asked
            assert mtime == 0
