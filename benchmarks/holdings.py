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
    """Files and their names in IPFS.

    Attributes:
        corpus: The corpus' folder.
        large: The folder of the large files.
        corpus_cid: CID of the corpus' folder.
        large_cid: CID of the other.
        small: The text file whose size is nearest to 23 KB, below the corpus.
        many: Small files, below the corpus.
    """

    corpus: Path
    large: Path
    corpus_cid: CID
    large_cid: CID
    small: Path
    many: tuple[Path, ...]

    def size_bytes(self, *files: Path) -> float:
        """Mean size of files of the corpus."""
        return sum((self.corpus / file).stat().st_size for file in files) / len(files)

    def path(self, file: Path) -> str:
        """The path at a gateway of a file of the corpus, from the corpus' root."""
        return f"/ipfs/{self.corpus_cid}/{file}"

    def large_path(self, size_mib: int) -> str:
        """The path at a gateway of a large file."""
        return f"/ipfs/{self.large_cid}/large{size_mib}.bin"


def find_holdings(corpus: Path, large: Path, corpus_cid: CID, large_cid: CID) -> Holdings:
    """Choose the files that are asked for."""
    sizes = {
        path.relative_to(corpus): path.stat().st_size for path in sorted(corpus.glob("case*/*.txt"))
    }
    small = min(sizes, key=lambda path: abs(sizes[path] - SMALL_BYTES))
    step = max(1, len(sizes) // MANY_FILES)
    many = tuple(sizes)[::step][:MANY_FILES]
    return Holdings(corpus, large, corpus_cid, large_cid, small, many)


def small_cid(store: Path, holdings: Holdings) -> CID:
    """CID of the small file."""
    with EmbeddedBlockStore.open_reader(store) as blocks:
        segments = [part.encode() for part in holdings.small.parts]
        return resolve_path(holdings.corpus_cid, segments, blocks.get).cid


def large_blocks(store: Path, holdings: Holdings) -> list[CID]:
    """CIDs of the blocks of the first large file, but a shorter last one."""
    with EmbeddedBlockStore.open_reader(store) as blocks:
        name = f"large{LARGE_MIB[0]}.bin".encode()
        root = resolve_path(holdings.large_cid, [name], blocks.get).cid
        return [cid for cid, _, size in leaf_layout(root, blocks.get)]
