"""Recovery: bringing the index to what packs, journal and attached directories say."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from muniment.adapters.block_store import packs, references
from muniment.adapters.block_store.index import BlockIndex
from muniment.adapters.block_store.journal import Entry, Journal
from muniment.content.cid import CID

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild found: blocks in packs, blocks in place, and damage, in words."""

    pack_blocks: int
    referenced_blocks: int
    damage: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recovery works on; call its methods only while holding the store's lock."""

    folder: str
    index: BlockIndex
    journal: Journal
    get: Callable[[CID], bytes]

    def fill(self) -> RebuildReport:
        """Fill the index, emptied before, from everything on disk; others see the old one until all is done."""
        damage: list[str] = []
        with self.index.transaction():
            self.index.clear()
            for path in packs.list_packs(self.folder):
                damage += self._adopt_pack(path, 0, known=False)
            damage += self._read_journal()
        for line in damage:
            _log.warning("found while rebuilding the index: %s", line)
        totals = self.index.totals()
        return RebuildReport(
            totals.get(True, (0, 0))[0], totals.get(False, (0, 0))[0], tuple(damage)
        )

    def catch_up(self, *, everything: bool = False) -> None:
        """Bring into the index what is on disk, but was not in it yet when a process died."""
        last = self.index.last_pack()
        number = packs.pack_number(last[0]) if last else 0
        if everything or os.path.exists(os.path.join(self.folder, packs.pack_path(number + 1))):
            indexed = self.index.packs()
            paths = packs.list_packs(self.folder)
        else:
            indexed = {last[0]: last[1:]} if last else {}
            paths = list(indexed)
        for path in paths:
            size, closed = indexed.get(path, (0, False))
            if not closed and size != _size(os.path.join(self.folder, path)):
                self._adopt_pack(path, size, known=True)
        if self.journal.size() != self.index.journal_mark()[1]:
            self._read_journal()

    def _adopt_pack(self, path: str, start: int, *, known: bool) -> list[str]:
        """Index a pack from `start` on; return what is damaged, in words.

        What follows the last whole block was torn off by a crash and is cut off, if all acknowledged blocks are `known`; otherwise it
        could be a damaged one, so it stays, and the pack is closed.
        """
        full_path = os.path.join(self.folder, path)
        size = _size(full_path)
        if size < start:
            self._set_pack(path, start, closed=True)
            _log.error("%s: expected %d bytes, got %d", path, start, size)
            return [f"{path}: expected {start} bytes, got {size}"]
        is_ours = start > 0 or packs.has_our_header(self.folder, path)
        if is_ours and size < len(packs.HEADER):
            os.truncate(full_path, 0)
            self._set_pack(path, 0, closed=False)
            return []
        found = packs.scan(self.folder, path, start, salvage=not known)
        if not is_ours:
            found.damage.append(f"{path}: it does not begin as a pack does")
        may_cut = known and is_ours
        if may_cut:
            os.truncate(full_path, found.end)
            size = found.end
        # A killed writer may not have come to its fsync: what is adopted must be as durable as what it acknowledged.
        packs.fsync_file(full_path)
        with self.index.transaction():
            rows = ((cid.to_v1(), place.offset, place.length) for cid, place in found.blocks)
            self.index.add_blocks(rows, path)
            self._set_pack(path, size, closed=bool(found.damage) and not may_cut)
        return found.damage

    def _set_pack(self, path: str, indexed_bytes: int, *, closed: bool) -> None:
        with self.index.transaction():
            self.index.set_pack(path, indexed_bytes, closed=closed)

    def _read_journal(self) -> list[str]:
        """Bring the rest of the journal into the index; write it anew if it is gone, or shorter than it was."""
        known_id, known_bytes = self.index.journal_mark()
        if (self.journal.size() or 0) < known_bytes or self.journal.size() is None:
            self._replace_journal()
            return []
        journal_id, entries, end = self.journal.read(known_bytes)
        is_other = journal_id != known_id
        if is_other:
            _, entries, end = self.journal.read(0)
        self.journal.fsync()
        problems: list[str] = []
        with self.index.transaction():
            if is_other:
                self.index.clear(roots_only=True)
            for entry in entries:
                problems += self.apply(entry)
            self.index.set_journal_mark(journal_id, end)
        return problems

    def shorten_journal(self) -> None:
        """Write the journal anew if much of it is about roots that are gone."""
        pins, directories = self.index.pins(), self.index.directories()
        if len(self.journal.read(0)[1]) > len(pins) + len(directories):
            self._replace_journal()

    def _replace_journal(self) -> None:
        pins, directories = self.index.pins(), self.index.directories()
        entries = chain(
            (Entry("pin", (str(pin.cid), pin.name)) for pin in pins),
            (Entry("attach", (path, str(root))) for path, root in directories.items()),
        )
        mark = self.journal.replace(entries)
        with self.index.transaction():
            self.index.set_journal_mark(*mark)

    def apply(self, entry: Entry, layout: references.Layout | None = None) -> list[str]:
        """Bring one entry of the journal into the index; return what is missing, in words."""
        index, (first, *rest) = self.index, entry.arguments
        if entry.action == "pin":
            index.set_pin(CID.parse(first), rest[0])
        elif entry.action == "unpin":
            index.set_pin(CID.parse(first), None)
        elif entry.action == "detach":
            index.set_directory(first, None)
        elif entry.action == "attach":
            root = CID.parse(rest[0])
            if layout is None:
                layout = references.lay_out_directory(
                    root, self.folder, first, self.get, verify=False
                )
            index.set_directory(first, root)
            for path, rows in layout.references.items():
                index.add_blocks(rows, path)
            return layout.problems
        return []


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
