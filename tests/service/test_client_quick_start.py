"""Every block of the quick start and of the guide to the client runs, as it stands, against a real service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.client import Client
from muniment.testing.kubo import LocalKubo
from muniment.testing.node import install_packages, node_folder
from muniment.testing.service import LocalService

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "docs" / "guides"
TIMEOUT_S = 120


def blocks(page, language):
    text = (GUIDES / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(page, title, language):
    text = (GUIDES / page).read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return block


class Place:
    """A service, and a folder to work in with the variables that the pages speak of."""

    def __init__(self, service, key, folder):
        self.service, self.folder = service, folder
        own = {"MUNIMENT_URL": service.url, "MUNIMENT_API_KEY": key}
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = service.environment | own | {"PATH": programs}

    def run(self, *words, **variables):
        """Run a program; returns what it printed."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shell(self, block, **variables):
        return self.run("bash", "-eu", "-o", "pipefail", "-c", block, **variables)


def place_in(folder, **settings):
    service = LocalService(folder / "service", settings=settings)
    return service, service.create_organization()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick-start")
    service, key = place_in(folder)
    with service:
        (folder / "desk").mkdir()
        yield Place(service, key, folder / "desk")


def test_curl(place):
    printed = place.shell(section("quick-start-http.md", "curl", "bash"))
    assert '"received"' in printed
    assert "leaf_index" in printed
    assert (place.folder / "back.txt").read_text() == "Dear Ana, we arrived safely.\n"
    assert (place.folder / "key.header").stat().st_mode & 0o077 == 0


def test_python(place):
    block = section("quick-start-http.md", "Python", "python")
    printed = place.run(sys.executable, "-W", "error", "-c", block)
    assert "notes.txt is leaf 0 of commit" in printed
    assert (place.folder / "notes-back.txt").read_text() == "Rain since Monday.\n"


def test_the_command_line(place):
    printed = place.shell(section("quick-start-http.md", "The command line", "bash"))
    assert "1 path (19 B) restored into" in printed
    (photo,) = (place.folder / "restored").rglob("1.jpg")
    assert photo.read_text() == "not really a photo\n"


def test_the_guide_to_the_client(place):
    whole = "\n".join(blocks("client.md", "python")) + "client.close()\n"
    printed = place.run(sys.executable, "-W", "error", "-c", whole)
    assert "An Example" in printed
    assert "upload.received" in printed
    assert "not-found" in printed


@pytest.mark.engine
def test_javascript(place):
    packages = install_packages(ROOT / "tests" / "javascript-pinning")
    with Client(place.service.url, place.environment["MUNIMENT_API_KEY"]) as client:
        client.upload(__file__, "for JavaScript")
        client.wait(client.archive(), timeout_s=60)
        commit = next(client.list_commits())
    script = place.folder / "pin.mjs"
    script.write_text(section("quick-start-http.md", "JavaScript", "javascript"))
    (place.folder / "node_modules").symlink_to(packages / "node_modules")
    node = str(node_folder() / "bin" / "node")
    assert place.run(node, str(script), CID=commit.commit_cid) == f"1 {commit.commit_cid}\n"


@pytest.mark.engine("ipfs")
def test_kubo(tmp_path):
    with LocalKubo(settings={"Gateway.NoFetch": True}) as kubo:
        kubo.start()
        service, key = place_in(
            tmp_path,
            MUNIMENT_SERVICE_GATEWAYS=kubo.gateway_url,
            MUNIMENT_SERVICE_PRIVATE_ORIGINS="true",
        )
        with service:
            place = Place(service, key, tmp_path)
            programs = f"{Path(kubo.program).parent}:{place.environment['PATH']}"
            printed = place.shell(
                section("quick-start-http.md", "Kubo", "bash"),
                **kubo.environment | {"PATH": programs} | service_variables(place),
            )
    assert "Status: pinned" in printed
    assert "\tpinned\tletter" in printed


def service_variables(place):
    return {name: place.environment[name] for name in ("MUNIMENT_URL", "MUNIMENT_API_KEY")}


def test_the_pages_have_no_other_blocks():
    """What is not run is marked as no language."""
    for page, languages in (
        ("quick-start-http.md", {"", "bash", "python", "javascript"}),
        ("client.md", {"python"}),
    ):
        found = re.findall(r"^```(.*)$", (GUIDES / page).read_text("utf-8"), re.MULTILINE)[::2]
        assert set(found) == languages
