"""A leaf's record: what is known of one archived file, committed field by field (`docs/spec/commit.md`, 5 to 7).

Each field has a commitment of its own under a salt of its own, so that one field can later be shown and proven while the
others stay hidden, and nobody can guess a hidden one.
"""

from typing import Annotated, Literal

import msgspec
from blake3 import blake3
from msgspec import UNSET, Meta, UnsetType

from muniment.archive import canonical, sealed_stream
from muniment.archive.catalog import ArchivedFile, ContentPlace, Kind, ScannedFile
from muniment.archive.media_type import PATTERN as MEDIA_TYPE_PATTERN
from muniment.archive.merkle import FIELDS_PREFIX
from muniment.errors import FormatError

# Contexts of BLAKE3's key derivation: application, date of definition, purpose. Changing one orphans every archive.
RECORD_KEY_CONTEXT = "muniment 2026-11-21 record key"
CONTENT_KEY_CONTEXT = "muniment 2026-11-21 content key"
FIELD_SALT_CONTEXT = "muniment 2026-11-21 field salt"

PATH_BYTES_MAX = 4096
NANOSECONDS_MAX = (1 << 63) - 1  # what file systems and databases hold: the years 1678 to 2261
SEALED_RECORD_BYTES_MAX = 65_536

Natural = Annotated[int, Meta(ge=0, le=canonical.INTEGER_MAX)]
# Patterns end in \Z: `$` would also take a line feed at the end.
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
PathHex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})+\Z", max_length=2 * PATH_BYTES_MAX)]
Nanoseconds = Annotated[str, Meta(pattern=r"^(0|-?[1-9][0-9]{0,18})\Z")]
CommitId = Annotated[str, Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{8}\Z")]
MediaType = Annotated[str, Meta(pattern=f"^{MEDIA_TYPE_PATTERN}\\Z")]


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a file's content lies; the last three say so for a copy of content that another leaf holds."""

    compression: Literal["none", "zstd", "lz4"]
    offset: Natural
    packed_size: Natural
    sealed_size: Natural
    commit_id: CommitId | UnsetType = UNSET
    key_hex: Hex32 | UnsetType = UNSET
    leaf: Natural | UnsetType = UNSET


_Mode = Annotated[int, Meta(ge=0, le=0o7777)]
_Kind = Literal["file", "directory", "symlink"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one archived file, folder or link. Fields are in the order of their names."""

    ctime_ns: Nanoseconds
    kind: _Kind
    mode: _Mode
    mtime_ns: Nanoseconds
    path_hex: PathHex
    blake3: Hex32 | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    media_type: MediaType | UnsetType = UNSET
    size: Natural | UnsetType = UNSET
    target_hex: PathHex | UnsetType = UNSET

    @property
    def path(self) -> bytes:
        """Bytes of the path, relative to `/`."""
        return bytes.fromhex(self.path_hex)


class ShownFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Those fields of a record that are shown to others; `content`, which may hold a key, never is."""

    ctime_ns: Nanoseconds | UnsetType = UNSET
    kind: _Kind | UnsetType = UNSET
    mode: _Mode | UnsetType = UNSET
    mtime_ns: Nanoseconds | UnsetType = UNSET
    path_hex: PathHex | UnsetType = UNSET
    blake3: Hex32 | UnsetType = UNSET
    media_type: MediaType | UnsetType = UNSET
    size: Natural | UnsetType = UNSET
    target_hex: PathHex | UnsetType = UNSET


_COMMON = frozenset({"ctime_ns", "kind", "mode", "mtime_ns", "path_hex"})
FIELDS_OF_KIND = {
    "file": _COMMON | {"blake3", "media_type", "size"},
    "directory": _COMMON,
    "symlink": _COMMON | {"target_hex"},
}
"""What a record of each kind has, and nothing else but the `content` of a file that is not empty."""

_EMPTY_DIGEST = blake3().hexdigest()


def build(
    scanned: ScannedFile, digest: bytes | None, media_type: str, content: Content | None
) -> Record:
    """Make the record of what was read."""
    is_file = scanned.kind is Kind.FILE
    return Record(
        ctime_ns=str(scanned.ctime_ns),
        kind=scanned.kind.value,
        mode=scanned.mode,
        mtime_ns=str(scanned.mtime_ns),
        path_hex=scanned.path.hex(),
        blake3=digest.hex() if digest is not None else UNSET,
        content=content if content is not None else UNSET,
        media_type=media_type if is_file else UNSET,
        size=scanned.size if is_file else UNSET,
        target_hex=scanned.target.hex() if scanned.target is not None else UNSET,
    )


FIELD_NAMES = tuple(sorted(Record.__struct_fields__))
_LABELLED = {name: bytes([len(name)]) + name.encode() for name in FIELD_NAMES}


def fields(record: Record) -> list[tuple[str, bytes]]:
    """Return the record's fields with their canonical JSON values, in ascending order of name."""
    encode = canonical.encode
    return [
        (name, encode(value))
        for name in FIELD_NAMES
        if (value := getattr(record, name)) is not UNSET
    ]


def encode(record_fields: list[tuple[str, bytes]]) -> bytes:
    """Return the record's canonical JSON, from its `fields`."""
    return (
        b"{"
        + b",".join([b'"' + name.encode() + b'":' + value for name, value in record_fields])
        + b"}"
    )


def record_key(file_key: bytes) -> bytes:
    """Return the key that the record is sealed under."""
    return blake3(file_key, derive_key_context=RECORD_KEY_CONTEXT).digest()


def content_key(file_key: bytes) -> bytes:
    """Return the key that the content is sealed under."""
    return blake3(file_key, derive_key_context=CONTENT_KEY_CONTEXT).digest()


def field_salt(file_key: bytes, name: str) -> bytes:
    """Return the salt of one field's commitment."""
    return blake3(file_key + name.encode(), derive_key_context=FIELD_SALT_CONTEXT).digest()


def commitment(salt: bytes, name: str, value: bytes) -> bytes:
    """Return the commitment to one field, given its canonical JSON value."""
    return blake3(_LABELLED[name] + value, key=salt).digest()


def fields_digest(file_key: bytes, record_fields: list[tuple[str, bytes]]) -> bytes:
    """Return the digest over the commitments to all fields."""
    parts = [FIELDS_PREFIX]
    for name, value in record_fields:
        parts.append(_LABELLED[name])
        parts.append(commitment(field_salt(file_key, name), name, value))
    return blake3(b"".join(parts)).digest()


def seal(file_key: bytes, record_fields: list[tuple[str, bytes]]) -> bytes:
    """Seal a record under its file's key."""
    return sealed_stream.seal(
        record_key(file_key),
        encode(record_fields),
        sealed_stream.RECORD_UNIT,
        sealed_stream.RECORD_LEAST,
    )


_decoder = msgspec.json.Decoder(Record)


def open_record(
    file_key: bytes, sealed: bytes, *, what: str
) -> tuple[Record, list[tuple[str, bytes]]]:
    """Open a sealed record and check its form; returns it with its `fields`.

    Raises:
        IntegrityError: It does not open under this key.
        FormatError: It is not a canonical record, or its fields do not fit its kind.
    """
    padded = sealed_stream.open_sealed(record_key(file_key), sealed, what=what)
    plain = padded.rstrip(b"\0")  # canonical JSON holds no zero byte
    try:
        record = _decoder.decode(plain)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise FormatError(f"{what} is not valid: {error}") from error
    record_fields = fields(record)
    if encode(record_fields) != plain:
        raise FormatError(f"{what} is not canonical JSON (RFC 8785)")
    _check(record, what)
    return record, record_fields


def _check(record: Record, what: str) -> None:
    """Check what types alone do not say (section 7)."""
    check_values(record, what)
    is_file = record.kind == "file"
    for name in ("size", "blake3", "media_type"):
        if (getattr(record, name) is not UNSET) != is_file:
            raise FormatError(
                f"{what} of kind {record.kind} {'lacks' if is_file else 'has'} the field {name}"
            )
    if (record.target_hex is not UNSET) != (record.kind == "symlink"):
        raise FormatError(f"{what}: target_hex belongs to links, and to every link")
    if (record.content is not UNSET) != (is_file and record.size != 0):
        raise FormatError(
            f"{what}: content belongs to files of one byte or more, and to every such file"
        )
    content = record.content
    if (
        content is not UNSET
        and len({content.commit_id is UNSET, content.leaf is UNSET, content.key_hex is UNSET}) != 1
    ):
        raise FormatError(f"{what}: a copy names commit_id, leaf and key_hex, all three")


def check_values(fields: Record | ShownFields, what: str) -> None:
    """Check the values of those fields that are there: what their types do not say (section 7).

    Raises:
        FormatError: One is not allowed.
    """
    if fields.path_hex is not UNSET:
        check_path(bytes.fromhex(fields.path_hex), what)
    for time_ns in (fields.mtime_ns, fields.ctime_ns):
        if time_ns is not UNSET and not -NANOSECONDS_MAX - 1 <= int(time_ns) <= NANOSECONDS_MAX:
            raise FormatError(f"{what} has a time that does not fit 64 bits")
    if fields.target_hex is not UNSET and b"\0" in bytes.fromhex(fields.target_hex):
        raise FormatError(f"{what} has a link target with a zero byte")
    if fields.size == 0 and fields.blake3 not in (UNSET, _EMPTY_DIGEST):
        raise FormatError(f"{what} is of an empty file, but has another digest")


def check_path(path: bytes, what: str) -> None:
    """Check that a path is relative, clean and bounded.

    Raises:
        FormatError: It is not.
    """
    bad = not path or len(path) > PATH_BYTES_MAX or b"\0" in path
    if bad or not {b"", b".", b".."}.isdisjoint(path.split(b"/")):
        raise FormatError(f"{what} has a path that is not clean: {path[:200]!r}")


def content_place(content: Content, commit_id: str, leaf: int) -> ContentPlace:
    """Return where the content of the record at a leaf lies."""
    return ContentPlace(
        commit_id if content.commit_id is UNSET else content.commit_id,
        leaf if content.leaf is UNSET else content.leaf,
        content.offset,
        content.sealed_size,
        content.packed_size,
        content.compression,
    )


def to_archived(record: Record, commit_id: str, leaf: int) -> ArchivedFile:
    """Return the catalogue's view of a record."""
    content = record.content
    place = None if content is UNSET else content_place(content, commit_id, leaf)
    scanned = ScannedFile(
        path=record.path,
        kind=Kind(record.kind),
        size=0 if record.size is UNSET else record.size,
        mode=record.mode,
        mtime_ns=int(record.mtime_ns),
        ctime_ns=int(record.ctime_ns),
        inode=0,
        target=None if record.target_hex is UNSET else bytes.fromhex(record.target_hex),
    )
    digest = None if record.blake3 is UNSET else bytes.fromhex(record.blake3)
    media_type = "" if record.media_type is UNSET else record.media_type
    return ArchivedFile(None, commit_id, leaf, scanned, digest, media_type, place)
