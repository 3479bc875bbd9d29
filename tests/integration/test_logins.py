"""Guesses at passwords, and those who only mistyped theirs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.support.factories import UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker")]

PAGES = ["/login/", "/admin/login/"]
PASSWORD = "long enough"
HERE, ELSEWHERE = "198.51.100.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def few(settings: Any) -> None:
    settings.LOGIN_ATTEMPTS = 3
    settings.LOGIN_ADDRESS_ATTEMPTS = 5


@pytest.fixture
def person(db: None) -> User:
    user: User = UserFactory(username="ann", operator=True)
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(
    page: str,
    password: str,
    *,
    name: str = "ann",
    address: str = HERE,
    browser: Client | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    return (browser or Client()).post(
        page,
        {"username": name, "password": password},
        REMOTE_ADDR=address,
        headers=headers,
    )


@pytest.mark.parametrize("page", PAGES)
def test_who_guesses_is_stopped_even_with_the_right_password(person, page):
    guesses = [sign_in(page, "guess").status_code for _ in range(3)]

    stopped = sign_in(page, PASSWORD)

    assert guesses == [200] * 3
    assert stopped.status_code == 429
    assert stopped.headers["Content-Type"].startswith("text/html")
    assert int(stopped.headers["Retry-After"]) == 200
    assert "Try again in 200 seconds." in stopped.content.decode()
    assert "sessionid" not in stopped.cookies


@pytest.mark.parametrize("page", PAGES)
def test_who_is_stopped_is_told_in_their_language(person, page):
    for _time in range(3):
        sign_in(page, "guess")

    stopped = sign_in(page, "guess", headers={"Accept-Language": "zh-CN"})

    assert stopped.headers["Content-Language"] == "zh-hans"
    assert "尝试次数过多" in stopped.content.decode()
    assert "请在 200 秒后重试。" in stopped.content.decode()


def test_both_pages_count_together(person):
    for page in (*PAGES, PAGES[0]):
        sign_in(page, "guess")

    assert sign_in(PAGES[1], PASSWORD).status_code == 429


@pytest.mark.parametrize("page", PAGES)
def test_the_owner_of_the_name_gets_in_from_elsewhere(person, page):
    for _ in range(10):
        sign_in(page, "guess")

    assert sign_in(page, PASSWORD, address=ELSEWHERE).status_code == 302


def test_one_address_cannot_try_name_after_name(person):
    tried = [sign_in(PAGES[0], "guess", name=f"n{n}").status_code for n in range(6)]

    assert tried == [200] * 5 + [429]
    assert sign_in(PAGES[0], PASSWORD).status_code == 429
    assert sign_in(PAGES[0], PASSWORD, address=ELSEWHERE).status_code == 302


@pytest.mark.parametrize("spelling", ["ANN", " ann ", "ａｎｎ"], ids=ascii)
def test_another_spelling_is_the_same_name(person, spelling):
    for name in ("ann", spelling, spelling):
        sign_in(PAGES[0], "guess", name=name)

    assert sign_in(PAGES[0], PASSWORD).status_code == 429


def test_who_signs_in_has_not_guessed(person, settings):
    settings.LOGIN_ADDRESS_ATTEMPTS = 0

    for _ in range(5):
        sign_in(PAGES[0], "mistyped")
        assert sign_in(PAGES[0], PASSWORD).status_code == 302


@pytest.mark.parametrize("page", PAGES)
def test_who_is_signed_in_may_not_guess_at_others_for_ever(person, page, settings):
    settings.LOGIN_ADDRESS_ATTEMPTS = 0
    browser = Client()
    browser.force_login(UserFactory(operator=True))

    tried = [sign_in(page, "guess", browser=browser).status_code for _ in range(4)]

    assert tried[-1] == 429


def test_a_network_of_ipv6_is_one_address(person):
    for host in range(3):
        sign_in(PAGES[0], "guess", address=f"2001:db8:1:2::{host}")

    refused = sign_in(PAGES[0], PASSWORD, address="2001:db8:1:2:ffff::1")
    assert refused.status_code == 429
    other = sign_in(PAGES[0], PASSWORD, address="2001:db8:1:3::1")
    assert other.status_code == 302
    # An IPv4 client of a server that listens on both.
    for _ in range(3):
        sign_in(PAGES[0], "guess", address=f"::ffff:{HERE}")
    assert sign_in(PAGES[0], PASSWORD).status_code == 429


def test_a_socket_without_addresses_is_one_too(person):
    tried = [sign_in(PAGES[0], "guess", address="").status_code for _ in range(4)]

    assert tried == [200, 200, 200, 429]


def test_there_may_be_no_limit_and_no_redis(person, settings, point_at_broker):
    point_at_broker(f"redis+socket://{settings.DATA_DIR}/none.sock?virtual_host=0")
    tried = [sign_in(PAGES[0], "guess").status_code for _ in range(4)]
    assert tried == [200, 200, 200, 429]

    settings.LOGIN_ATTEMPTS = settings.LOGIN_ADDRESS_ATTEMPTS = 0

    assert sign_in(PAGES[0], PASSWORD).status_code == 302


def test_what_was_typed_is_nowhere_to_be_read(person, broker, caplog):
    for _ in range(4):
        sign_in(PAGES[0], "guess", name="my secret password")

    kept = broker.client.keys("*")
    assert kept
    assert not [key for key in kept if b"secret" in key]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("page", PAGES)
def test_to_look_at_the_page_is_no_attempt(person, page):
    statuses = [Client().get(page, REMOTE_ADDR=HERE).status_code for _ in range(10)]

    assert statuses == [200] * 10
