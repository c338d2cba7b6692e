"""Limits per client: what is let in, what is refused and for how long, and who counts as one client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.entrypoints.serving import clients as limits
from muniment.entrypoints.serving.clients import (
    ClientLimits,
    Clients,
    TooManyRequestsError,
    client_of,
    parse_networks,
)
from muniment.errors import FormatError


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


def refused(clients, name):
    """Check that a client is refused; return after how many seconds it may come again."""
    with pytest.raises(TooManyRequestsError) as caught:
        clients.admit(name)
    return caught.value.retry_after_s


def test_requests_at_once_are_counted_for_each_client():
    clients = Clients(ClientLimits(requests=2))
    clients.admit("a")
    clients.admit("a")
    assert refused(clients, "a") == 1
    clients.admit("b")
    clients.release("a")
    clients.admit("a")


def test_a_client_that_is_done_is_forgotten():
    clients = Clients()
    for _ in range(3):
        clients.admit("a")
    assert clients.known == 1
    for _ in range(3):
        clients.release("a")
    assert clients.known == 0


def test_requests_in_a_second_are_counted_for_each_client():
    clock = Clock()
    clients = Clients(ClientLimits(rate_per_s=0.5, burst=3), clock=clock)
    for _ in range(3):
        clients.admit("a")
        clients.release("a")
    assert refused(clients, "a") == 2
    clients.admit("b")
    clock.now_s += 1
    assert refused(clients, "a") == 1
    clock.now_s += 1
    clients.admit("a")
    clock.now_s += 1000
    for _ in range(3):
        clients.admit("a")
    refused(clients, "a")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 2)), max_size=100))
def test_no_client_gets_more_than_its_rate(requests):
    clock, admitted = Clock(), {}
    clients = Clients(ClientLimits(rate_per_s=2, burst=5), clock=clock)
    for name, pause_s in requests:
        clock.now_s += pause_s
        try:
            clients.admit(name)
        except TooManyRequestsError:
            continue
        clients.release(name)
        times = admitted.setdefault(name, [])
        times.append(clock.now_s)
        for first, since_s in enumerate(times):
            assert len(times) - first <= 5 + 2 * (clock.now_s - since_s) + 1e-6


def test_a_refusal_costs_nothing():
    """Whoever asks too often is not kept out for longer by asking."""
    clock = Clock()
    clients = Clients(ClientLimits(rate_per_s=1, burst=1), clock=clock)
    clients.admit("a")
    for _ in range(50):
        refused(clients, "a")
    clock.now_s += 1
    clients.admit("a")


def test_memory_does_not_grow_with_clients(monkeypatch):
    monkeypatch.setattr(limits, "MAX_CLIENTS", 10)
    clients = Clients(ClientLimits(rate_per_s=1, burst=1))
    clients.admit("busy")
    for number in range(100):
        clients.admit(str(number))
        clients.release(str(number))
    assert clients.known <= 10
    clients.release("busy")
    refused(clients, "99")


def test_an_address_is_a_client_and_so_is_a_network_of_ipv6():
    assert client_of("192.0.2.1") == "192.0.2.1"
    assert client_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:0:1::1")
    assert client_of("fe80::1%eth0") == client_of("fe80::2")
    assert client_of("") == ""
    assert len(client_of("x" * 1000)) == 64


def test_only_trusted_proxies_name_another_client():
    trusting = Clients(trusted_proxies=parse_networks(["10.0.0.0/8", "::1"]))
    for peer, forwarded, expected in (
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.1.1.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "198.51.100.7", "198.51.100.7"),
        ("10.1.1.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.1.1.1", "203.0.113.9, 10.2.2.2", "203.0.113.9"),
        ("10.1.1.1", "203.0.113.9, nonsense", "nonsense"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "10.3.3.3", "10.3.3.3"),
    ):
        assert trusting.name(peer, forwarded) == expected
    assert Clients().name("10.1.1.1", "198.51.100.7") == "10.1.1.1"


def test_a_client_that_is_not_known_is_not_limited():
    clients = Clients(ClientLimits(requests=1, rate_per_s=1, burst=1))
    for _ in range(3):
        clients.admit("")
        clients.release("")
    assert clients.known == 0


def test_a_scope_says_who_the_client_is():
    clients = Clients(trusted_proxies=parse_networks(["127.0.0.1"]))
    headers = [(b"x-forwarded-for", b"192.0.2.9"), (b"x-forwarded-for", b"192.0.2.7")]
    for peer, expected in (
        ("127.0.0.1", "192.0.2.7"),
        ("192.0.2.1", "192.0.2.1"),
        ("/tmp/folder/192.0.2.2~17", "192.0.2.2"),
        ("/tmp/folder/2001:db8::7~17", "2001:db8::/64"),
        ("/tmp/folder/127.0.0.1~17", "192.0.2.7"),
        ("", ""),
    ):
        assert clients.of({"client": (peer, "0"), "headers": headers}) == expected
    assert clients.of({"client": None, "headers": []}) == ""


@given(st.text(), st.text())
def test_any_header_names_a_client(peer, forwarded):
    assert len(Clients(trusted_proxies=parse_networks(["0.0.0.0/0"])).name(peer, forwarded)) <= 64


@pytest.mark.parametrize("text", ["", "x", "10.0.0.1/8", "1.2.3.4/33", "localhost"])
def test_other_text_is_no_network(text):
    with pytest.raises(FormatError):
        parse_networks([text])
