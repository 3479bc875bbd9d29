"""What counts as this machine, and where open mode is refused."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from whisperhub.loopback import check_open_mode, is_loopback

HERE = ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost"]
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104
ELSEWHERE = [
    *(ALL_ADDRESSES, "::", "[::]", "", "192.168.1.7", "10.0.0.1", "169.254.1.1", "*"),
    *("example.org", "localhost.example.org", "127.0.0.1.example.org", "2130706433"),
    *("::ffff:10.0.0.1", "notlocalhost", ".example.org"),
]


@pytest.mark.parametrize("host", [*HERE, "a.localhost", ".localhost"])
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_another_machine_or_all_of_them(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", HERE)
def test_open_mode_may_listen_on_loopback(host):
    check_open_mode(host, ["localhost", "127.0.0.1", "[::1]"])


@pytest.mark.parametrize("host", ELSEWHERE)
def test_open_mode_may_listen_nowhere_else(host):
    with pytest.raises(ImproperlyConfigured, match=r"WHISPERHUB_OPEN_MODE: .*_HOST"):
        check_open_mode(host, ["localhost"])


@pytest.mark.parametrize("name", ["*", "speech.example.org", ".example.org"])
def test_open_mode_may_have_no_name_that_others_know(name):
    with pytest.raises(ImproperlyConfigured, match="WHISPERHUB_ALLOWED_HOSTS"):
        check_open_mode("127.0.0.1", ["localhost", name])
