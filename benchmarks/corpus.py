"""Made files to archive: the same bytes on every machine, from a seed and nothing else.

The text is drawn word by word from a made vocabulary with Zipf-like frequencies. It compresses about as an office's
documents do (zstd level 1 to about 0.43, LZ4 to about 0.65), and no two files share more than words. The media are
incompressible. Everything comes from the keystream of ChaCha20 (RFC 8439), so it never depends on a Python version.
"""

import hashlib
import itertools
import os
import shutil
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

GENERATION = 1
"""Part of every cached folder's name: raise it when the generator's output changes."""

TEXT_FILES = 20_000
TEXT_SIZE_MIN, TEXT_SIZE_MAX = 1 * KIB, 50 * KIB
FILES_PER_FOLDER = 200
MEDIA_SIZE_MAX = 64 * MIB
TINY_FILES_PER_FOLDER = 1_000
LARGE_MIB = (64, 256)

VOCABULARY_WORDS = 8_000
WORD_SLOTS = 1 << 16  # a word is drawn by 16 random bits


class Keystream:
    """Endless reproducible bytes, named by a label."""

    def __init__(self, label: str) -> None:
        key = hashlib.sha256(label.encode()).digest()
        self._encryptor = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()

    def read(self, size_bytes: int) -> bytes:
        """The next `size_bytes` bytes."""
        return self._encryptor.update(bytes(size_bytes))

    def shorts(self, count: int) -> "array[int]":
        """The next `count` integers from 0 to 65,535."""
        numbers = array("H", self.read(2 * count))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers


class TextStream:
    """Endless text; a file of any size is the next cut of it."""

    WORDS_AT_ONCE = 100_000

    def __init__(self, label: str) -> None:
        self._random = Keystream(label)
        self._slots = _word_slots(_vocabulary(Keystream("vocabulary")))
        self._buffer = b""
        self._offset = 0

    def read(self, size_bytes: int) -> bytes:
        """The next `size_bytes` bytes of text."""
        while len(self._buffer) - self._offset < size_bytes:
            words = map(self._slots.__getitem__, self._random.shorts(self.WORDS_AT_ONCE))
            self._buffer = self._buffer[self._offset :] + b"".join(words)
            self._offset = 0
        self._offset += size_bytes
        return self._buffer[self._offset - size_bytes : self._offset]


def _vocabulary(random: Keystream) -> list[bytes]:
    """Made words of one to four syllables, each with the space behind it."""
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstv" for vowel in "aeio"]
    words: list[bytes] = []
    while len(words) < VOCABULARY_WORDS:
        length, *draws = random.read(5)
        word = "".join(syllables[draw % len(syllables)] for draw in draws[: 1 + length % 4])
        words.append(f"{word} ".encode())
    return words


def _word_slots(words: list[bytes]) -> list[bytes]:
    """The words, each repeated by its frequency (of rank r: 1/(r+10)), so that a uniform draw is a weighted one."""
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    slots: list[bytes] = []
    for word, weight in zip(words, weights, strict=True):
        slots.extend([word] * (round(weight / weights[-1] * WORD_SLOTS) - len(slots)))
    return slots


def make_corpus(cache: Path, files: int = TEXT_FILES, size_bytes: int = GIB) -> Path:
    """The folder of `files` text files, filled up with media to `size_bytes`; made unless `cache` has it."""
    return _cached(cache / f"corpus-v{GENERATION}-{files}-{size_bytes}", _corpus(files, size_bytes))


def make_tiny_files(cache: Path, files: int) -> Path:
    """The folder of `files` files of 32 bytes, all different; made unless `cache` has it."""
    return _cached(cache / f"tiny-v{GENERATION}-{files}", tiny_files(files))


def make_large_files(cache: Path) -> Path:
    """The folder of the large files, incompressible, `large64.bin` and so on by size in MiB; made unless `cache` has it."""
    content = (
        (f"large{size}.bin", Keystream(f"large {size}").read(size * MIB)) for size in LARGE_MIB
    )
    return _cached(cache / f"large-v{GENERATION}", content)


def _corpus(files: int, size_bytes: int) -> Iterator[tuple[str, bytes]]:
    left_bytes = size_bytes
    for name, content in text_files(files):
        left_bytes -= len(content)
        yield name, content
    for number in itertools.count():
        if left_bytes <= 0:
            return
        content = Keystream(f"media {number}").read(min(left_bytes, MEDIA_SIZE_MAX))
        left_bytes -= len(content)
        yield f"media/clip{number:02}.bin", content


def text_files(files: int) -> Iterator[tuple[str, bytes]]:
    """The corpus' text files as relative path and content."""
    text, span = TextStream("text"), TEXT_SIZE_MAX - TEXT_SIZE_MIN + 1
    for number, draw in enumerate(Keystream("sizes").shorts(files)):
        head = f"id: {hashlib.sha256(b'%d' % number).hexdigest()}\n\n".encode()
        size_bytes = TEXT_SIZE_MIN + (draw * span >> 16)
        path = f"case{number // FILES_PER_FOLDER:03}/doc{number:05}.txt"
        yield path, head + text.read(size_bytes - len(head))


def tiny_files(files: int) -> Iterator[tuple[str, bytes]]:
    """Tiny files as relative path and content: what a scan costs when contents cost nothing."""
    for number in range(files):
        path = f"d{number // TINY_FILES_PER_FOLDER:04}/f{number:07}.txt"
        yield path, f"tiny file, number {number:>12}\n".encode()


def _cached(folder: Path, content: Iterator[tuple[str, bytes]]) -> Path:
    """`folder`, written if it is not there: under another name first, so that a folder by that name is whole."""
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _write(partial, content)
        partial.rename(folder)
    return folder


def _write(root: Path, content: Iterator[tuple[str, bytes]]) -> None:
    root.mkdir(parents=True)
    made = ""
    for name, data in content:
        folder, _, _ = name.rpartition("/")
        if folder != made:
            os.mkdir(root / folder)
            made = folder
        with open(f"{root}/{name}", "wb", buffering=0) as file:
            file.write(data)
    os.sync()
