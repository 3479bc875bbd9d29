"""Whom a request is counted for, whatever it claims."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperhub.network.proxies import (
    FORWARDED,
    PEER,
    ForwardedLayer,
    TrustedProxies,
    forwarded_environ,
    origin_of,
    parse_proxies,
)

LOCAL = parse_proxies("127.0.0.1, 10.0.0.0/8")
FOR = "x-forwarded-for"


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", ["203.0.113.1"], "198.51.100.7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("127.0.0.1", ["6.6.6.6, 203.0.113.1"], "203.0.113.1"),
        ("127.0.0.1", ["6.6.6.6", "203.0.113.1, 10.1.2.3"], "203.0.113.1"),
        ("::ffff:127.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("127.0.0.1", ["203.0.113.1:4711"], "203.0.113.1"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        ("127.0.0.1", ["6.6.6.6, garbage"], "127.0.0.1"),
        ("127.0.0.1", ["6.6.6.6, garbage, 10.0.0.1"], "10.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        (None, ["203.0.113.1"], None),
    ],
    ids=str,
)
def test_the_first_from_the_right_that_is_no_proxy_is_the_client(peer, said, client):
    origin = origin_of(peer, [(FOR, value) for value in said], LOCAL)

    assert (str(origin.address) if origin.address else None) == client


@given(claim=st.text(max_size=60), peer=st.ip_addresses())
def test_a_claim_never_changes_who_a_stranger_is(claim, peer):
    plain = origin_of(str(peer), [], TrustedProxies())

    claimed = origin_of(str(peer), [(FOR, claim)], TrustedProxies())

    assert claimed.address == plain.address
    assert not claimed.is_believed


@given(claim=st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_a_claim_before_the_address_that_the_proxy_added_is_ignored(claim):
    origin = origin_of("127.0.0.1", [(FOR, f"{claim}, 203.0.113.1")], LOCAL)

    assert origin.address == ipaddress.ip_address("203.0.113.1")


def test_a_proxy_on_a_unix_socket_is_believed_when_it_is_named():
    said = [(FOR, "203.0.113.1")]

    assert origin_of(None, said, parse_proxies("unix")).is_believed
    assert not origin_of("127.0.0.1", said, parse_proxies("unix")).is_believed


@pytest.mark.parametrize(
    ("peer", "schemes", "is_https"),
    [
        ("127.0.0.1", ["https"], True),
        ("127.0.0.1", ["HTTPS"], True),
        ("127.0.0.1", ["http"], False),
        ("127.0.0.1", ["https, http"], False),
        ("127.0.0.1", ["http", "https"], False),
        ("127.0.0.1", [], False),
        ("198.51.100.7", ["https"], False),
    ],
)
def test_tls_is_what_a_trusted_proxy_says(peer, schemes, is_https):
    said = [("x-forwarded-proto", value) for value in schemes]

    assert origin_of(peer, said, LOCAL).is_https == is_https


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "*", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError, match="no address or network"):
        parse_proxies(text)


def through_layer(
    headers: list[tuple[bytes, bytes]], trusted: TrustedProxies, **scope: Any
) -> Any:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    layer = ForwardedLayer(app, trusted)
    given = {"type": "http", "scheme": "http", "headers": headers, **scope}
    asyncio.run(layer(given, None, None))
    return seen[0]


@pytest.mark.parametrize("trusted", [LOCAL, TrustedProxies()], ids=["named", "none"])
def test_claims_reach_nobody_behind_the_layer(trusted):
    names = [b"X-Forwarded-For", b"x-real-ip", b"forwarded", b"x-forwarded-host"]
    names += [b"X_Forwarded_For", b"x_anything", b"via", b"true-client-ip"]
    headers = [(name, b"6.6.6.6") for name in names]

    scope = through_layer(
        [*headers, (b"accept", b"*/*")], trusted, client=("198.51.100.7", 5)
    )

    assert scope["headers"] == [(b"accept", b"*/*")]
    assert scope["client"] == ("198.51.100.7", 5)
    assert scope["scheme"] == "http"
    assert scope[FORWARDED]


def test_a_trusted_proxy_names_the_client_and_the_scheme():
    scope = through_layer(
        [(b"x-forwarded-for", b"203.0.113.1"), (b"x-forwarded-proto", b"https")],
        LOCAL,
        client=("127.0.0.1", 5),
    )

    assert scope["client"] == ("203.0.113.1", 5)
    assert scope["scheme"] == "https"


def test_the_peer_counts_and_not_what_the_server_believed():
    scope = through_layer(
        [(b"x-forwarded-for", b"6.6.6.6")],
        TrustedProxies(),
        client=("6.6.6.6", 0),
        **{PEER: ("127.0.0.1", 5)},
    )

    assert scope["client"] == ("127.0.0.1", 5)


def test_a_proxy_that_is_not_named_is_told_of_once(caplog):
    layer = ForwardedLayer(_nothing, TrustedProxies())
    said = [(b"x-forwarded-for", b"203.0.113.1\r\nforged")]
    scope = {"type": "http", "headers": said, "client": ("172.18.0.5", 1)}

    for _time in range(3):
        asyncio.run(layer(scope, None, None))

    (line,) = [record.getMessage() for record in caplog.records]
    assert "172.18.0.5" in line
    assert "WHISPERHUB_TRUSTED_PROXIES" in line
    assert "forged" not in line


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


def test_a_wsgi_request_is_corrected_too():
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.1",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_REAL_IP": "6.6.6.6",
        "HTTP_ACCEPT": "*/*",
        "wsgi.url_scheme": "http",
    }

    forwarded_environ(environ, LOCAL)

    assert environ == {
        "REMOTE_ADDR": "203.0.113.1",
        "HTTP_ACCEPT": "*/*",
        "wsgi.url_scheme": "https",
        FORWARDED: True,
    }
