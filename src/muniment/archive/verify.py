"""Verification of a commit: everything that `docs/spec/commit.md`, section 8, wants rejected.

Split so that workers share the work: `open_commit` checks what hangs together (manifest, signature, chain, tree), and then any
order of `check_file` for each sealed file and `check_leaves` for ranges of leaves does the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from blake3 import blake3
from msgspec import UNSET

from muniment.archive import contents, tarball
from muniment.archive import record as records
from muniment.archive.catalog import ArchivedFile, ContentPlace
from muniment.archive.commit_source import TarView, read_manifest, read_records
from muniment.archive.disclosure import DisclosedFile, fields_digest, shown_paths
from muniment.archive.keyring import MAX_HEADER_BYTES, Keyring, check_sealed
from muniment.archive.leaf_order import LeafPath, check_follows, check_order, ends
from muniment.archive.manifest import KEYRING_NAME, Manifest, Previous, verify_signature
from muniment.archive.merkle import MerkleTree
from muniment.archive.record import Content, Record
from muniment.archive.records_file import RecordsFile
from muniment.archive.signing import VerifyKey
from muniment.archive.sources import CommitSource
from muniment.errors import FormatError, IntegrityError, KeyUnavailableError, MissingDataError

OpenMember = Callable[[ContentPlace], Callable[[int], bytes]]
"""Returns a reader of the member at a place, in whatever commit it lies."""

_SPAN_BYTES = 8 << 20
_WINDOW_BYTES = 256 << 10  # headers of small members are read many at a time
_BUFFERED_BYTES = 16 << 20  # spans of small files are read at once; one large file is not
_SPAN_LEAVES = 2048
_PIECE_BYTES = 1 << 20
_NOBODY_OPENS = "nobody can open this commit; fetch it from a partner or the backup"


class OpenedCommit(NamedTuple):
    """A commit whose manifest, signature and tree hold."""

    manifest: Manifest
    signer: VerifyKey
    records: RecordsFile


class Span(NamedTuple):
    """A range of leaves and where they lie in the tar, from the first one's header on."""

    start: int
    stop: int
    offset: int
    end: int


@dataclass(frozen=True)
class LeavesReport:
    """What `check_leaves` saw.

    Attributes:
        leaves: Leaves checked.
        opened: Contents decrypted and hashed.
        erased: Leaves whose keys were erased on purpose.
        size_bytes: Plaintext bytes of the opened contents.
        paths: The first and the last path; whoever checks a commit in ranges has `check_ranges` compare them.
    """

    leaves: int
    opened: int
    erased: int
    size_bytes: int
    paths: tuple[LeafPath, ...] = ()


def open_commit(
    source: CommitSource,
    *,
    expected_signer: VerifyKey | Sequence[VerifyKey] | None = None,
    organization_id: str | None = None,
    previous: Previous | None = None,
    check_chain: bool = False,
) -> OpenedCommit:
    """Check manifest, organisation, signature, chain and tree.

    Args:
        source: The commit.
        expected_signer: The organisation's key or keys; None believes the key in the manifest.
        organization_id: The organisation whose commit it must be; None takes any.
        previous: The commit before it, as its own manifest describes it.
        check_chain: Whether `previous` is known: then the manifest must name exactly it.

    Raises:
        IntegrityError: Something does not hold; the message names it.
    """
    manifest = read_manifest(source)
    if organization_id not in (None, manifest.organization.id):
        raise IntegrityError(
            f"the commit is of organisation {manifest.organization.id!r}, expected {organization_id!r}"
        )
    signer = verify_signature(manifest, expected_signer)
    if check_chain and manifest.chain.previous != previous:
        named = manifest.chain.previous.commit_id if manifest.chain.previous else "none"
        known = previous.commit_id if previous else "none"
        raise IntegrityError(
            f"the chain does not hold: the manifest's previous commit ({named}) is not, in id, digest and root, the one before it ({known})"
        )
    table = read_records(source, manifest)
    root = MerkleTree(table.leaves()).root
    if root != manifest.root:
        raise IntegrityError(
            f"the Merkle root over records.sealed is {root.hex()}, but the manifest says {manifest.root.hex()}"
        )
    if manifest.files is not UNSET:
        _check_disclosed(manifest.files, table)
    return OpenedCommit(manifest, signer, table)


