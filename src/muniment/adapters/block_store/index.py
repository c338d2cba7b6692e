"""The index: an SQLite file that says where each block lies. It holds nothing that cannot be found out again."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from muniment.adapters.block_store.packs import FOLDER, Location
from muniment.content.cid import CID
from muniment.content.ports import Pin
from muniment.errors import IntegrityError, MunimentError

NAME = "blocks.sqlite3"
_VERSION = 1
_BUSY_TIMEOUT_S = 30
_SUFFIXES = ("", "-wal", "-shm")

_SCHEMA = f"""
CREATE TABLE files (          -- packs, and files whose bytes are served in place
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,     -- relative to the store's folder
    indexed_bytes INTEGER NOT NULL DEFAULT 0,  -- of a pack: how far it is known
    closed INTEGER NOT NULL DEFAULT 0          -- of a pack: it is damaged, append to another
);
CREATE TABLE blocks (
    cid BLOB NOT NULL,             -- always version 1
    file INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    UNIQUE (cid, file)
);
CREATE TABLE pins (cid BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE directories (path TEXT PRIMARY KEY, root BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""

_SELECT_LOCATIONS = (
    "SELECT path, offset, length FROM blocks JOIN files ON files.id = blocks.file"
    " WHERE cid = ? ORDER BY file"
)


class DamagedIndexError(IntegrityError):
    """The index is no SQLite file, is damaged, or of another version; it can be rebuilt."""


class BlockIndex:
    """One process' connection to the index; safe to use from several threads.

    Raises:
        DamagedIndexError: The file cannot be used.
        FileNotFoundError: It does not exist, and `create` is false.
    """

    def __init__(self, folder: str, *, create: bool) -> None:
        self._path = os.path.join(folder, NAME)
        if not create and not os.path.exists(self._path):
            raise FileNotFoundError(self._path)
        self._lock = threading.RLock()
        self._watch_lock = threading.Lock()
        self._watcher: sqlite3.Connection | None = None
        with _translated_errors():
            self._connection = _connect(self._path)
            try:
                self._prepare(create=create)
                self._inode = os.stat(self._path).st_ino
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, *, create: bool) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if create and version == 0 and tables == 0:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif version != _VERSION:
            raise DamagedIndexError(
                f"{self._path}: expected index version {_VERSION}, got {version}"
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        if self._watcher is not None:
            self._watcher.close()

    def is_current(self) -> bool:
        """Tell whether the file at the index' path is still the one that is open here."""
        try:
            return os.stat(self._path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def generation(self) -> int:
        """Return a number that is another one once any process has changed the index."""
        with self._watch_lock, _translated_errors():
            if self._watcher is None:
                # One's own changes do not count for a connection, so this one makes none; and it never waits for others.
                self._watcher = _connect(self._path, timeout_s=0)
            return int(self._watcher.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside durable together, or nothing of it; inside another transaction, part of that one."""
        with self._lock, _translated_errors():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Open a second connection whose reads all see the same state: for walks over everything."""
        with _translated_errors(), closing(_connect(self._path)) as connection:
            connection.execute("BEGIN")
            yield connection

    def _query(self, sql: str, *parameters: Any) -> list[Any]:  # noqa: ANN401  # what SQLite takes
        with self._lock, _translated_errors():
            return self._connection.execute(sql, parameters).fetchall()

    # Blocks

    def locations(self, cid: CID) -> list[Location]:
        """Return every place where the block lies."""
        return [Location(*row) for row in self._query(_SELECT_LOCATIONS, cid.raw)]

    def in_pack(self, cid: CID) -> bool:
        """Tell whether a pack holds the block."""
        return any(place.path.startswith(f"{FOLDER}/") for place in self.locations(cid))

    def cids(self) -> Iterator[CID]:
        """Yield the CID of every block, each once."""
        with self.snapshot() as connection:
            for (raw,) in connection.execute("SELECT DISTINCT cid FROM blocks"):
                yield CID(raw)

    def add_blocks(self, blocks: Iterable[tuple[CID, int, int]], path: str) -> None:
        """Add (CID, offset, length) of blocks that lie in `path`; call it inside a transaction."""
        file = self._file_id(path)
        self._connection.executemany(
            "INSERT OR REPLACE INTO blocks (cid, file, offset, length) VALUES (?, ?, ?, ?)",
            ((cid.raw, file, offset, length) for cid, offset, length in blocks),
        )

    def _file_id(self, path: str) -> int:
        self._connection.execute("INSERT OR IGNORE INTO files (path) VALUES (?)", (path,))
        row = self._connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
        return int(row[0])

    def remove_files(self, paths: Iterable[str]) -> int:
        """Forget files and all blocks in them; return how many. Call it inside a transaction."""
        removed = 0
        for path in paths:
            file = self._file_id(path)
            removed += self._connection.execute(
                "DELETE FROM blocks WHERE file = ?", (file,)
            ).rowcount
            self._connection.execute("DELETE FROM files WHERE id = ?", (file,))
        return removed

    def paths(self, prefix: str = "") -> list[str]:
        """Return the files that begin with `prefix`, in the order in which they were first added."""
        rows = self._query("SELECT path FROM files ORDER BY id")
        return [path for (path,) in rows if path.startswith(prefix)]

    # Packs

    def packs(self) -> dict[str, tuple[int, bool]]:
        """Return, by path, how far each pack is indexed and whether it is closed; in the order of their numbers."""
        rows = self._query(
            "SELECT path, indexed_bytes, closed FROM files WHERE path GLOB ? ORDER BY path",
            f"{FOLDER}/*",
        )
        return {path: (size, bool(closed)) for path, size, closed in rows}

    def last_pack(self) -> tuple[str, int, bool] | None:
        """Return path, indexed bytes and closedness of the pack with the highest number."""
        rows = self._query(
            "SELECT path, indexed_bytes, closed FROM files WHERE path GLOB ? ORDER BY path DESC LIMIT 1",
            f"{FOLDER}/*",
        )
        return (rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None

    def set_pack(self, path: str, indexed_bytes: int, *, closed: bool = False) -> None:
        """Record how far a pack is indexed; call it inside a transaction."""
        self._connection.execute(
            "UPDATE files SET indexed_bytes = ?, closed = ? WHERE id = ?",
            (indexed_bytes, closed, self._file_id(path)),
        )

    # Roots

    def pins(self) -> list[Pin]:
        """Return every pin, in the order of the CIDs' bytes."""
        return [Pin(CID(raw), name) for raw, name in self._query("SELECT * FROM pins ORDER BY cid")]

    def pin_name(self, cid: CID) -> str | None:
        """Return the name of a pin; None if there is none."""
        rows = list(self._query("SELECT name FROM pins WHERE cid = ?", cid.raw))
        return str(rows[0][0]) if rows else None

    def directories(self) -> dict[str, CID]:
        """Return, by path, the roots of the directories that are served in place."""
        return {path: CID(raw) for path, raw in self._query("SELECT * FROM directories")}

    def set_pin(self, cid: CID, name: str | None) -> None:
        """Add or (name None) remove a pin; call it inside a transaction."""
        if name is None:
            self._connection.execute("DELETE FROM pins WHERE cid = ?", (cid.raw,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO pins VALUES (?, ?)", (cid.raw, name))

    def set_directory(self, path: str, root: CID | None) -> None:
        """Add or (root None) remove a directory; call it inside a transaction."""
        if root is None:
            self._connection.execute("DELETE FROM directories WHERE path = ?", (path,))
        else:
            self._connection.execute(
                "INSERT OR REPLACE INTO directories VALUES (?, ?)", (path, root.raw)
            )

    def journal_mark(self) -> tuple[str, int]:
        """Return the id of the journal that the roots were read from, and how far; `("", 0)` at first."""
        rows = dict(self._query("SELECT name, value FROM state"))
        return rows.get("journal_id", ""), int(rows.get("journal_bytes", 0))

    def set_journal_mark(self, journal_id: str, size: int) -> None:
        """Record how far the journal has been read; call it inside a transaction."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?)",
            [("journal_id", journal_id), ("journal_bytes", str(size))],
        )

    def clear(self, *, roots_only: bool = False) -> None:
        """Forget everything, or only pins and directories; call it inside a transaction."""
        tables = ("pins", "directories", "state") if roots_only else _TABLES
        for table in tables:
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608  # names from this module

    def totals(self) -> dict[bool, tuple[int, int]]:
        """Return (blocks, bytes) of packs (key True) and of references (key False)."""
        rows = self._query(
            "SELECT path GLOB ?, count(*), sum(length) FROM blocks"
            " JOIN files ON files.id = blocks.file GROUP BY 1",
            f"{FOLDER}/*",
        )
        return {bool(in_pack): (count, size or 0) for in_pack, count, size in rows}


_TABLES = ("blocks", "files", "pins", "directories", "state")


def remove_index(folder: str) -> None:
    """Delete an index that cannot be used."""
    for suffix in _SUFFIXES:
        try:
            os.unlink(os.path.join(folder, NAME + suffix))
        except FileNotFoundError:
            continue


def _connect(path: str, timeout_s: float = _BUSY_TIMEOUT_S) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        ):
            raise DamagedIndexError(
                f"the index of the block store is damaged ({error}); nothing else is: rebuild it from the packs"
            ) from error
        raise MunimentError(f"the index of the block store cannot be used: {error}") from error
