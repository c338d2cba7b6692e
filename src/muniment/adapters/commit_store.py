"""The embedded store of commits: their folders, served as blocks in place by the block store beside them."""

import os
from collections.abc import Iterator
from pathlib import Path

from muniment.adapters.commit_folder import CommitFolder
from muniment.adapters.durable import sync_folder
from muniment.archive.commit_dag import CommitDag
from muniment.errors import NotFoundError

COMMITS = "commits"


class EmbeddedCommitStore:
    """`<folder>/commits/<commit_id>/` holds the commits, `<folder>/packs/` the inner nodes of their DAGs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits = folder / COMMITS

    def adopt(self, commit_id: str, files: Path, dag: CommitDag) -> None:
        """See `muniment.archive.ports.CommitStore`."""
        from muniment.adapters.block_store import EmbeddedBlockStore  # noqa: PLC0415  # restoring needs no blocks

        target = self.path(commit_id)
        if not target.exists():  # else an earlier run got as far as moving it
            self.commits.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(files)
            os.replace(files, target)
            sync_folder(self.commits)
            sync_folder(files.parent)
        with EmbeddedBlockStore(self.folder) as blocks:
            blocks.put_many(dag.inner, verify=False)
            blocks.index_directory(dag.root, target)
            blocks.pin(dag.root, commit_id)

    def has(self, commit_id: str) -> bool:
        """See `CommitStore.has`."""
        return self.path(commit_id).is_dir()

    def path(self, commit_id: str) -> Path:
        """Return where a commit is, or would be."""
        return self.commits / commit_id

    def open(self, commit_id: str) -> CommitFolder:
        """Return a stored commit.

        Raises:
            NotFoundError: It is not here.
        """
        if not self.has(commit_id):
            raise NotFoundError(f"commit {commit_id} is not in this store ({self.commits})")
        return CommitFolder(self.path(commit_id))

    def ids(self) -> Iterator[str]:
        """Iterate over the ids of all commits that are here, oldest first."""
        if self.commits.is_dir():
            yield from sorted(
                entry.name
                for entry in os.scandir(self.commits)
                # A leading dot marks what is being imported or repaired.
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
