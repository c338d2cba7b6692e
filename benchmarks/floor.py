"""The pipeline's floor: what the kernels of an archive cost on the same files when nothing else is done.

Reads, hashes, compresses, encrypts, frames and writes every file as `docs/spec/commit.md` has it, without catalogue, records,
keys of their own, tree, journal or fsync, and then makes parity with the same program. Run as a process of its own::

    python -m benchmarks.floor CORPUS OUTPUT WORKERS      prints seconds by kernel, as JSON
"""

import hashlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import blake3
import zstandard
from nacl import bindings
from par2.cli import par2_executable

MIB = 1 << 20
MESSAGE_BYTES = MIB
CHUNK_BYTES = 50 * MIB
TAR_BLOCK_BYTES = 512
ZSTD_LEVEL = 1
WORTH_RATIO = 0.95
"""A file is stored as it is from the first MiB on that does not shrink to less than this."""
PARITY_PERCENT = 5
PARITY_BLOCK_BYTES = 4 * MIB


class Kernels:
    """One worker's pipeline: each source byte is read once, each output byte written once."""

    def __init__(self, output: Path) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._output = output
        self._chunks = 0
        self._chunk: BinaryIO | None = None
        self._left_bytes = 0
        self._lap_s = 0.0

    def archive(self, path: str) -> None:
        """Take one file through every kernel."""
        state = bindings.crypto_secretstream_xchacha20poly1305_state()
        key = bytes(bindings.crypto_secretstream_xchacha20poly1305_KEYBYTES)
        digest = blake3.blake3()
        sealed = [bindings.crypto_secretstream_xchacha20poly1305_init_push(state, key)]
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        worth = True
        self._lap_s = time.perf_counter()
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(MESSAGE_BYTES):
                self._lap("read")
                digest.update(piece)
                self._lap("BLAKE3")
                if worth:
                    packed = compressor.compress(piece)
                    worth = len(packed) < WORTH_RATIO * len(piece)
                    piece = packed if worth else piece
                self._lap("zstd 1")
                sealed.append(bindings.crypto_secretstream_xchacha20poly1305_push(state, piece))
                self._lap("secretstream")
        digest.digest()
        self._write(sealed)

    def close(self) -> None:
        """End the last chunk."""
        if self._chunk:
            self._end_chunk()

    def _write(self, sealed: list[bytes]) -> None:
        size_bytes = sum(map(len, sealed))
        member = b"".join([bytes(TAR_BLOCK_BYTES), *sealed, bytes(-size_bytes % TAR_BLOCK_BYTES)])
        self._lap("tar")
        for start in range(0, len(member), MESSAGE_BYTES):
            piece = memoryview(member)[start : start + MESSAGE_BYTES]
            if self._left_bytes < len(piece):
                self._next_chunk()
            assert self._chunk is not None
            self._chunk.write(piece)
            self._left_bytes -= len(piece)
            self._lap("write")
            self._sha256.update(piece)
            self._lap("SHA-256")
            self._blake3.update(piece)
            self._lap("BLAKE3")

    def _next_chunk(self) -> None:
        self.close()
        self._chunk = open(self._output / f"{os.getpid()}_{self._chunks}", "wb", buffering=MIB)  # noqa: SIM115
        self._sha256, self._blake3 = hashlib.sha256(), blake3.blake3()
        self._chunks += 1
        self._left_bytes = CHUNK_BYTES

    def _end_chunk(self) -> None:
        assert self._chunk is not None
        self._chunk.close()
        self._lap("write")

    def _lap(self, kernel: str) -> None:
        now_s = time.perf_counter()
        self.seconds[kernel] += now_s - self._lap_s
        self._lap_s = now_s


def run(corpus: Path, output: Path, workers: int) -> dict[str, float]:
    """Take the files of `corpus` through all kernels into `output`; the seconds spent in each, of all workers together."""
    shares = _shares(corpus, workers)
    if workers == 1:
        seconds = _work(shares[0], output)
    else:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            results = pool.starmap(_work, [(share, output) for share in shares])
        seconds = {kernel: sum(result[kernel] for result in results) for kernel in results[0]}
    return {**seconds, "PAR2": _parity(output, workers)}


def _work(paths: list[str], output: Path) -> dict[str, float]:
    kernels = Kernels(output)
    for path in paths:
        kernels.archive(path)
    kernels.close()
    return dict(kernels.seconds)


def _shares(corpus: Path, workers: int) -> list[list[str]]:
    """The files in `workers` lists of about equal size: the largest first, each to the list that has least."""
    shares: list[list[str]] = [[] for _ in range(workers)]
    totals = [0] * workers
    for size_bytes, path in sorted(_files(corpus), reverse=True):
        least = totals.index(min(totals))
        shares[least].append(path)
        totals[least] += size_bytes
    return shares


def _files(folder: Path) -> Iterator[tuple[int, str]]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            yield os.stat(path).st_size, path


def _parity(output: Path, workers: int) -> float:
    """Parity for the chunks: the usual percentage, and enough for any one whole chunk. The seconds that it took."""
    chunks = sorted(output.iterdir())
    blocks = sum(math.ceil(chunk.stat().st_size / PARITY_BLOCK_BYTES) for chunk in chunks)
    largest = max(math.ceil(chunk.stat().st_size / PARITY_BLOCK_BYTES) for chunk in chunks)
    recovery = max(largest, math.ceil(blocks * PARITY_PERCENT / 100))
    shape = [f"-s{PARITY_BLOCK_BYTES}", f"-c{recovery}", "-n1", f"-t{workers}", f"-T{workers}"]
    started_s = time.perf_counter()
    command = [
        par2_executable(),
        "create",
        "-q",
        "-q",
        *shape,
        str(output / "parity.par2"),
        *map(str, chunks),
    ]
    subprocess.run(command, check=True)
    return time.perf_counter() - started_s


def main() -> None:
    """Run the floor that the command line names and print its seconds."""
    corpus, output, workers = sys.argv[1:]
    folder = Path(output)
    folder.mkdir()
    print(json.dumps(run(Path(corpus), folder, int(workers))))


if __name__ == "__main__":
    main()
