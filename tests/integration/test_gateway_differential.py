"""Ours and Kubo's gateway over the same content: several hundred requests, and every answer the same, or different for a reason.

The reasons stand in `muniment.testing.gateway_differences`; `docs/reference/gateway-differences.md` is written from it.
"""

import signal
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.car import CarReader
from muniment.errors import ExternalServiceError
from muniment.testing.gateway import FIXTURES, NO_FIXTURES, Fixtures
from muniment.testing.gateway_comparison import GatewayClient, Reply, compare
from muniment.testing.gateway_differences import DIFFERENCES, find_kept
from muniment.testing.gateway_questions import Corpus, questions
from muniment.testing.kubo import LocalKubo

if not FIXTURES.is_dir():
    pytest.skip(NO_FIXTURES, allow_module_level=True)

HOSTS = ("example.com", "localhost")


@contextmanager
def kubo_gateway(corpus, cars):
    """Run a Kubo with fixtures and corpus; yields its URL and the corpus's root, and writes that into `cars`."""
    public = {host: {"UseSubdomains": True, "Paths": ["/ipfs", "/ipns"]} for host in HOSTS}
    settings = {
        "Gateway.DeprecatedXIpfsPath": True,
        "Gateway.NoFetch": True,
        "Gateway.PublicGateways": public,
    }
    names = (FIXTURES / "dnslinks.IPFS_NS_MAP").read_text().strip()
    with LocalKubo(settings=settings, variables={"IPFS_NS_MAP": names}) as kubo:
        root = kubo.add(corpus.folder, "--pin=false", "--hidden")
        (cars / "corpus.car").write_bytes(kubo.run("dag", "export", "--progress=false", root))
        flags = ("--pin-roots=false", "--silent")
        kubo.run("dag", "import", *flags, *sorted(FIXTURES.glob("*.car")))
        for record in sorted(FIXTURES.glob("*.ipns-record")):
            key = f"/ipns/{record.name.partition('_')[0]}"
            with suppress(ExternalServiceError):  # it takes only some of those that are broken
                kubo.run("routing", "put", "--allow-offline", key, record)
        yield kubo.start().gateway_url, root


@contextmanager
def our_gateway(folder, cars):
    """Run our gateway, as a program, over fixtures and CARs; yields its URL."""
    with EmbeddedBlockStore(folder / "store") as store:
        Fixtures().load(store)
        for path in cars.iterdir():
            with open(path, "rb") as file:
                store.put_many(CarReader(file))
    links = [word for link in Fixtures().links.items() for word in ("--dnslink", "=".join(link))]
    hosts = [word for host in HOSTS for word in ("--subdomains", host)]
    words = ["gateway", "--json", "--store", str(folder / "store"), "--port", "0", *hosts, *links]
    command = [sys.executable, "-m", "muniment", *words, "--ipns-records", str(FIXTURES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            lines = iter(process.stdout.readline, b"")
            yield next(line for line in lines if b'"url"' in line).decode().split('"')[3]
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.mark.engine("ipfs")
def test_both_answer_the_same_or_differ_on_purpose(tmp_path):
    findings = list(compared(tmp_path))
    found = [
        (question, difference, find_kept(question, difference))
        for question, differences in findings
        for difference in differences
    ]
    unknown = [f"{question}\n    {str(what)[:600]}" for question, what, row in found if not row]
    assert not unknown, "not in gateway_differences.py:\n" + "\n".join(unknown)
    seen = {row for _, _, row in found}
    stale = [f"{row.what}: {row.when}" for row in DIFFERENCES if row not in seen]
    assert not stale, "no difference any more:\n" + "\n".join(stale)
    assert len(findings) > 900
    assert sum(what.what == "status" for _, what, _ in found) < len(findings) / 5


def compared(folder):
    """Ask both everything; yields each question and in what the answers differ."""
    for name in ("corpus", "cars"):
        (folder / name).mkdir()
    corpus = Corpus(folder / "corpus")
    with ExitStack() as stack:
        kubo_url, root = stack.enter_context(kubo_gateway(corpus, folder / "cars"))
        kubo = stack.enter_context(closing(GatewayClient(kubo_url)))
        url = stack.enter_context(our_gateway(folder, folder / "cars"))
        ours = stack.enter_context(closing(GatewayClient(url)))
        for question in questions(root):
            yield question, compare(kubo.ask(question), ours.ask(question))


def test_different_answers_are_told_apart():
    one = Reply(200, {"content-type": "text/plain", "etag": '"a"'}, b"a")
    assert compare(one, one) == []
    for other, what in (
        (Reply(404, one.headers, b"a"), "status"),
        (Reply(200, one.headers, b"b"), "body"),
        (Reply(200, one.headers, b"a", is_whole=False), "body"),
        (Reply(200, one.headers | {"etag": '"b"'}, b"a"), "etag"),
        (Reply(200, one.headers | {"cache-control": "no-store"}, b"a"), "cache-control"),
    ):
        assert [difference.what for difference in compare(one, other)] == [what]
