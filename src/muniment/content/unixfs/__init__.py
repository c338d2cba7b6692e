"""UnixFS: files, directories and symbolic links as DAGs of blocks (https://specs.ipfs.tech/unixfs/).

A *file* is a balanced tree whose leaves hold its bytes; a *directory* is one node of named links, or a HAMT of shards when
that node would be too large. Which numbers go into this (chunk size, width, thresholds) is a *profile* (IPIP-499): same
input and same profile, same CID, in every implementation.
"""

from muniment.content.unixfs.directory import (
    DirectoryBuilder,
    DirectoryDag,
    DirectoryEntry,
    directory_dag,
    symlink_node,
)
from muniment.content.unixfs.file import FileBuilder, FileDag, file_dag, import_file
from muniment.content.unixfs.node import Metadata
from muniment.content.unixfs.profile import V0_2015, V1_2025, Profile
from muniment.content.unixfs.reader import (
    Info,
    describe,
    leaf_layout,
    list_directory,
    read_file,
    resolve,
)

__all__ = [
    "V0_2015",
    "V1_2025",
    "DirectoryBuilder",
    "DirectoryDag",
    "DirectoryEntry",
    "FileBuilder",
    "FileDag",
    "Info",
    "Metadata",
    "Profile",
    "describe",
    "directory_dag",
    "file_dag",
    "import_file",
    "leaf_layout",
    "list_directory",
    "read_file",
    "resolve",
    "symlink_node",
]