def check_keyring(source: CommitSource, manifest: Manifest) -> None:
    """Check that a commit has a keyring, as far as that can be told without keys: a damaged key is found by those who open it.

    Raises:
        MissingDataError: It is not there, or cannot be read.
        FormatError: Its header is damaged, or its size is not that of so many keys.
    """
    try:
        size_bytes = source.size(KEYRING_NAME)
        head = source.read(KEYRING_NAME, 0, MAX_HEADER_BYTES)
    except MissingDataError as error:
        raise MissingDataError(f"{KEYRING_NAME} is missing: {_NOBODY_OPENS}") from error
    try:
        check_sealed(head, size_bytes, manifest.commit_id, manifest.merkle.leaf_count)
    except FormatError as error:
        raise FormatError(f"{KEYRING_NAME} is damaged ({error}): {_NOBODY_OPENS}") from error


def _check_disclosed(files: Sequence[DisclosedFile], table: RecordsFile) -> None:
    if [file.leaf for file in files] != list(range(len(table))):
        raise FormatError("the manifest's disclosed files are not exactly its leaves, in order")
    for file in files:
        if fields_digest(file) != table.fields_digest(file.leaf):
            raise IntegrityError(
                f"the disclosed fields of leaf {file.leaf} are not those that the leaf binds"
            )
    check_order(shown_paths(files))


def spans(opened: OpenedCommit, tar: TarView) -> Iterator[Span]:
    """Cut the leaves into ranges of some MiB, by the headers of the tar; checks that the tar ends as it should.

    Raises:
        IntegrityError: The tar has another form.
    """
    start, span_offset, offset = 0, 0, 0
    count = len(opened.records)
    window, window_end = tar, 0
    for leaf in range(count):
        if offset + tarball.BLOCK_BYTES > window_end:
            window_end = min(offset + _WINDOW_BYTES, tar.size)
            window = tar.buffered(offset, max(offset, window_end))
        if leaf > start and (offset - span_offset >= _SPAN_BYTES or leaf - start >= _SPAN_LEAVES):
            yield Span(start, leaf, span_offset, offset)
            start, span_offset = leaf, offset
        offset += tarball.BLOCK_BYTES + _member_size(window, leaf, offset)
    yield Span(start, count, span_offset, offset)
    if (
        tar.size != offset + len(tarball.TRAILER)
        or tar.read(offset, len(tarball.TRAILER)) != tarball.TRAILER
    ):
        raise FormatError(f"the tar does not end behind its last member, at byte {offset}")


def _member_size(tar: TarView, leaf: int, offset: int) -> int:
    if offset + tarball.BLOCK_BYTES > tar.size:
        raise FormatError(f"the tar ends before member {leaf}")
    header = tar.read(offset, tarball.BLOCK_BYTES)
    size = tarball.size_in_header(header)
    if size < 0 or header != tarball.header(leaf, size) or size % tarball.BLOCK_BYTES:
        raise FormatError(
            f"the tar's header of member {leaf}, at byte {offset}, is not what it must be"
        )
    if offset + tarball.BLOCK_BYTES + size > tar.size:
        raise FormatError(f"member {leaf} reaches behind the end of the tar")
    return size


def check_leaves(
    opened: OpenedCommit,
    tar: TarView,
    span: Span,
    keyring: Keyring | None,
    open_copy: OpenMember,
) -> LeavesReport:
    """Check members against their leaves; with a keyring, also records and contents.

    Args:
        opened: The commit.
        tar: Its tar.
        span: Which leaves.
        keyring: Its keys; None checks all that needs none.
        open_copy: Returns a reader of a member of another commit (or of this one), where a copy's content lies.

    Raises:
        IntegrityError: A leaf does not hold; the message names it.
    """
    sealed_records = opened.records.sealed_records(span.start, span.stop) if keyring else []
    if span.end - span.offset <= _BUFFERED_BYTES:
        tar = tar.buffered(span.offset, span.end)
    offset, contents_opened, erased, size_bytes = span.offset, 0, 0, 0
    paths: list[LeafPath] = []
    for leaf in range(span.start, span.stop):
        member = _check_member(opened, tar, leaf, offset)
        offset = member.start + member.size
        if keyring is None:
            continue
        try:
            file_key = keyring.key(leaf)
        except KeyUnavailableError:
            erased += 1
            continue
        record = check_record(opened.records, leaf, file_key, sealed_records[leaf - span.start])
        paths.append(LeafPath(leaf, record.path))
        content = record.content
        if content is UNSET or content.leaf is not UNSET:
            _check_empty(member, file_key)
        if content is not UNSET:
            place = records.content_place(content, opened.manifest.commit_id, leaf)
            _check_content(record, content, place, member, file_key, tar, open_copy)
            contents_opened += 1
            size_bytes += 0 if record.size is UNSET else record.size
    check_order(paths)
    return LeavesReport(span.stop - span.start, contents_opened, erased, size_bytes, ends(paths))


