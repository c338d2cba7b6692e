"""The guide to the archive over HTTP: its commands, run one after another against a real service."""

import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from muniment.testing.service import LocalService

GUIDE = Path(__file__).parents[2] / "docs/guides/service-archive.md"


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "jq"))), reason="curl and jq are not here"
)
def test_the_guide_does_what_it_says(tmp_path):
    script = "\n".join(
        re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    )
    service = LocalService(tmp_path / "service")
    key = service.create_organization()
    desk = tmp_path / "desk"
    desk.mkdir()
    with service:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=desk,
            env=service.environment | {"MUNIMENT_URL": service.url, "MUNIMENT_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"state": "succeeded"' in done.stdout
    assert (desk / "copy.txt").read_text() == "Dear Ana\n"
    assert "Ana" in done.stdout
    with zipfile.ZipFile(desk / "all.zip") as archive:
        (name,) = archive.namelist()
        assert name.endswith("/letters/ana.txt")
    with tarfile.open(desk / "all.tar") as tar:
        assert tar.getnames() == [name]
