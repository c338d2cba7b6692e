"""The tus project's own client, unmodified, uploads to a real service."""

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from muniment.client import Client
from muniment.testing.node import install_packages, node_folder
from muniment.testing.service import LocalService

PROJECT = Path(__file__).parents[1] / "javascript-tus"
SIZE_BYTES = 1_500_000
CHUNK_BYTES = 256 * 1024
TIMEOUT_S = 120

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tus")
    service = LocalService(folder / "service")
    key = service.create_organization()
    packages = install_packages(PROJECT)
    (folder / "upload.mjs").write_bytes((PROJECT / "upload.mjs").read_bytes())
    (folder / "node_modules").symlink_to(packages / "node_modules")
    data = random.Random(7).randbytes(SIZE_BYTES)
    (folder / "data.bin").write_bytes(data)
    with service, Client(service.url, key) as client:
        yield folder, service, key, client


def upload(place, name, **how):
    """Upload the file; returns what the client told, and what the service has."""
    folder, service, key, client = place
    variables = {
        "URL_OF_TUS": f"{service.url}/v1/tus",
        "KEY": key,
        "FILE": str(folder / "data.bin"),
        "NAME": name,
    }
    done = subprocess.run(
        [str(node_folder() / "bin/node"), str(folder / "upload.mjs")],
        env=os.environ | variables | how,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = [one for one in client.list_uploads() if one.path == name]
    assert (found.state, found.size_bytes) == ("received", SIZE_BYTES)
    assert found.sha256 == hashlib.sha256((folder / "data.bin").read_bytes()).hexdigest()
    return json.loads(done.stdout)


def test_in_chunks(place):
    assert upload(place, "in chunks.bin")["chunks"] == -(-SIZE_BYTES // CHUNK_BYTES)


def test_paused_and_taken_up_again(place):
    assert 0 < upload(place, "paused.bin", PAUSE="1")["paused"] < SIZE_BYTES


def test_several_parts_at_once(place):
    upload(place, "in parts.bin", PARTS="3")
    client = place[3]
    assert client.show_organization().reserved.size_bytes == 0
