"""What the servers of the gateway benchmark hold: the corpus and large files, and what those are called in IPFS."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import LARGE_MIB
from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.cid import CID
from muniment.content.path_resolution import resolve_path
from muniment.content.unixfs import leaf_layout

SMALL_BYTES = 23_000
MANY_FILES = 1_000
"""How many small files are asked for in turn, so that no memory of the last answer helps."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Files and the paths at a gateway that they have.

    Attributes:
        corpus: The corpus' folder.
        large: The folder of the large files.
        corpus_cid: CID of the corpus' folder.
        large_cid: CID of the other.
        small: The text file whose size is nearest to 23 KB, below the corpus.
        small_path: The path of that file by its own CID.
        many: Small files, below the corpus.
        block_paths: Paths of the blocks of a large file, all of 1 MiB.
    """

    corpus: Path
    large: Path
    corpus_cid: CID
    large_cid: CID
    small: Path
    small_path: str
    many: tuple[Path, ...]
    block_paths: tuple[str, ...]

    def size_bytes(self, *files: Path) -> float:
        """Mean size of files of the corpus."""
        return sum((self.corpus / file).stat().st_size for file in files) / len(files)

    def path(self, file: Path) -> str:
        """The path of a file of the corpus, from the corpus' root."""
        return f"/ipfs/{self.corpus_cid}/{file}"

    def large_path(self, size_mib: int) -> str:
        """The path of a large file."""
        return f"/ipfs/{self.large_cid}/large{size_mib}.bin"


def find_holdings(
    corpus: Path, large: Path, corpus_cid: CID, large_cid: CID, store: Path
) -> Holdings:
    """Choose the files that are asked for; `store` is a block store that has them."""
    sizes = {
        path.relative_to(corpus): path.stat().st_size for path in sorted(corpus.glob("case*/*.txt"))
    }
    small = min(sizes, key=lambda path: abs(sizes[path] - SMALL_BYTES))
    many = tuple(sizes)[:: max(1, len(sizes) // MANY_FILES)][:MANY_FILES]
    large_name = f"large{LARGE_MIB[0]}.bin".encode()
    with EmbeddedBlockStore.open_reader(store) as blocks:
        names = [part.encode() for part in small.parts]
        small_cid = resolve_path(corpus_cid, names, blocks.get).cid
        large_root = resolve_path(large_cid, [large_name], blocks.get).cid
        leaves = [cid for cid, _, _ in leaf_layout(large_root, blocks.get)]
    block_paths = tuple(f"/ipfs/{cid}?format=raw" for cid in leaves)
    return Holdings(
        corpus, large, corpus_cid, large_cid, small, f"/ipfs/{small_cid}", many, block_paths
    )
