"""The tar of a commit's members and how it is cut into chunks (`docs/spec/commit.md`, section 4)."""

BLOCK_BYTES = 512
TRAILER = bytes(2 * BLOCK_BYTES)
LEAF_COUNT_MAX = 99_999_999  # eight digits name a member
_OCTAL_SIZE_MAX = 8**11 - 1
_SPACES = b" " * 8  # the checksum counts its own field as spaces
_BEFORE_SIZE = bytes(92) + b"0000600\0" + b"0000000\0" + b"0000000\0"
_MTIME = b"00000000000\0"
_AFTER_CHECKSUM = b"0" + bytes(100) + b"ustar\0" + b"00" + bytes(64 + 8 + 8 + 155 + 12)
_FIXED_SUM = sum(_BEFORE_SIZE) + sum(_MTIME) + sum(_SPACES) + sum(_AFTER_CHECKSUM)


def header(leaf: int, size: int) -> bytes:
    """Return the 512-byte ustar header of the member of a leaf, whose sealed content has `size` bytes."""
    name = b"%08d" % leaf
    digits = b"%011o\0" % size if size <= _OCTAL_SIZE_MAX else b"\x80" + size.to_bytes(11, "big")
    checksum = b"%06o\0 " % (_FIXED_SUM + sum(name) + sum(digits))
    return b"".join((name, _BEFORE_SIZE, digits, _MTIME, checksum, _AFTER_CHECKSUM))


def size_in_header(block: bytes) -> int:
    """Return the size that a header states, or -1 when it states none; the caller compares the whole header."""
    field = block[124:136]
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field[:11]
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1


def chunk_suffix(index: int) -> str:
    """Return the suffix of the chunk at `index`, as GNU `split` names them: aa to yz, zaaa to zyzz, zzaaaa and on.

    A leading `z` announces a longer name, so that names sort in the order of the chunks.
    """
    letters, lead = 2, ""
    while index >= (span := 25 * 26 ** (letters - 1)):
        index -= span
        lead += "z"
        letters += 1
    name = ""
    for _ in range(letters):
        index, digit = divmod(index, 26)
        name = chr(ord("a") + digit) + name
    return lead + name


def chunk_names(prefix: str, count: int) -> list[str]:
    """Return the names of a commit's chunks in order."""
    return [prefix + chunk_suffix(index) for index in range(count)]
