"""The pages of the documentation and the sign-in page in both languages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.factories import UserFactory
from whisperhub.web.pages import WORDS_OF_VIEWERS

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

CHINESE = re.compile("[一-鿿]")
PAGES = {"/": "登录", "/redoc/": "登录", "/login/": "用户名"}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_speaks_the_language_it_is_asked_for(page, stranger):
    chinese = stranger.get(page, {"lang": "zh-CN"})
    html = chinese.content.decode()

    assert PAGES[page] in html
    assert re.search(r'<html lang="zh-hans"', html)
    assert chinese.headers["Content-Language"] == "zh-hans"
    assert "Accept-Language" in chinese.headers["Vary"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_keeps_the_language_for_the_next(page, stranger):
    stranger.get(page, {"lang": "zh"})
    html = stranger.get("/login/").content.decode()

    assert "用户名" in html
    cookie = stranger.cookies["django_language"]
    assert cookie.value == "zh-hans"
    assert (cookie["samesite"], cookie["httponly"]) == ("Lax", True)


@pytest.mark.parametrize("lang", ["", "fr", "../x"])
def test_a_language_nobody_speaks_changes_nothing(lang, stranger):
    response = stranger.get("/", {"lang": lang})

    assert response.status_code == 200
    assert response.headers["Content-Language"] == "en"
    assert "django_language" not in stranger.cookies


def test_an_operation_keeps_no_language(stranger):
    stranger.get("/api/v1/tasks/", {"lang": "zh"})

    assert "django_language" not in stranger.cookies


@pytest.mark.parametrize("page", ["/", "/redoc/"])
def test_a_page_of_the_documentation_loads_the_document_in_its_language(page, stranger):
    html = stranger.get(page, headers={"Accept-Language": "zh-CN"}).content.decode()

    assert re.search(r"/api/v1/schema/\?lang(=|\\u003D)zh\\?(-|\\u002D)hans", html)


@pytest.mark.parametrize("page", ["/", "/redoc/"])
def test_a_page_of_the_documentation_links_to_both_languages(page, stranger):
    html = stranger.get(page).content.decode()

    assert re.search(r'href="\?lang=en"[^>]*>English<', html)
    assert re.search(r'href="\?lang=zh-hans"[^>]*>简体中文<', html)


def words_of(html: str) -> Any:
    found = re.search(r'<script id="words"[^>]*>(.*?)</script>', html)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("page", ["/", "/redoc/"])
def test_the_words_of_the_viewers_come_along_in_chinese_only(page, stranger):
    english = stranger.get(page, {"lang": "en"}).content.decode()
    chinese = stranger.get(page, {"lang": "zh"}).content.decode()

    assert words_of(english) == {}
    assert "words.js" not in english
    said = words_of(chinese)
    assert set(said) == set(WORDS_OF_VIEWERS)
    assert all(CHINESE.search(word) for word in said.values())
    assert "transcription/words.js" in chinese


def test_a_wrong_password_is_said_in_the_language(stranger):
    response = stranger.post(
        "/login/?lang=zh",
        {"username": "nobody", "password": "wrong"},
        format="multipart",
    )

    html = response.content.decode()
    assert "请输入" in html
    assert "Please enter" not in html


def test_who_signs_in_is_back_on_a_page_in_their_language(stranger):
    user = UserFactory()
    user.set_password("a long password")
    user.save()

    response = stranger.post(
        "/login/?lang=zh",
        {"username": user.username, "password": "a long password"},
        format="multipart",
        follow=True,
    )

    assert response.request["PATH_INFO"] == "/"
    assert f"已登录：{user.username}。" in response.content.decode()


def test_the_console_speaks_the_language_that_was_chosen(stranger):
    stranger.get("/", {"lang": "zh"})

    html = stranger.get("/admin/login/").content.decode()

    assert '<html lang="zh-hans"' in html
