"""Showing some fields of a record, provably, while the others stay hidden (`docs/spec/commit.md`, section 7)."""

from typing import Annotated, Any

import msgspec
from blake3 import blake3
from msgspec import Meta

from muniment.archive import canonical
from muniment.archive import record as records
from muniment.archive.merkle import FIELDS_PREFIX
from muniment.archive.record import Hex32, Natural
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
        FormatError: A field is shown without its salt, or both shown and hidden, or unknown.
    """
    names = disclosed.fields.keys()
    if names != disclosed.salts.keys() or names & disclosed.hidden.keys():
        raise FormatError(
            f"the disclosed fields of leaf {disclosed.leaf} and their salts do not fit"
        )
    parts = [FIELDS_PREFIX]
    for name in sorted(names | disclosed.hidden.keys()):
        if name not in records.FIELD_NAMES:
            raise FormatError(f"leaf {disclosed.leaf} discloses an unknown field {name!r}")
        parts.append(bytes([len(name)]) + name.encode())
        if name in disclosed.hidden:
            parts.append(bytes.fromhex(disclosed.hidden[name]))
        else:
            salt = bytes.fromhex(disclosed.salts[name])
            parts.append(records.commitment(salt, name, canonical.encode(disclosed.fields[name])))
    return blake3(b"".join(parts)).digest()
