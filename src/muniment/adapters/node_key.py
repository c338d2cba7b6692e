"""The key that a node is known by among nodes: its public half is the peer ID.

It signs nothing that is archived, and is not the organisation's key: a node can be replaced, and several may belong to one organisation.
It is made at first use, as a PKCS #8 PEM file that `openssl pkey` reads.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from muniment.adapters.private_files import (
    FOLDER_MODE,
    PRIVATE_MODE,
    locked_folder,
    read_private,
    replace_file,
)
from muniment.content.cid import CID
from muniment.content.routing import peer_id
from muniment.errors import KeyUnavailableError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NODE_KEY = "node-key.pem"
"""What the file is called in a home."""


def load_node_key(path: Path) -> "Ed25519PrivateKey":
    """Return the node's key, made durably if there is none yet.

    Raises:
        KeyUnavailableError: It cannot be read or made, others can read it, or it is no Ed25519 key.
    """
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with locked_folder(path.parent):
            if not path.is_symlink() and not path.exists():
                replace_file(path, _new_key(), PRIVATE_MODE)
            return _parse(read_private(path), path)
    except OSError as error:
        raise KeyUnavailableError(f"cannot make the node's key {path}: {error.strerror}") from error


def node_id(path: Path) -> CID:
    """Return the peer ID of the key in a file, which is made if need be; raises as `load_node_key`."""
    return peer_id(load_node_key(path).public_key().public_bytes_raw())


def _new_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  # takes time to import
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _parse(data: bytes, path: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # takes time to import
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnavailableError(
            f"{path} holds no private key that can be read: {error}"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnavailableError(f"{path} holds another key than an Ed25519 key")
    return key
