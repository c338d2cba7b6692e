"""UnixFS DAGs against CIDs of other implementations.

Two sources. *Published*: the fixtures of IPIP-499, made from ChaCha20 streams as Kubo's `test/cli/cid_profiles_test.go` describes.
*Computed*: the npm package ipfs-unixfs-importer 17.1.1 (its `profile` option; Node 20), over the inputs described below.
"""

import hashlib
import io
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from muniment.content.unixfs import (
    V0_2015,
    V1_2025,
    directory_dag,
    import_file,
    leaf_layout,
    list_directory,
    read_file,
    resolve,
    symlink_node,
)

PROFILES = {profile.name: profile for profile in (V0_2015, V1_2025)}

# File contents: the first n bytes of SHA-256("0") + SHA-256("1") + ... Columns: profile, bytes, CID, cumulative size.
FILES = [
    ("unixfs-v0-2015", 0, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH", 6),
    ("unixfs-v0-2015", 1, "QmeTvrMJT5LjfitxvEhooABGknJJ3e3LmDWHotEuo35zBh", 9),
    ("unixfs-v0-2015", 11, "QmYhK22yqdcZtkoKFmdr5YhgGgYdABJXPSR3HvQj12uSbV", 19),
    ("unixfs-v0-2015", 262_143, "QmZWdfzLTXirb3ixiLy6DF5UH8B2bTMgMX5bQ9PTEBZw2S", 262_157),
    ("unixfs-v0-2015", 262_144, "QmU7j6YWb8cKixmQmxGLoC6X1jBt9HDXAAmDAHh9AhAdsL", 262_158),
    ("unixfs-v0-2015", 262_145, "Qme4WiQPvEN3K8YHzCFzkEbmRVKTXpuYNyMrTwHx8X6Aw9", 262_267),
    ("unixfs-v0-2015", 786_437, "QmddhdKkvbvZEzRyG6WQiHWCjhPzL78DDL3vorh4TV294N", 786_683),
    ("unixfs-v1-2025", 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 0),
    ("unixfs-v1-2025", 1, "bafkreigs4kw7of33pkfp3w6bfuldjtzd5inhcaqpnijqqbykczaa7nup3y", 1),
    ("unixfs-v1-2025", 11, "bafkreiefxvtc5jmsefpvjlxk22tbi7v6ys2yodmjy3twkwfxwpp2bcswri", 11),
    (
        "unixfs-v1-2025",
        1_048_575,
        "bafkreid5ybk6cgpmozqzjzelu7yeqhdhd6tpn5nktdmrj26eew7k2v57iy",
        1_048_575,
    ),
    (
        "unixfs-v1-2025",
        1_048_576,
        "bafkreiczaxfyqkyu2jxzaofikq7xjexknkieebuukrysmcoehk4natzpxu",
        1_048_576,
    ),
    (
        "unixfs-v1-2025",
        1_048_577,
        "bafybeieohcvah6xlweirh64hoifw6ohamwjjn2oknzuzzsiotzx5mpvsxm",
        1_048_681,
    ),
    (
        "unixfs-v1-2025",
        3_145_733,
        "bafybeiavzefkhpidral4cu7leapabv5oanm74cntusxdkjtdkcr55rxloe",
        3_145_938,
    ),
]

# The same contents cut into leaves of 4 bytes, to reach the widths. Columns: profile, leaves, CID, cumulative size.
NARROW_FILES = [
    ("unixfs-v0-2015", 2, "QmZe3zYVTCPe6XKNEVrf3DRcSiSVC9pZ5zUEKYTd4AS3tp", 118),
    ("unixfs-v0-2015", 173, "QmcJC2ZwEfYCPRjbWA7F9AnqPsejde76rULvsKa2heN8JC", 9_696),
    ("unixfs-v0-2015", 174, "QmPrGoQxS9EQ48ForhSaw1EZdp5HDMYFZbh2d6AKY9BYus", 9_752),
    ("unixfs-v0-2015", 175, "QmQAwRRs2HPethasXcv53CMgUZKJemo6FAg3WGSY3Xfk46", 9_911),
    ("unixfs-v0-2015", 348, "QmZrjntjd1We5qp6czzsvUVLeq4s2WCFcjbKTgi7NDoxkf", 19_603),
    ("unixfs-v0-2015", 349, "QmbUbhGi9LqTgDzu12PJ6vGCJEQGjP4H2US8hjT2nJK2Ko", 19_709),
    ("unixfs-v0-2015", 30_275, "QmRW122aNVbcPwzsHeoJsNnmhAwDCnxiRixriKFqXdX7LU", 1_704_805),
    ("unixfs-v0-2015", 30_276, "QmeSMHjxcxuk4uhgx9VCe3wpz5cyCW7DFi5AjRKGwGuwLD", 1_704_861),
    ("unixfs-v0-2015", 30_277, "QmcBobYJcqXFogMRjvnRGhyEcXXh4SLiMrWbBeNqF4Xmz8", 1_705_073),
    ("unixfs-v1-2025", 2, "bafybeihuslqqkgk6z7egpjbrzte5vbe7odxlpf2wpd3posxlrcogohkm4y", 106),
    (
        "unixfs-v1-2025",
        1_023,
        "bafybeidbzy2ia5cfr3rgdjtk6i75k2cxykni4srvr7crs4lb6r7yn52mzm",
        51_158,
    ),
    (
        "unixfs-v1-2025",
        1_024,
        "bafybeibevsb6wqy7ytqxbn57qm7dtu4czfz6hdsktjnrm5q5rdz5l3bg6i",
        51_208,
    ),
    (
        "unixfs-v1-2025",
        1_025,
        "bafybeidcc5tttsd22pqlowycx7xvcvfsg67bs2diopqc6uu5pmapqiy4fy",
        51_366,
    ),
    (
        "unixfs-v1-2025",
        2_048,
        "bafybeiga2y7ua63gl4ik6tgbkbyz3dshvrg3pik6pyyeq7pcx4mn2sppoa",
        102_521,
    ),
    (
        "unixfs-v1-2025",
        2_049,
        "bafybeib2xxz2hbfqbajuggfuuleykhwa6oovazzww5gc5fjj5zh6zyzcui",
        102_623,
    ),
]

UNICODE = ["ä", "z", "日本語", "Ω", "😀", "A b", "\uff5e"]
TEN_THOUSAND = [f"file-{number:05d}" for number in range(10_000)]


def around_threshold(count, last):
    """Names of 8 digits, and one of `last` letters that brings the directory to the size that is wanted."""
    return [f"{number:08d}" for number in range(count)] + ["z" * last]


# Directories of empty files. Columns: profile, what, names, CID, cumulative size.
DIRECTORIES = [
    ("unixfs-v0-2015", "one name", ["a"], "QmfWhpntSpGtA4ZfQYRHafKSK5e4DE2DN2yV6s6LNzvDT8", 53),
    ("unixfs-v0-2015", "unicode", UNICODE, "QmXHAbboLwRgyN5V6yuow3TJEkDX1DSqyCvmstNQrcSK51", 364),
    (
        "unixfs-v0-2015",
        "10,000 names",
        TEN_THOUSAND,
        "QmNnjHzGb9RgPMhkG3yPV4BNCumt61oi7evCgsN7dnvqxP",
        674_991,
    ),
    (
        "unixfs-v1-2025",
        "one name",
        ["a"],
        "bafybeihwqttitc7rssowlfhx3edhljr3kb5ax5l52pt7r3zdtbg5na7bhu",
        49,
    ),
    (
        "unixfs-v1-2025",
        "unicode",
        UNICODE,
        "bafybeif4naf5qcgoqmpecuud5bnjsznqddh52rjgygh7nyif7a7ae635oa",
        336,
    ),
    (
        "unixfs-v1-2025",
        "10,000 names",
        TEN_THOUSAND,
        "bafybeihbtac5c4jwizibbl4hrwmjdtumgv6ckibeosfy6lqznsjbrow7ae",
        636_843,
    ),
    (
        "unixfs-v0-2015",
        "262_143 bytes",
        around_threshold(6_232, 365),
        "QmVadAqWwLEgCdPE4ifn8PWtv2kay9w844caBEHHPg93sa",
        349_411,
    ),
    (
        "unixfs-v0-2015",
        "262_144 bytes",
        around_threshold(6_232, 366),
        "QmVxuUoqnwshSXcj9dWghbaNwJgFCyAMS2mDgmPPcNoiCq",
        349_412,
    ),
    (
        "unixfs-v0-2015",
        "262_145 bytes",
        around_threshold(6_232, 367),
        "QmdUjV3Ez7x2DxF4z6BLKJ7zggRqZGdnmBvkhvQfrNNf2n",
        403_936,
    ),
    (
        "unixfs-v0-2015",
        "262_146 bytes",
        around_threshold(6_232, 368),
        "QmRXAcuiZigz8YHwE6ks1GxcYGLb2boNC6vzUoqoq4QhgH",
        403_937,
    ),
    (
        "unixfs-v1-2025",
        "262_143 bytes",
        around_threshold(5_033, 377),
        "bafybeifutx44lbbo3kyyfwovp5w3lpgnvumhwxxerbuzwidb4v6cv5d4c4",
        262_143,
    ),
    (
        "unixfs-v1-2025",
        "262_144 bytes",
        around_threshold(5_033, 378),
        "bafybeiair4q7c3b2waqwutcnmezy2vv2uwi6eitoji2u73pugavm5rbyce",
        262_144,
    ),
    (
        "unixfs-v1-2025",
        "262_145 bytes",
        around_threshold(5_033, 379),
        "bafybeiaorfjgm3rkcjuwwbfu46ayrufiqjuutyhij77yvs2m2g4lxae6va",
        308_278,
    ),
    (
        "unixfs-v1-2025",
        "262_146 bytes",
        around_threshold(5_033, 380),
        "bafybeiawhpp5fvmwx25aizvdyjksg3t4aazcjsmfjbl3qs46jl4b2laq54",
        308_279,
    ),
]


def content(size):
    """The test content: SHA-256 of the decimal numbers, one after another."""
    digests = (hashlib.sha256(str(number).encode()).digest() for number in range(-(-size // 32)))
    return b"".join(digests)[:size]


def check_file(data, profile, cid, tsize):
    blocks = {}
    dag = import_file(io.BytesIO(data), blocks.__setitem__, profile)
    assert (str(dag.root), dag.size, dag.tsize) == (cid, len(data), tsize)
    get = blocks.__getitem__
    assert b"".join(read_file(dag.root, get)) == data
    middle = len(data) // 3
    assert b"".join(read_file(dag.root, get, middle, 7)) == data[middle : middle + 7]
    assert sum(size for _, _, size in leaf_layout(dag.root, get)) == len(data)


@pytest.mark.parametrize(("name", "size", "cid", "tsize"), FILES)
def test_files_around_the_chunk_size(name, size, cid, tsize):
    check_file(content(size), PROFILES[name], cid, tsize)


@pytest.mark.parametrize(("name", "leaves", "cid", "tsize"), NARROW_FILES)
def test_files_around_the_width(name, leaves, cid, tsize):
    check_file(content(leaves * 4), replace(PROFILES[name], chunk_bytes=4), cid, tsize)


@pytest.mark.parametrize(
    ("name", "names", "cid", "tsize"),
    [
        pytest.param(name, names, cid, tsize, id=f"{name}-{what}")
        for name, what, names, cid, tsize in DIRECTORIES
    ],
)
def test_directories(name, names, cid, tsize):
    empty = import_file(io.BytesIO(b""), lambda cid, block: None, PROFILES[name])
    entries = [(entry.encode(), empty.root, empty.tsize) for entry in reversed(names)]
    dag = directory_dag(entries, PROFILES[name])
    assert (str(dag.root), dag.tsize) == (cid, tsize)
    get = dict(dag.inner).__getitem__
    assert sorted(list_directory(dag.root, get)) == sorted(entries)
    for entry in names[::500]:
        assert resolve(dag.root, entry, get) == empty.root


class ChaChaStream(io.RawIOBase):
    """`size` bytes of the ChaCha20 key stream under SHA-256(seed), nonce zero."""

    def __init__(self, seed, size):
        key = hashlib.sha256(seed.encode()).digest()
        self._stream = Cipher(ChaCha20(key, bytes(16)), None).encryptor()
        self._left = size

    def read(self, size=-1):
        size = self._left if size < 0 else min(size, self._left)
        self._left -= size
        return self._stream.update(bytes(size))


@pytest.mark.parametrize(
    ("profile", "seed", "size", "cid"),
    [
        (V0_2015, "chunk-v0-seed", 262_144, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"),
        (V0_2015, "chunk-v0-seed", 262_145, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"),
        (V0_2015, "v0-seed", 44_544 << 10, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"),
        (V0_2015, "v0-seed", 44_800 << 10, "QmepeWtdmS1hHXx1oZXsPUv6bMrfRRKfZcoPPU4eEfjnbf"),
        (
            V1_2025,
            "chunk-v1-seed",
            1 << 20,
            "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta",
        ),
        (
            V1_2025,
            "chunk-v1-seed",
            (1 << 20) + 1,
            "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
        ),
        pytest.param(
            V1_2025,
            "v1-2025-seed",
            1024 << 20,
            "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            V1_2025,
            "v1-2025-seed",
            1025 << 20,
            "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_published_files(profile, seed, size, cid):
    dag = import_file(ChaChaStream(seed, size), lambda cid, block: None, profile)
    assert str(dag.root) == cid


@pytest.mark.parametrize(
    ("profile", "seed", "count", "length", "last", "cid"),
    [
        (
            V0_2015,
            "hamt-unixfs-v0-2015",
            4096,
            30,
            30,
            "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN",
        ),
        (
            V0_2015,
            "hamt-unixfs-v0-2015",
            4033,
            31,
            31,
            "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP",
        ),
        (
            V1_2025,
            "hamt-unixfs-v1-2025",
            4766,
            11,
            21,
            "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4",
        ),
        (
            V1_2025,
            "hamt-unixfs-v1-2025",
            4766,
            11,
            22,
            "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu",
        ),
    ],
)
def test_published_directories(profile, seed, count, length, last, cid):
    alphabet = b"abcdefghijklmnopqrstuvwxyz01234567890-_"
    letters = bytes(alphabet[byte % len(alphabet)] for byte in ChaChaStream(seed, 1 << 18).read())
    ends = [length * (number + 1) for number in range(count - 1)]
    names = [letters[end - length : end] for end in ends] + [letters[ends[-1] : ends[-1] + last]]
    x = import_file(io.BytesIO(b"x"), lambda cid, block: None, profile)
    dag = directory_dag([(name, x.root, x.tsize) for name in names], profile)
    assert str(dag.root) == cid


def test_small_published_objects():
    def root(data, profile):
        return str(import_file(io.BytesIO(data), lambda cid, block: None, profile).root)

    assert root(b"hello world", V0_2015) == "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
    assert (
        root(b"hello world", V1_2025)
        == "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    )
    assert str(directory_dag([], V0_2015).root) == "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
    assert (
        str(directory_dag([]).root) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    )


def test_published_symlink():
    # gateway-conformance, fixture symlink.car: a directory with the file foo and the link bar -> foo.
    link, block = symlink_node(b"foo", V0_2015)
    assert str(link) == "QmTB8BaCJdCH5H3k7GrxJsxgDNmNYGGR71C58ERkivXoj5"
    foo = import_file(io.BytesIO(b"content\n"), lambda cid, block: None, V0_2015)
    dag = directory_dag([(b"foo", foo.root, foo.tsize), (b"bar", link, len(block))], V0_2015)
    assert str(dag.root) == "QmWvY6FaqFMS89YAQ9NAPjVP4WZKA1qbHbicc9HeSKQTgt"
