"""Chains: one for each organisation, whatever lies together."""

import json
from pathlib import Path

import msgspec
import pytest

from muniment.adapters.commit_folder import CommitFolder
from muniment.archive import manifest as manifests
from muniment.archive import verify
from muniment.archive.chains import Link, chains
from muniment.archive.manifest import Organization, Previous
from muniment.errors import IntegrityError

VECTORS = Path(__file__).parents[1] / "vectors/commit"
IDS = [commit["commit_id"] for commit in json.loads((VECTORS / "vectors.json").read_text())["good"]]


def link(number, organization_id="example", commit_id=None):
    manifest = manifests.decode((VECTORS / "good" / IDS[number] / "manifest.json").read_bytes())
    manifest = msgspec.structs.replace(
        manifest,
        organization=Organization(organization_id, "A Name"),
        commit_id=commit_id or manifest.commit_id,
    )
    return Link(manifest, Previous(manifest.commit_id, "sha256:", manifest.merkle.root))


def test_a_chain_is_in_order_and_knows_what_is_before():
    (chain,) = chains([link(2), link(0), link(1)], "example").values()
    assert chain.commit_ids == IDS
    assert chain.before(IDS[0]) == (None, True)
    assert chain.before(IDS[2]) == (link(1).described, True)
    assert list(chain.gaps()) == []
    assert list(chain.gaps([("later", 4)])) == [
        ("later", "commit number 4 is missing from the store")
    ]


def test_a_gap_is_told_once():
    (chain,) = chains([link(2), link(0)], "example").values()
    assert chain.before(IDS[2]) == (None, False)
    assert list(chain.gaps()) == [(IDS[1], "commit number 2 is missing from the store")]


def test_two_commits_of_one_number_are_a_fork_in_one_organisation_only():
    twin = "20261130T101112Z-aaaaaaaa"
    (chain,) = chains([link(0), link(0, commit_id=twin)], "example").values()
    assert [name for name, what in chain.gaps() if "forked" in what] == [twin]
    found = chains([link(0), link(0, "another", twin), link(1)], "example")
    assert list(found) == ["example", "another"]
    assert [list(chain.gaps()) for chain in found.values()] == [[], []]
    assert found["another"].commit_ids == [twin]


def test_the_own_chain_is_there_without_commits():
    found = chains([link(0, "another")], "example")
    assert list(found["example"].gaps([(IDS[0], 1)])) == [
        (IDS[0], "commit number 1 is missing from the store")
    ]


def test_a_commit_of_another_organisation_is_refused_where_one_is_expected():
    with CommitFolder(VECTORS / "good" / IDS[0]) as folder:
        verify.open_commit(folder, organization_id="example")
        with pytest.raises(IntegrityError, match="of organisation 'example', expected 'another'"):
            verify.open_commit(folder, organization_id="another")