def check_ranges(reports: Iterable[LeavesReport]) -> None:
    """Check that the paths of a commit ascend from range to range, whatever the order in which these were checked.

    Raises:
        FormatError: Two leaves have the same path, or one is out of order.
    """
    check_order(sorted(path for report in reports for path in report.paths))


class _Member(NamedTuple):
    """A member of the tar; its bytes when they are few."""

    leaf: int
    start: int
    size: int
    data: bytes | None


def _check_member(opened: OpenedCommit, tar: TarView, leaf: int, offset: int) -> _Member:
    size = _member_size(tar, leaf, offset)
    start = offset + tarball.BLOCK_BYTES
    data = None
    if size <= contents.SMALL_BYTES:
        data = tar.read(start, size)
        digest = blake3(data).digest()
    else:
        hasher = blake3()
        for position in range(start, start + size, _PIECE_BYTES):
            hasher.update(tar.read(position, min(_PIECE_BYTES, start + size - position)))
        digest = hasher.digest()
    if digest != opened.records.ciphertext_digest(leaf):
        raise IntegrityError(f"member {leaf} of the tar is not the one that its leaf binds")
    return _Member(leaf, start, size, data)


def check_record(table: RecordsFile, leaf: int, file_key: bytes, sealed: bytes) -> Record:
    """Open a record and check its commitments against its leaf.

    Raises:
        IntegrityError: It does not open, or is not the one that the leaf binds.
    """
    record, fields = records.open_record(file_key, sealed, what=f"record {leaf}")
    if records.fields_digest(file_key, fields) != table.fields_digest(leaf):
        raise IntegrityError(f"record {leaf} is not the one that its leaf binds")
    return record


def _check_empty(member: _Member, file_key: bytes) -> None:
    if member.data is None:
        raise FormatError(
            f"member {member.leaf} is too large for a leaf without content of its own"
        )
    contents.check_empty(member.data, records.content_key(file_key), what=f"member {member.leaf}")


def _check_content(
    record: Record,
    content: Content,
    place: ContentPlace,
    member: _Member,
    file_key: bytes,
    tar: TarView,
    open_copy: OpenMember,
) -> None:
    """Decrypt, decompress and hash a leaf's content."""
    assert record.size is not UNSET
    assert record.blake3 is not UNSET
    size, digest = record.size, bytes.fromhex(record.blake3)
    what = f"the content of leaf {member.leaf}"
    if content.key_hex is not UNSET:
        read, key = open_copy(place), bytes.fromhex(content.key_hex)
    elif (place.offset, place.sealed_size) != (member.start, member.size):
        raise FormatError(
            f"record {member.leaf} places its content elsewhere than in its own member"
        )
    else:
        read, key = tar.reader(member.start), records.content_key(file_key)
        if member.data is not None and size <= contents.SMALL_BYTES:
            contents.open_small(member.data, key, place, size, digest, what=what)
            return
    for _piece in contents.open_content(read, key, place, size, digest, what=what):
        pass


def archived_files(opened: OpenedCommit, keyring: Keyring) -> Iterator[ArchivedFile]:
    """Iterate over the files of a commit as the catalogue knows them, opening every record (rebuild); erased ones are left out.

    Raises:
        IntegrityError: A record does not open, or is not the one that its leaf binds, or its path is out of order.
    """
    last: LeafPath | None = None
    for start in range(0, len(opened.records), _SPAN_LEAVES):
        stop = min(start + _SPAN_LEAVES, len(opened.records))
        for leaf, sealed in enumerate(opened.records.sealed_records(start, stop), start):
            try:
                file_key = keyring.key(leaf)
            except KeyUnavailableError:
                continue
            record = check_record(opened.records, leaf, file_key, sealed)
            path = LeafPath(leaf, record.path)
            if last is not None:
                check_follows(last, path)
            last = path
            yield records.to_archived(record, opened.manifest.commit_id, leaf)
