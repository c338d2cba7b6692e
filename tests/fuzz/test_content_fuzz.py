"""The fuzz targets of DAGs, names and requests run, with honest seeds, and find nothing in a few seconds."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.content import codecs
from muniment.content.cid import CID, RAW
from muniment.content.dag_pb import PBLink
from muniment.content.unixfs import directory_dag, symlink_node
from muniment.content.unixfs.node import encode_directory, encode_file
from muniment.testing import hostile
from muniment.testing.gateway import FIXTURES

SECONDS = 5
MEMORY_MIB = 768
"""What the fuzzed process may take: Python, the fuzzer and its corpus are most of it."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None,
        reason="atheris is not installed: it has wheels for Linux on x86-64 only",
    ),
]


def blocks(*parts):
    return b"".join(bytes((len(part),)) + part for part in parts)


def write_content_seeds(folder):
    """Write one honest input for each reader, for the fuzzer to begin with."""
    leaf = CID.of(RAW, b"leaf")
    links = [PBLink(leaf, b"name", 4), PBLink(leaf, b"0", 4)]
    shard = hostile.shard_node([(b"DEname2", leaf), (b"F1name3", leaf)], 1 << 0xDE | 1 << 0xF1)
    seeds = {
        "file": b"\0" + blocks(encode_file(links, [4, 4]), encode_file([], []), b"leaf"),
        "directory": b"\0" + blocks(encode_directory(links), symlink_node(b"target")[1]),
        "shard": b"\0" + blocks(shard, encode_directory([])),
        "sharded": b"\0" + blocks(directory_dag([(b"name", leaf, 4)]).inner[0][1]),
        "cbor": b"\1" + blocks(codecs.encode(codecs.DAG_CBOR, {"name": [leaf, {"0": leaf}]})),
        "json": b"\2" + blocks(codecs.encode(codecs.DAG_JSON, {"name": [leaf, {"0": leaf}]})),
        "path": b"\3/ipfs/" + str(leaf).encode() + b"/a%20b/c",
        "name": b"\3k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8",
        "domain": b"\3en.wikipedia-on-ipfs.org",
        "bytes": b"\3-10:*",
        "redirects": b"\4/a/:b/* https://example.com/:b/:splat?x=1 302\n# x\n/* /index.html 200\n",
        "denylist": b"\5version: 1\n---\n/ipfs/"
        + str(leaf).encode()
        + b"/a* status=451\n!//"
        + b"0" * 64,
    }
    for path in FIXTURES.glob("*.ipns-record"):
        seeds[path.stem] = b"\6" + path.read_bytes()
    for name, seed in seeds.items():
        (folder / name).write_bytes(seed)


def write_gateway_seeds(folder):
    """Write inputs that choose one after another of what clients send; the fuzzer reads numbers from the end."""
    for number in range(64):
        (folder / str(number)).write_bytes(bytes((number * step) % 256 for step in range(1, 12)))


@pytest.mark.parametrize(
    ("target", "write_seeds"),
    [("fuzz_content.py", write_content_seeds), ("fuzz_gateway.py", write_gateway_seeds)],
)
def test_a_few_seconds_find_nothing(tmp_path, target, write_seeds):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    write_seeds(seeds)
    limits = [f"-max_total_time={SECONDS}", "-max_len=600", "-timeout=20"]
    result = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name(target),
            *limits,
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-artifact_prefix={tmp_path}/",
            seeds,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    executed = re.search(r"Done (\d+) runs", result.stderr)
    assert executed, result.stderr[-3000:]
    assert int(executed[1]) > 100
