"""The tar and its chunks, beside Python's tarfile, GNU tar and GNU split."""

import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.archive import tarball

needs_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
needs_split = pytest.mark.skipif(shutil.which("split") is None, reason="needs split (coreutils)")


@given(st.integers(0, tarball.LEAF_COUNT_MAX - 1), st.integers(0, 8**11 - 1))
@example(0, 0)
@example(tarball.LEAF_COUNT_MAX - 1, 8**11 - 1)
def test_headers_are_those_that_tarfile_writes(leaf, size):
    info = tarfile.TarInfo(f"{leaf:08d}")
    info.mode, info.size = 0o600, size
    assert tarball.header(leaf, size) == info.tobuf(tarfile.USTAR_FORMAT)
    assert tarball.size_in_header(tarball.header(leaf, size)) == size


@given(st.integers(8**11, 1 << 70))
@example(8**11)
def test_sizes_beyond_octal_are_read_by_tarfile(size):
    block = tarball.header(7, size)
    info = tarfile.TarInfo.frombuf(block, "ascii", "strict")  # checks the checksum
    assert (info.name, info.size, info.mode, info.mtime) == ("00000007", size, 0o600, 0)
    assert tarball.size_in_header(block) == size


@given(st.binary(min_size=512, max_size=512))
def test_a_size_field_of_any_bytes_is_read_or_refused(block):
    size = tarball.size_in_header(block)
    assert size >= -1


@pytest.mark.parametrize("field", [b"0000000001 \0", b" 0000000010", b"-0000000010", b"0000000008\0\0", b"+000000001\0", bytes(12), "²2222222222".encode()[:12]])  # fmt: skip
def test_sizes_in_other_writings_are_refused(field):
    block = tarball.header(0, 8)
    assert tarball.size_in_header(block[:124] + field[:12].ljust(12, b"\0") + block[136:]) == -1


def members(sizes):
    parts = [part for leaf, size in enumerate(sizes) for part in (tarball.header(leaf, size), bytes([leaf + 1]) * size)]  # fmt: skip
    return b"".join([*parts, tarball.TRAILER])


def test_tarfile_reads_the_whole():
    with tarfile.open(fileobj=io.BytesIO(members([512, 1024, 512]))) as tar:
        assert [(info.name, info.size) for info in tar] == [
            ("00000000", 512),
            ("00000001", 1024),
            ("00000002", 512),
        ]


@needs_tar
def test_gnu_tar_lists_and_extracts_chunks_put_together(tmp_path):
    data = members([512, 1024, 512])
    for index, name in enumerate(tarball.chunk_names("x_", -(-len(data) // 700))):
        (tmp_path / name).write_bytes(data[index * 700 : index * 700 + 700])
    done = subprocess.run(
        "cat x_* | tar -xvf -", shell=True, cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"00000000", b"00000001", b"00000002"]
    assert done.stderr == b""
    assert (tmp_path / "00000001").read_bytes() == b"\2" * 1024


@needs_split
@pytest.mark.parametrize("count", [1, 26, 27, 649, 650, 651, 676, 1400])
def test_chunk_names_are_those_of_gnu_split(count, tmp_path):
    subprocess.run(["split", "-b", "1", "-", "p_"], input=bytes(count), cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == tarball.chunk_names("p_", count)


def test_chunk_names_beyond_what_a_test_can_split():
    # As the documentation of coreutils has it: aa..yz, zaaa..zyzz, zzaaaa..zzyzzz.
    two, four = 25 * 26, 25 * 26**2
    known = {0: "aa", two - 1: "yz", two: "zaaa", two + four - 1: "zyzz", two + four: "zzaaaa"}
    assert {index: tarball.chunk_suffix(index) for index in known} == known


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_names_sort_as_their_chunks_do(one, two):
    assert (tarball.chunk_suffix(one) < tarball.chunk_suffix(two)) == (one < two)
