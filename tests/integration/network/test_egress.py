"""Connections that the policy makes, and those that it does not."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from tests.support.network import open_sockets
from tests.support.upstreams import running_upstream
from tests.support.waiting import patient, wait_for
from tests.unit.network.test_addresses import NOT_PUBLIC
from whisperhub.network import egress
from whisperhub.network.deadline import Deadline
from whisperhub.network.egress import (
    BlockedAddressError,
    Policy,
    parse_allowed,
    parse_ports,
)

PUBLIC_ANSWER = (socket.AF_INET, ("93.184.215.14", 80))


def answering_with(*rounds: list[str]) -> tuple[Any, list[str]]:
    """A name server: its answers, one round after the other, and what it was asked."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> Any:
        addresses = rounds[min(len(asked), len(rounds) - 1)]
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))
            for address in addresses
        ]

    return resolve, asked


def opened(policy: Policy, host: str, port: int, deadline: Deadline) -> str:
    """The address that a connection led to."""
    with policy.connect(host, port, deadline) as connection:
        return str(connection.getpeername()[0])


# --- What is refused -----------------------------------------------------------------


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_literal_address_of_an_inside_is_dialled(deadline, address):
    with pytest.raises(BlockedAddressError):
        Policy().connect(address, 80, deadline)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_name_of_an_inside_is_dialled(deadline, address):
    resolve, _ = answering_with([address])

    with pytest.raises(BlockedAddressError):
        Policy(resolve=resolve).connect("rebound.example", 80, deadline)


@pytest.mark.parametrize(
    "answers",
    [
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["2606:2800:21f::1", "10.0.0.1"],
        ["93.184.215.14", "::1"],
    ],
    ids=str,
)
def test_one_bad_answer_among_good_ones_refuses_the_name(upstream, deadline, answers):
    resolve, _ = answering_with(answers)
    policy = Policy(ports=frozenset({upstream.port}), resolve=resolve)

    with pytest.raises(BlockedAddressError):
        policy.connect("mixed.example", upstream.port, deadline)

    assert not upstream.received


@pytest.mark.parametrize("port", [22, 25, 6379, 8080, 65_535])
def test_ports_of_other_services_are_refused(deadline, port):
    resolve, _ = answering_with(["93.184.215.14"])

    with pytest.raises(BlockedAddressError):
        Policy(resolve=resolve).connect("example.org", port, deadline)


# --- What is dialled -----------------------------------------------------------------


def test_the_address_that_was_judged_is_the_one_that_is_dialled(deadline):
    """A name server that answers differently the second time is not asked again."""
    with running_upstream("127.0.0.2") as meant:
        resolve, asked = answering_with(["127.0.0.2"], ["127.0.0.1"])
        policy = Policy(parse_allowed(f"127.0.0.2:{meant.port}"), resolve=resolve)

        assert opened(policy, "name.example", meant.port, deadline) == "127.0.0.2"

    assert asked == ["name.example"]


def test_the_next_address_is_tried_when_one_does_not_answer(upstream, deadline):
    resolve, _ = answering_with(["127.0.0.3", "127.0.0.1"])
    policy = Policy(parse_allowed(f"127.0.0.0/8:{upstream.port}"), resolve=resolve)

    assert opened(policy, "name.example", upstream.port, deadline) == "127.0.0.1"


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("{address}:{port}", "127.0.0.1"),
        ("{address}:{port}", "127.1"),
        ("{address}:{port}", "[::ffff:127.0.0.1]"),
        ("{address}:{port}", "localhost"),
        ("localhost:{port}", "LOCALHOST."),
        ("10.0.0.0/8, {address}/32:{port}", "127.0.0.1"),
    ],
)
def test_what_the_operator_allows_is_reached(upstream, deadline, allowed, host):
    entries = parse_allowed(allowed.format(address="127.0.0.1", port=upstream.port))
    resolve, _ = answering_with(["127.0.0.1"])

    opened(Policy(entries, resolve=resolve), host, upstream.port, deadline)


@pytest.mark.parametrize(
    "allowed",
    ["127.0.0.0/8", "127.0.0.1:1", "localhost:{port}", "10.0.0.0/8:{port}"],
)
def test_an_entry_allows_no_more_than_it_says(upstream, deadline, allowed):
    """A network alone lifts the rule on addresses, not that on ports."""
    policy = Policy(parse_allowed(allowed.format(port=upstream.port)))

    with pytest.raises(BlockedAddressError):
        policy.connect("127.0.0.1", upstream.port, deadline)


def test_a_network_is_reached_at_the_listed_ports(upstream, deadline):
    policy = Policy(parse_allowed("127.0.0.0/8"), frozenset({upstream.port}))

    assert opened(policy, "127.0.0.1", upstream.port, deadline) == "127.0.0.1"


# --- Time ----------------------------------------------------------------------------


def test_a_look_up_that_does_not_end_is_not_waited_for():
    go_on = threading.Event()

    def resolve(host: str, port: int) -> Any:
        go_on.wait(patient(20))
        return [PUBLIC_ANSWER]

    began = time.monotonic()
    with Deadline(0.3) as deadline, pytest.raises(TimeoutError):
        Policy(resolve=resolve).connect("slow.example", 80, deadline)
    assert time.monotonic() - began < patient(3)

    go_on.set()
    wait_for(lambda: not any(t.name == "look-up" for t in threading.enumerate()))


@pytest.mark.parametrize("cut", [True, False])
def test_a_server_that_never_answers_a_call_is_left(cut, monkeypatch):
    """Its queue of calls is full: further ones get no answer."""
    monkeypatch.setattr(egress, "CONNECT_SECONDS", 60.0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        policy = Policy(parse_allowed(f"127.0.0.1:{port}"))
        waiting = [socket.socket() for _ in range(3)]
        for caller in waiting:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", port))
        began = time.monotonic()

        with Deadline(60 if cut else 0.3) as deadline:
            timer = threading.Timer(0.3, deadline.cut)
            timer.start()
            with pytest.raises(TimeoutError):
                policy.connect("127.0.0.1", port, deadline)
            timer.join()

        assert time.monotonic() - began < patient(2)
        for caller in waiting:
            caller.close()


def test_a_host_that_has_no_address_is_no_timeout(deadline):
    def resolve(host: str, port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    for policy in (Policy(resolve=resolve), Policy(resolve=lambda *_: [])):
        with pytest.raises(socket.gaierror):
            policy.connect("nowhere.example", 80, deadline)


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example"])
def test_what_is_no_name_has_no_address(deadline, host):
    with pytest.raises(socket.gaierror):
        Policy().connect(host, 80, deadline)


def test_no_socket_is_left_behind(upstream):
    policy = upstream.policy()
    with Deadline(20) as deadline:
        before = open_sockets()
        for _ in range(5):
            with deadline.part() as part:
                opened(policy, upstream.host, upstream.port, part)

        wait_for(lambda: open_sockets() <= before)


# --- Settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["example.org", "10.0.0.0/33", "a:0", "a:65536", "a b:80", "u@h:80", ":80"]
)
def test_an_entry_that_means_nothing_is_refused(text):
    with pytest.raises(ValueError, match="is n"):
        parse_allowed(text)


def test_ports_may_be_ranges():
    assert parse_ports("80, 443,8000-8002") == {80, 443, 8000, 8001, 8002}


@pytest.mark.parametrize("text", ["0", "http", "80-", "-80", "65536", "80,,443"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(ValueError, match="is no port"):
        parse_ports(text)
