"""The Merkle tree over a commit's leaves: the shape of RFC 9162 section 2.1, with BLAKE3.

Distinct prefixes for leaves and nodes keep a node from passing as a leaf, and splitting at the largest power of two,
instead of doubling an odd last leaf, keeps two lists of leaves from sharing a root.
"""

from collections.abc import Sequence

from blake3 import blake3

from muniment.errors import IntegrityError

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
FIELDS_PREFIX = b"\x02"


def leaf_hash(fields_digest: bytes, ciphertext_digest: bytes) -> bytes:
    """Return the leaf of a file: 32 bytes that bind its record's fields and its member in the tar."""
    return blake3(LEAF_PREFIX + fields_digest + ciphertext_digest).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the inner node above two nodes."""
    return blake3(NODE_PREFIX + left + right).digest()


class MerkleTree:
    """All levels of the tree over some leaves, so that every inclusion proof costs a few look-ups.

    Pairing neighbours level by level and passing an unpaired last node up unchanged gives the same shape as RFC 9162's
    recursive definition.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        if not leaves:
            raise IntegrityError("a Merkle tree needs at least one leaf")
        level = list(leaves)
        self._levels = [level]
        while len(level) > 1:
            paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            if len(level) % 2:
                paired.append(level[-1])
            self._levels.append(paired)
            level = paired

    @property
    def root(self) -> bytes:
        """The 32 bytes at the top."""
        return self._levels[-1][0]

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Return the audit path of the leaf at `index`, from the bottom up (RFC 9162 section 2.1.3.1)."""
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index //= 2
        return path


def verify_inclusion(
    leaf: bytes, index: int, leaf_count: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check an inclusion proof (RFC 9162 section 2.1.3.2).

    Raises:
        IntegrityError: The proof does not lead from the leaf at `index` of `leaf_count` to the root.
    """
    if not 0 <= index < leaf_count:
        raise IntegrityError(f"leaf index {index} is not below the leaf count {leaf_count}")
    node, last = index, leaf_count - 1
    computed = leaf
    for sibling in proof:
        if last == 0:
            raise IntegrityError(f"inclusion proof of leaf {index} is too long")
        if node % 2 or node == last:
            computed = node_hash(sibling, computed)
            while not node % 2 and node:
                node //= 2
                last //= 2
        else:
            computed = node_hash(computed, sibling)
        node //= 2
        last //= 2
    if last != 0:
        raise IntegrityError(f"inclusion proof of leaf {index} is too short")
    if computed != root:
        raise IntegrityError(
            f"inclusion proof of leaf {index} does not lead to the root {root.hex()}"
        )
