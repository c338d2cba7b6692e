"""UnixFS profiles: the named sets of parameters that fix which CID an input gets (IPIP-499)."""

from dataclasses import dataclass

from muniment.content import varint
from muniment.content.cid import CID, DAG_PB, RAW
from muniment.content.dag_pb import PBLink, encode_link


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that decides about the shape of a DAG.

    Attributes:
        name: The name in IPIP-499.
        cid_version: 0 or 1; 0 only together with wrapped leaves.
        chunk_bytes: File bytes in every leaf but the last.
        raw_leaves: Leaves are raw blocks; else their bytes are wrapped in DAG-PB nodes.
        width: Most links of a file's inner node.
        hamt_fanout: Slots of a shard.
        hamt_threshold_bytes: A directory larger than this becomes a HAMT.
        hamt_by_block: "Larger" means the serialized node; else the sum of link names and CIDs.
    """

    name: str
    cid_version: int
    chunk_bytes: int
    raw_leaves: bool
    width: int
    hamt_fanout: int
    hamt_threshold_bytes: int
    hamt_by_block: bool

    def node_cid(self, block: bytes) -> CID:
        """Return the CID of a DAG-PB node."""
        cid = CID.of(DAG_PB, block)
        return CID(cid.multihash) if self.cid_version == 0 else cid

    def leaf_cid(self, block: bytes) -> CID:
        """Return the CID of a leaf block."""
        return CID.of(RAW, block) if self.raw_leaves else self.node_cid(block)

    def directory_bytes(self, link: PBLink) -> int:
        """Return what a link adds to the size that decides whether its directory must be sharded."""
        if not self.hamt_by_block:
            return len(link.name or b"") + len(link.cid.raw)
        body = len(encode_link(link))
        return 1 + len(varint.encode(body)) + body


V1_2025 = Profile(
    name="unixfs-v1-2025",
    cid_version=1,
    chunk_bytes=1024 * 1024,
    raw_leaves=True,
    width=1024,
    hamt_fanout=256,
    hamt_threshold_bytes=256 * 1024,
    hamt_by_block=True,
)
"""What Muniment writes."""

V0_2015 = Profile(
    name="unixfs-v0-2015",
    cid_version=0,
    chunk_bytes=256 * 1024,
    raw_leaves=False,
    width=174,
    hamt_fanout=256,
    hamt_threshold_bytes=256 * 1024,
    hamt_by_block=False,
)
"""What older software made `Qm...` names with; to make the same again."""
