"""The Merkle tree: the shape of RFC 9162 by an independent definition, and every forgery that trees of old allowed."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from muniment.archive.merkle import MerkleTree, leaf_hash, node_hash, verify_inclusion
from muniment.errors import IntegrityError

SIZES = range(1, 71)
# The inputs of the Certificate Transparency test vectors (certificate-transparency-go, merkletree): with BLAKE3 they give
# other roots, but the same shape, which is written out below.
CT_INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]


def leaves_of(count):
    return [blake3(b"\x00" + str(index).encode()).digest() for index in range(count)]


def h(*parts):
    return blake3(b"\x01" + b"".join(parts)).digest()


def root_by_definition(leaves):
    """MTH of RFC 9162, section 2.1.1, over leaves that are hashed already."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return h(root_by_definition(leaves[:split]), root_by_definition(leaves[split:]))


def path_by_definition(index, leaves):
    """PATH of RFC 9162, section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return [*path_by_definition(index, left), root_by_definition(right)]
    return [*path_by_definition(index - split, right), root_by_definition(left)]


@pytest.mark.parametrize("count", SIZES)
def test_root_and_every_proof_follow_the_definition(count):
    leaves = leaves_of(count)
    tree = MerkleTree(leaves)
    assert tree.root == root_by_definition(leaves)
    for index, leaf in enumerate(leaves):
        proof = tree.inclusion_proof(index)
        assert proof == path_by_definition(index, leaves)
        verify_inclusion(leaf, index, count, proof, tree.root)


def test_shapes_of_the_certificate_transparency_vectors():
    l = [blake3(b"\x00" + bytes.fromhex(text)).digest() for text in CT_INPUTS]  # noqa: E741
    expected = [
        l[0],
        h(l[0], l[1]),
        h(h(l[0], l[1]), l[2]),
        h(h(l[0], l[1]), h(l[2], l[3])),
        h(h(h(l[0], l[1]), h(l[2], l[3])), l[4]),
        h(h(h(l[0], l[1]), h(l[2], l[3])), h(l[4], l[5])),
        h(h(h(l[0], l[1]), h(l[2], l[3])), h(h(l[4], l[5]), l[6])),
        h(h(h(l[0], l[1]), h(l[2], l[3])), h(h(l[4], l[5]), h(l[6], l[7]))),
    ]
    for count, root in enumerate(expected, 1):
        assert MerkleTree(l[:count]).root == root
    # RFC 9162, section 2.1.5: the audit paths in its example of seven leaves.
    tree = MerkleTree(l[:7])
    k = h(h(l[0], l[1]), h(l[2], l[3]))
    assert tree.inclusion_proof(0) == [l[1], h(l[2], l[3]), h(h(l[4], l[5]), l[6])]
    assert tree.inclusion_proof(3) == [l[2], h(l[0], l[1]), h(h(l[4], l[5]), l[6])]
    assert tree.inclusion_proof(4) == [l[5], l[6], k]
    assert tree.inclusion_proof(6) == [h(l[4], l[5]), k]


def test_prefixes_are_those_of_the_specification():
    fields, ciphertext = blake3(b"f").digest(), blake3(b"c").digest()
    assert leaf_hash(fields, ciphertext) == blake3(b"\x00" + fields + ciphertext).digest()
    assert node_hash(fields, ciphertext) == h(fields, ciphertext)
    assert leaf_hash(fields, ciphertext) != node_hash(fields, ciphertext)


@given(st.data())
def test_every_changed_bit_of_a_proof_is_refused(data):
    count = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, count - 1))
    leaves = leaves_of(count)
    tree = MerkleTree(leaves)
    parts = [leaves[index], tree.root, *tree.inclusion_proof(index)]
    which = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    with pytest.raises(IntegrityError, match=f"inclusion proof of leaf {index} does not lead"):
        verify_inclusion(parts[0], index, count, parts[2:], parts[1])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_a_proof_holds_for_its_own_place_and_count_only(count):
    leaves = leaves_of(count)
    tree = MerkleTree(leaves)
    for index in range(count):
        proof = tree.inclusion_proof(index)
        for other in range(-1, count + 2):
            if other != index:
                with pytest.raises(IntegrityError):
                    verify_inclusion(leaves[index], other, count, proof, tree.root)
        for wrong in (proof[:-1], [*proof, leaves[0]], [leaves[0], *proof], proof[::-1]):
            if wrong != proof:
                with pytest.raises(IntegrityError):
                    verify_inclusion(leaves[index], index, count, wrong, tree.root)


def test_doubling_the_odd_leaf_gives_another_root():
    a, b, c = leaves_of(3)
    assert MerkleTree([a, b, c]).root != MerkleTree([a, b, c, c]).root


@pytest.mark.parametrize("count", range(2, 40))
def test_a_node_does_not_pass_as_a_leaf(count):
    leaves = leaves_of(count)
    root = MerkleTree(leaves).root
    level = [
        node_hash(*leaves[i : i + 2]) if i + 1 < count else leaves[i] for i in range(0, count, 2)
    ]
    # With nodes in the place of leaves, the root is equal only when they are hashed as nodes: real leaves are hashed with
    # another prefix, so nobody has the two digests whose leaf a node would be.
    fields, ciphertext = leaves[0], leaves[1]
    assert leaf_hash(fields, ciphertext) not in level
    assert MerkleTree([leaf_hash(fields, ciphertext), *level[1:]]).root != root


def test_a_tree_without_leaves_is_refused():
    with pytest.raises(IntegrityError, match="at least one leaf"):
        MerkleTree([])
    with pytest.raises(IntegrityError, match="not below the leaf count 0"):
        verify_inclusion(bytes(32), 0, 0, [], bytes(32))
