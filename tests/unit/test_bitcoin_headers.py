"""Block headers: Bitcoin's own, cheap ones, and files of them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from muniment.adapters.header_sources import ChainFile, ListedHeaders, headers_file
from muniment.archive import bitcoin
from muniment.archive.bitcoin import BlockHeader
from muniment.errors import FormatError, IntegrityError, MunimentError, NotFoundError
from muniment.testing.bitcoin_node import LocalChain, no_work

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ots" / "proofs.json").read_text())
RAW = bytes.fromhex(VECTORS["header_358391"])
GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b2"
    "7ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)


def chain_of(blocks: int) -> LocalChain:
    chain = LocalChain()
    for number in range(1, blocks):
        chain.append(bytes([number] * 32))
    return chain


def test_a_header_of_bitcoin():
    header = BlockHeader.parse(RAW)
    assert header.hash_hex == "000000000000000003e892881a8cdcdc117c06d444057c98b6f04a9ee75a2319"
    assert header.merkle_root_hex == (
        "8a1b66ecb7cbd07d8139a7e7d7f2c41aab1f5009b8364aaf61d03ad245e47e00"
    )
    assert header.time == datetime(2015, 5, 28, 15, 41, 18, tzinfo=UTC)
    bitcoin.verify_work(header, bitcoin.minimum_work(358391))


def test_difficulty_one_takes_two_to_the_32_hashes():
    header = BlockHeader.parse(GENESIS)
    assert header.target == 0xFFFF << 208
    assert header.work == 0x100010001
    bitcoin.verify_work(header, bitcoin.minimum_work(0))


@pytest.mark.parametrize("bit", range(0, 640, 7))
def test_a_changed_header_shows_no_work(bit):
    changed = bytearray(RAW)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        bitcoin.verify_work(BlockHeader.parse(bytes(changed)), bitcoin.minimum_work(358391))


def test_a_true_header_of_another_time_shows_too_little_work_for_today():
    with pytest.raises(IntegrityError, match=r"at least 2\*\*76 hashes, got 2\*\*67"):
        bitcoin.verify_work(BlockHeader.parse(RAW), bitcoin.minimum_work(900_000))


@pytest.mark.parametrize("bits", [0x1D80FFFF, 0x21000001, 0xFF7FFFFF, 0x01000000, 0])
def test_an_impossible_target_is_met_by_no_hash(bits):
    raw = RAW[:72] + bits.to_bytes(4, "little") + RAW[76:]
    header = BlockHeader.parse(raw)
    assert header.target == 0
    with pytest.raises(IntegrityError, match="its own target"):
        bitcoin.verify_work(header, 0)


@pytest.mark.parametrize(("bits", "target"), [(0x03123456, 0x123456), (0x02123456, 0x1234)])
def test_small_targets(bits, target):
    assert BlockHeader.parse(RAW[:72] + bits.to_bytes(4, "little") + RAW[76:]).target == target


@pytest.mark.parametrize("length", [0, 79, 81])
def test_a_header_has_80_bytes(length):
    with pytest.raises(FormatError, match="80 bytes"):
        BlockHeader.parse(bytes(length))


def test_local_blocks_are_accepted_nowhere_by_default():
    with pytest.raises(IntegrityError, match="too little work"):
        bitcoin.verify_work(LocalChain().headers[0], bitcoin.minimum_work(0))


def test_a_file_of_listed_headers(tmp_path):
    file = tmp_path / "headers.txt"
    file.write_text(f"# height header\n\n358391 {RAW.hex()}  # 2015\n0 {GENESIS.hex()}\n")
    source = headers_file(file)
    assert isinstance(source, ListedHeaders)
    assert source.header(358391) == RAW
    assert source.header(0) == GENESIS
    with pytest.raises(NotFoundError, match="does not list block 1"):
        source.header(1)


@pytest.mark.parametrize(
    "text",
    [
        b"358391",
        b"358391 00",
        b"x " + RAW.hex().encode(),
        b"-1 " + RAW.hex().encode(),
        b"\xd9\xa1 " + RAW.hex().encode(),
        b"9999999999 " + RAW.hex().encode(),
        b"1 " + RAW.hex().encode() + b" 2",
        b"1 zz",
        b"1 " + RAW.hex().encode() + b"\n1 " + GENESIS.hex().encode(),
        b"#" * (bitcoin.MAX_LISTED_HEADERS_BYTES + 1),
    ],
)
def test_other_lists_are_rejected(tmp_path, text):
    file = tmp_path / "headers.txt"
    file.write_bytes(text)
    with pytest.raises(FormatError):
        headers_file(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match="nowhere"):
        headers_file(tmp_path / "nowhere")


def open_chain(file: Path, chain: LocalChain) -> ChainFile:
    return ChainFile(file, genesis_hash=chain.headers[0].hash_hex, least_work=no_work)


def test_a_file_of_the_whole_chain(tmp_path):
    chain = chain_of(12)
    file = tmp_path / "headers.bin"
    file.write_bytes(chain.to_bytes())
    source = open_chain(file, chain)
    for height in (7, 3, 11, 0, 5):
        assert source.header(height) == chain.header(height)
    with pytest.raises(NotFoundError, match="ends at block 11"):
        source.header(12)


def test_bitcoins_own_chain_begins_with_its_genesis_block(tmp_path):
    file = tmp_path / "headers.bin"
    file.write_bytes(GENESIS)
    assert headers_file(file).header(0) == GENESIS
    file.write_bytes(LocalChain().to_bytes())
    with pytest.raises(IntegrityError, match="does not begin with block 000000000019d668"):
        headers_file(file)
    file.write_bytes(GENESIS[:79])
    with pytest.raises(FormatError):
        headers_file(file)


@pytest.mark.parametrize("at", range(11))
def test_a_header_is_not_given_out_when_the_chain_behind_it_is_broken(tmp_path, at):
    chain, other = chain_of(12), LocalChain(start_s=1)
    for _ in range(11):
        other.append(bytes(32))
    headers = [header.raw for header in chain.headers]
    headers[at] = other.headers[at].raw
    file = tmp_path / "headers.bin"
    file.write_bytes(b"".join(headers))
    first = other if at == 0 else chain
    for order in (range(12), range(11, -1, -1)):
        source = open_chain(file, first)
        for height in order:
            if height > at:
                assert source.header(height) == headers[height]
            else:
                with pytest.raises(IntegrityError, match="does not follow"):
                    source.header(height)


def test_a_chain_file_that_shrinks_is_an_error_of_ours(tmp_path):
    chain = chain_of(4)
    file = tmp_path / "headers.bin"
    file.write_bytes(chain.to_bytes())
    source = open_chain(file, chain)
    file.write_bytes(b"")
    with pytest.raises(MunimentError):
        source.header(2)
    file.unlink()
    with pytest.raises(MunimentError):
        source.header(2)
