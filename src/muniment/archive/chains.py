"""The chains of commits that lie together: one for each organisation (`docs/spec/commit.md`, section 2).

A chain is an organisation's, not a store's nor a key's: a key may be followed by another, and commits of several
organisations may lie in one store. Which keys speak for an organisation is not said here (`verify_signature`).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from muniment.archive.manifest import Manifest, Previous


class Link(NamedTuple):
    """A commit, and the words that the next one must use about it."""

    manifest: Manifest
    described: Previous


class CommitChain:
    """The commits of one organisation, as their own manifests tell it.

    Attributes:
        organization_id: Whose they are.
        links: They, in order of sequence.
    """

    def __init__(self, organization_id: str, links: Iterable[Link]) -> None:
        self.organization_id = organization_id
        self.links = sorted(
            links, key=lambda link: (link.manifest.chain.sequence, link.manifest.commit_id)
        )
        self._positions = {link.manifest.commit_id: at for at, link in enumerate(self.links)}

    @property
    def commit_ids(self) -> list[str]:
        """The commits' ids, in order."""
        return list(self._positions)

    def before(self, commit_id: str) -> tuple[Previous | None, bool]:
        """Describe the commit before, and tell whether it is known: a gap is told of once, and not again for what follows it."""
        position = self._positions[commit_id]
        sequence = self.links[position].manifest.chain.sequence
        if sequence == 1:
            return None, True
        if position and self.links[position - 1].manifest.chain.sequence == sequence - 1:
            return self.links[position - 1].described, True
        return None, False

    def gaps(self, known: Sequence[tuple[str, int]] = ()) -> Iterator[tuple[str, str]]:
        """Name what is missing or there twice, from number 1 to the last that the commits tell of.

        Args:
            known: Id and sequence of commits that are known of otherwise.
        """
        missing: dict[str, int] = {}
        expected = 1
        for link in self.links:
            sequence, previous = link.manifest.chain.sequence, link.manifest.chain.previous
            if sequence < expected:
                yield (
                    link.manifest.commit_id,
                    f"the chain is forked: there is another commit number {sequence} of {self.organization_id}",
                )
            elif sequence > expected and previous is not None:
                missing[previous.commit_id] = sequence - 1
            expected = sequence + 1
        missing |= {
            commit_id: number for commit_id, number in known if commit_id not in self._positions
        }
        for commit_id, number in sorted(missing.items(), key=lambda item: item[1]):
            yield commit_id, f"commit number {number} is missing from the store"


def chains(links: Iterable[Link], own: str) -> dict[str, CommitChain]:
    """Return the chains by organisation: that of `own`, which may be empty, and then the others by id."""
    by_organization: dict[str, list[Link]] = {}
    for link in links:
        by_organization.setdefault(link.manifest.organization.id, []).append(link)
    others = sorted(by_organization.keys() - {own})
    return {name: CommitChain(name, by_organization.get(name, ())) for name in (own, *others)}
