"""A gateway for tests: in this process without sockets, over any block store; and the public fixtures of the IPFS project."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from muniment.adapters.gateway_names import LinkTable, RecordFolder
from muniment.content.car import CarReader
from muniment.content.cid import CID
from muniment.content.ports import BlockStore

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "gateway-conformance"
"""Where the fixtures of the gateway conformance suite lie, beside the project's own folder."""

NO_FIXTURES = f"the public fixtures of the gateway conformance suite are not at {FIXTURES}"


@dataclass(frozen=True, slots=True)
class Fixtures:
    """The fixtures in one folder."""

    folder: Path = FIXTURES

    def load(self, store: BlockStore) -> int:
        """Put every block of every CAR into a store; returns how many were new."""
        count = 0
        for path in sorted(self.folder.glob("*.car")):
            with open(path, "rb") as file:
                count += store.put_many(CarReader(file))
        return count

    def root(self, name: str) -> CID:
        """Return the root of the CAR whose name begins so."""
        (path,) = self.folder.glob(f"{name}_*.car")
        with open(path, "rb") as file:
            (root,) = CarReader(file).roots
        return root

    @property
    def records(self) -> RecordFolder:
        """The IPNS records."""
        return RecordFolder(self.folder)

    @property
    def links(self) -> Mapping[str, str]:
        """The DNSLinks: content paths by domain."""
        table: dict[str, str] = json.loads((self.folder / "dnslinks.json").read_text())["domains"]
        return table

    @property
    def link_table(self) -> LinkTable:
        """The DNSLinks, ready to be asked."""
        return LinkTable(self.links)
