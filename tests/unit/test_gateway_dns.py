"""DNSLinks from a real name server on a loopback port."""

import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from muniment.adapters.gateway_names import DnsResolver, LinkTable
from muniment.entrypoints.gateway.gateway import Gateway, GatewayOptions
from muniment.entrypoints.gateway.messages import Request
from muniment.errors import ExternalServiceError
from muniment.testing.block_store import MemoryBlockStore

HELLO = "bafkqabtimvwgy3yk"


class NameServer:
    """Answers TXT questions from a table; counts them."""

    def __init__(self, records):
        self.records, self.questions = records, []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", self.address)
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            name = query.question[0].name.to_text().rstrip(".")
            self.questions.append(name)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            if name in self.records:
                texts = [f'"{text}"' for text in self.records[name]]
                answer.answer.append(
                    dns.rrset.from_text(query.question[0].name, 300, "IN", "TXT", *texts)
                )
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), client)


@pytest.fixture
def server():
    records = {
        "_dnslink.a.example": ["v=spf1", f"dnslink=/ipfs/{HELLO}"],
        "b.example": ["dnslink=/ipns/a.example"],
        "c.example": ["nothing here"],
    }
    with NameServer(records) as server:
        yield server


def test_the_special_name_is_asked_first(server):
    resolver = DnsResolver(server.address)
    path, ttl_s = resolver.find("a.example")
    assert path == f"/ipfs/{HELLO}"
    assert 290 <= ttl_s <= 300
    assert resolver.find("b.example")[0] == "/ipns/a.example"
    assert resolver.find("c.example") is None
    assert server.questions == [
        "_dnslink.a.example", "_dnslink.b.example", "b.example", "_dnslink.c.example", "c.example"
    ]  # fmt: skip


def test_answers_are_kept_also_that_there_are_none(server):
    resolver = DnsResolver(server.address)
    for _ in range(3):
        resolver.find("a.example")
        resolver.find("c.example")
    assert len(server.questions) == 3


def test_a_website_by_the_dns(server):
    links = LinkTable({"d.example": "/ipns/b.example"}, DnsResolver(server.address))
    gateway = Gateway(MemoryBlockStore(), GatewayOptions(dnslinks=links))
    for host in ("a.example", "b.example", "d.example"):
        answer = gateway.respond(Request("GET", "/", "", {"host": host}))
        assert (answer.status, answer.first) == (200, b"hello\n")
    assert (
        "cache-control",
        "public, max-age=300",
    ) not in answer.headers  # the table's link holds for nobody knows how long


def test_a_server_that_does_not_answer_is_an_error():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = DnsResolver(silent.getsockname(), timeout_s=0.2)
        with pytest.raises(ExternalServiceError, match="does not answer"):
            resolver.find("a.example")
        gateway = Gateway(MemoryBlockStore(), GatewayOptions(dnslinks=resolver))
        assert gateway.respond(Request("GET", "/ipns/a.example/")).status == 504
        assert gateway.respond(Request("GET", "/", "", {"host": "a.example"})).status == 504
        known = Request("GET", f"/ipfs/{HELLO}", "", {"host": "a.example"})
        assert gateway.respond(known).first == b"hello\n"
