"""The items of a batch: what is to be done with pins, one after another, and what became of each."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from muniment.pinning.model import (
    CID_CHARS,
    META_ENTRIES,
    NAME_CHARS,
    ORIGINS,
    TAGS,
    NewPin,
    PinChange,
    Priority,
)

BATCH_ITEMS = 10_000

Cid = Annotated[str, msgspec.Meta(max_length=CID_CHARS)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_CHARS)]
Metadata = Annotated[dict[str, str], msgspec.Meta(max_length=META_ENTRIES)]
Tags = Annotated[list[str], msgspec.Meta(max_length=TAGS)]
Origins = Annotated[list[str], msgspec.Meta(max_length=ORIGINS)]
RequestId = Annotated[str, msgspec.Meta(max_length=36)]


class PinFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be pinned.

    Attributes:
        cid: Root of the DAG.
        name: What you call it.
        metadata: What you note about it.
        tags: Words that it is found by.
        group: What it belongs to.
        priority: Whether it is fetched before others.
        origins: Multiaddrs of HTTP gateways that have it.
    """

    cid: Cid
    name: Name | None = None
    metadata: Metadata = {}
    tags: Tags = []
    group: Name = ""
    priority: Priority = Priority.NORMAL
    origins: Origins = []

    def wanted(self) -> NewPin:
        """Return the pin that this asks for.

        Raises:
            UsageError: A value is not valid.
        """
        return NewPin(
            self.cid,
            self.name,
            tuple(self.origins),
            self.metadata,
            tuple(self.tags),
            self.group,
            self.priority,
        )


class ChangeFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to change about a pin; what is left out stays as it is."""

    name: Name | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    group: Name | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET

    def change(self) -> PinChange:
        """Return the change that this asks for."""
        return PinChange(
            _set(self.name),
            _set(self.metadata),
            None if self.tags is UNSET else tuple(self.tags),
            _set(self.group),
            _set(self.priority),
        )


class PinItem(PinFields, tag_field="action", tag="pin"):
    """Pin something."""


class ReplaceItem(PinFields, tag_field="action", tag="replace"):
    """Put a pin in the place of another one."""

    request_id: RequestId


class ChangeItem(ChangeFields, tag_field="action", tag="change"):
    """Change what is known about a pin."""

    request_id: RequestId


class UnpinItem(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="action", tag="unpin"
):
    """Remove a pin."""

    request_id: RequestId


Item = PinItem | ReplaceItem | ChangeItem | UnpinItem


class ItemResult(msgspec.Struct, omit_defaults=True):
    """What became of an item.

    Attributes:
        number: Its place, from 1.
        state: `waiting`, `done` or `failed`.
        request_id: The pin that it made, replaced another one by, changed or removed.
        detail: Why it failed.
    """

    number: int
    state: str
    request_id: str = ""
    detail: str = ""


def encode_item(item: Item) -> str:
    """Return an item as JSON."""
    return msgspec.json.encode(item).decode("utf-8")


def decode_item(text: str) -> Item:
    """Return the item that `encode_item` made text of."""
    item: Item = msgspec.json.decode(text, type=Item)
    return item


def _set(value: Any) -> Any:  # noqa: ANN401  # what the field has
    return None if value is UNSET else value
