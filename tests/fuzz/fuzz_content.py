"""Coverage-guided fuzzing of everything that follows DAGs and names: `python tests/fuzz/fuzz_content.py -max_total_time=60`.

Needs atheris; takes the options of libFuzzer. The first byte of an input chooses the reader. Readers of DAGs get a store that lies: the
rest of the input is cut into blocks, and every CID stands for one of them, so that DAGs have circles and any shape at all. Any error
but IntegrityError and NotFoundError is a finding; so is reading more than `MAX_READS` blocks for the few pieces that are asked for.
"""

import io
import sys
from itertools import islice

import atheris

with atheris.instrument_imports(include=["muniment.content", "muniment.entrypoints.gateway"]):
    from muniment.content import dnslink, redirects
    from muniment.content.car import CarReader
    from muniment.content.cid import CID, DAG_PB, IDENTITY
    from muniment.content.codecs import DAG_CBOR, DAG_JSON
    from muniment.content.dag_scope import parse_entity_bytes, select_blocks
    from muniment.content.denylist import BlockedError, Denylist
    from muniment.content.gateway_path import parse_content_path, parse_root, split_path
    from muniment.content.ipns import parse_name, verify_record
    from muniment.content.path_resolution import resolve_path
    from muniment.content.tar_stream import tar_stream
    from muniment.content.unixfs import describe, leaf_layout, list_directory, read_file, resolve
    from muniment.errors import IntegrityError, NotFoundError

PIECES = 100
"""Pieces that are asked for of every reader."""
MAX_READS = 100 * PIECES
"""Blocks that it may read for them: a piece lies at most some 40 levels down."""
NAMES = (b"name", b"0", b"a", b"..", b"")
RECORD_NAME = parse_name("12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d")


class LyingStore:
    """Blocks cut from an input (a length in one byte before each); every CID stands for one of them."""

    def __init__(self, data):
        self.blocks, self.reads = [], 0
        while data and len(self.blocks) < 16:
            self.blocks.append(data[1 : 1 + data[0]])
            data = data[1 + data[0] :]

    def get(self, cid):
        self.reads += 1
        assert self.reads <= MAX_READS, "more work than what comes of it"
        if cid.hash_function == IDENTITY:
            return cid.digest
        return self.blocks[cid.raw[-1] % len(self.blocks)]


def walks(root, get):
    """Return everything that a DAG can be read as."""
    walk = [
        lambda: iter([describe(root, get)]),
        lambda: read_file(root, get),
        lambda: read_file(root, get, 5, 10),
        lambda: leaf_layout(root, get),
        lambda: list_directory(root, get),
        lambda: list_directory(root, get, unsafe_names=True),
        lambda: tar_stream(root, "name", get),
        lambda: iter([resolve(root, b"name/0/a", get)]),
        lambda: iter([resolve_path(root, NAMES, get)]),
    ]
    for scope in ("block", "entity", "all"):
        for duplicates in (False, True):
            walk.append(
                lambda scope=scope, both=duplicates: select_blocks(
                    [root], root, get, scope, duplicates=both
                )
            )
    span = parse_entity_bytes("3:-3")
    walk.append(lambda: select_blocks([], root, get, "entity", span))
    return walk


def read_dag(data, codec):
    store = LyingStore(data)
    if not store.blocks:
        return
    root = CID.of(codec, b"root")
    for walk in walks(root, store.get):
        store.reads = 0
        try:
            for _ in islice(walk(), PIECES):
                pass
        except (IntegrityError, NotFoundError):
            continue


def read_text(data):
    text = data.decode("utf-8", "surrogateescape")
    for read in (
        parse_content_path,
        split_path,
        parse_name,
        CID.parse,
        dnslink.check_domain,
        parse_entity_bytes,
        lambda text: parse_root(parse_content_path("/ipfs/" + text)),
        lambda text: dnslink.uninline(dnslink.inline(dnslink.check_domain(text))),
        lambda text: dnslink.find_link(["dnslink=" + text, text]),
    ):
        try:
            read(text)
        except IntegrityError:
            continue


def read_redirects(data):
    try:
        rules = redirects.parse_redirects(data)
        for path in ("/", "/a/b/c", "/" + "x/" * 200):
            found = redirects.find_redirect(rules, path, "a=1&b=2")
            assert found is None or len(found.target) <= 20_000
    except IntegrityError:
        return


def read_denylist(data):
    denylist = Denylist()
    try:
        denylist.add(data)
    except IntegrityError:
        return
    path = parse_content_path("/ipfs/bafkqaaa/name")
    try:
        denylist.check_path(path)
        denylist.check_block(parse_root(path))
    except BlockedError:
        return


def read_record(data):
    try:
        verify_record(data, RECORD_NAME, 0)
    except IntegrityError:
        return


def read_car(data):
    try:
        list(CarReader(io.BytesIO(data), max_blocks=100))
    except IntegrityError:
        return


READERS = [
    lambda data: read_dag(data, DAG_PB),
    lambda data: read_dag(data, DAG_CBOR),
    lambda data: read_dag(data, DAG_JSON),
    read_text,
    read_redirects,
    read_denylist,
    read_record,
    read_car,
]


def fuzz_one(data):
    if data:
        READERS[data[0] % len(READERS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()
