"""Showing some fields of a record, provably, while the others stay hidden (`docs/spec/commit.md`, section 7)."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from blake3 import blake3
from msgspec import UNSET, Meta

from muniment.archive import canonical
from muniment.archive import record as records
from muniment.archive.leaf_order import LeafPath
from muniment.archive.merkle import FIELDS_PREFIX
from muniment.archive.record import FIELDS_OF_KIND, Hex32, Natural, ShownFields
from muniment.errors import FormatError

HIDDEN_ALWAYS = frozenset({"content"})
"""Fields that are not shown with others: `content` may hold a content key."""

FieldName = Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,40}\Z")]


class DisclosedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some fields of a leaf in the clear, with what proves them.

    Attributes:
        leaf: The leaf.
        fields: Values of the fields that are shown.
        salts: Their salts.
        hidden: Commitments to the other fields.
    """

    leaf: Natural
    fields: dict[FieldName, Any]
    salts: dict[FieldName, Hex32]
    hidden: dict[FieldName, Hex32]


def disclose(leaf: int, file_key: bytes, record_fields: list[tuple[str, bytes]]) -> DisclosedFile:
    """Show all fields of a record but those of `HIDDEN_ALWAYS`."""
    shown = [(name, value) for name, value in record_fields if name not in HIDDEN_ALWAYS]
    return DisclosedFile(
        leaf=leaf,
        fields={name: msgspec.json.decode(value) for name, value in shown},
        salts={name: records.field_salt(file_key, name).hex() for name, _value in shown},
        hidden={
            name: records.commitment(records.field_salt(file_key, name), name, value).hex()
            for name, value in record_fields
            if name in HIDDEN_ALWAYS
        },
    )


def fields_digest(disclosed: DisclosedFile) -> bytes:
    """Return the digest over all commitments: equal to the leaf's exactly when the shown values are the committed ones.

    Raises:
        FormatError: See `check`.
    """
    check(disclosed)
    parts = [FIELDS_PREFIX]
    for name in sorted(disclosed.fields.keys() | disclosed.hidden.keys()):
        parts.append(bytes([len(name)]) + name.encode())
        if name in disclosed.hidden:
            parts.append(bytes.fromhex(disclosed.hidden[name]))
        else:
            salt = bytes.fromhex(disclosed.salts[name])
            parts.append(records.commitment(salt, name, canonical.encode(disclosed.fields[name])))
    return blake3(b"".join(parts)).digest()


def shown_paths(files: Iterable[DisclosedFile]) -> Iterator[LeafPath]:
    """Iterate over the paths that are shown, of files that were checked."""
    for file in files:
        if "path_hex" in file.fields:
            yield LeafPath(file.leaf, bytes.fromhex(file.fields["path_hex"]))


def check(disclosed: DisclosedFile) -> ShownFields:
    """Check that a leaf's fields, shown and hidden, are those of one kind of record; returns what is shown.

    Raises:
        FormatError: A field is shown without its salt, or both shown and hidden, or of another kind; `content` is shown, or is
            where no content can be; a value is not allowed.
    """
    what = f"leaf {disclosed.leaf}, as the manifest discloses it,"
    names, hidden = disclosed.fields.keys(), disclosed.hidden.keys()
    if names != disclosed.salts.keys() or names & hidden:
        raise FormatError(f"{what} has fields and salts that do not fit")
    if not names.isdisjoint(HIDDEN_ALWAYS):
        raise FormatError(f"{what} shows its content, which may hold a key")
    try:
        shown = msgspec.convert(disclosed.fields, ShownFields)
    except msgspec.ValidationError as error:
        raise FormatError(f"{what} is not valid: {error}") from error
    kind = next(
        (
            kind
            for kind, fields in FIELDS_OF_KIND.items()
            if fields == (names | hidden) - HIDDEN_ALWAYS
        ),
        None,
    )
    if kind is None or shown.kind not in (UNSET, kind):
        raise FormatError(f"{what} does not have the fields of its kind")
    records.check_values(shown, what)
    has_content = not hidden.isdisjoint(HIDDEN_ALWAYS)
    if has_content != (kind == "file" and (has_content if shown.size is UNSET else shown.size > 0)):
        raise FormatError(f"{what} has a content where it must not, or none where it must")
    return shown
