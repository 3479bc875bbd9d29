"""The readers of WHISPERHUB_* variables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from whisperhub import env


@pytest.fixture(autouse=True)
def declared(monkeypatch) -> dict[str, str]:
    """What these tests declare is no setting."""
    declared: dict[str, str] = {}
    monkeypatch.setattr(env, "declared", declared)
    return declared


@pytest.fixture
def given(monkeypatch) -> Callable[[str], None]:
    """Give WHISPERHUB_TRIED a value."""

    def give(value: str) -> None:
        monkeypatch.setenv("WHISPERHUB_TRIED", value)

    return give


def test_an_unset_variable_has_its_default(declared):
    assert env.integer("TRIED", 7) == 7
    assert declared == {"TRIED": "7"}


def test_a_number_above_the_most_is_refused(given):
    given("11")

    with pytest.raises(ImproperlyConfigured, match="above the most allowed, 10"):
        env.integer("TRIED", 7, most=10)
    assert env.integer("TRIED", 7, most=11) == 11


@pytest.mark.parametrize("value", ["", "  "])
def test_a_blank_variable_has_its_default(given, value):
    given(value)

    assert env.boolean("TRIED", default=True) is True


@pytest.mark.parametrize(
    "value", ["true", "TRUE", "Yes", "on", "1", " true "], ids=repr
)
def test_words_for_true(given, value):
    given(value)

    assert env.boolean("TRIED", default=False) is True


@pytest.mark.parametrize("value", ["false", "False", "NO", "off", "0"])
def test_words_for_false(given, value):
    given(value)

    assert env.boolean("TRIED", default=True) is False


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("0", 0),
        ("1000000", 1_000_000),
        ("10K", 10_240),
        ("10kb", 10_240),
        ("500MiB", 524_288_000),
        ("1.5 GiB", 1_610_612_736),
        ("2T", 2 * 2**40),
        ("12B", 12),
    ],
)
def test_sizes(given, value, size):
    given(value)

    assert env.size("TRIED", "1GiB") == size


def test_a_choice_ignores_case_and_gives_the_declared_spelling(given):
    given("debug")

    assert env.choice("TRIED", "INFO", ["DEBUG", "INFO"]) == "DEBUG"


def test_words_drop_empty_items(given):
    given(" a, ,b,,c ")

    assert env.words("TRIED") == ["a", "b", "c"]


def test_a_relative_path_is_taken_from_the_base(given, tmp_path):
    given("below/here")

    assert env.path("TRIED", "x", base=tmp_path) == tmp_path / "below" / "here"


def test_a_folder_is_made_for_us_alone(given, tmp_path):
    given("private")

    folder = env.folder("TRIED", "x", base=tmp_path)

    assert folder.stat().st_mode & 0o777 == 0o700


BAD_VALUES: list[tuple[str, Callable[[], Any]]] = [
    ("seven", lambda: env.integer("TRIED", 1)),
    ("0", lambda: env.integer("TRIED", 1, least=1)),
    ("1.5", lambda: env.integer("TRIED", 1)),
    ("fast", lambda: env.number("TRIED", 1.0)),
    ("0.01", lambda: env.number("TRIED", 1.0, least=0.1)),
    ("nan", lambda: env.number("TRIED", 1.0)),
    ("inf", lambda: env.number("TRIED", 1.0, least=1)),
    ("maybe", lambda: env.boolean("TRIED", default=True)),
    ("-1", lambda: env.size("TRIED", "1K")),
    ("2 GiGs", lambda: env.size("TRIED", "1K")),
    ("LOUD", lambda: env.choice("TRIED", "INFO", ["DEBUG", "INFO"])),
    ("~nobody-of-this-name/x", lambda: env.path("TRIED", "x", base=Path("/"))),
    ("~nobody-of-this-name/y", lambda: env.folder("TRIED", "x", base=Path("/"))),
    ("/dev/null/x", lambda: env.folder("TRIED", "x", base=Path("/"))),
]


@pytest.mark.parametrize(("value", "read"), BAD_VALUES)
def test_a_bad_value_names_the_variable(given, value, read):
    given(value)

    with pytest.raises(ImproperlyConfigured, match=r"^WHISPERHUB_TRIED: .+\.$"):
        read()


def test_a_bad_number_says_what_is_wrong(given):
    given("inf")

    with pytest.raises(ImproperlyConfigured, match="'inf' is not a number"):
        env.number("TRIED", 1.0, least=1)


def test_a_value_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("WHISPERHUB_TRIED_FILE", str(tmp_path / "secret"))

    assert env.text("TRIED") == "s3cret"


def test_the_variable_wins_over_its_file(given, monkeypatch, tmp_path):
    given("direct")
    monkeypatch.setenv("WHISPERHUB_TRIED_FILE", str(tmp_path / "absent"))

    assert env.text("TRIED") == "direct"


def test_a_missing_file_names_the_variable_of_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("WHISPERHUB_TRIED_FILE", str(tmp_path / "absent"))

    with pytest.raises(ImproperlyConfigured, match="TRIED_FILE cannot be"):
        env.text("TRIED")


def test_a_file_that_is_no_text_names_the_variable_of_the_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("WHISPERHUB_TRIED_FILE", str(tmp_path / "secret"))

    with pytest.raises(ImproperlyConfigured, match="TRIED_FILE cannot be"):
        env.text("TRIED")


# --- Several numbers, addresses ------------------------------------------------------


def test_numbers_are_separated_by_commas(given, declared):
    given("5, 0.5,0")

    assert env.numbers("TRIED", "1,2", least=0) == [5, 0.5, 0]
    assert declared == {"TRIED": "1,2"}


@pytest.mark.parametrize("value", ["5,,6", "5,soon", "5,-1", "nan", "5;6"])
def test_a_list_with_anything_else_is_refused(given, value):
    given(value)

    with pytest.raises(ImproperlyConfigured, match="WHISPERHUB_TRIED"):
        env.numbers("TRIED", "1", least=0)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", ""),
        ("https://speech.example.org", "https://speech.example.org"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://example.org/speech/", "https://example.org/speech"),
    ],
)
def test_a_web_address_has_no_slash_at_its_end(given, value, address):
    given(value)

    assert env.web_address("TRIED") == address


@pytest.mark.parametrize(
    "value", ["speech.example.org", "ftp://x", "https://", "http://a b", "http://a/?b"]
)
def test_what_is_no_web_address_is_refused(given, value):
    given(value)

    with pytest.raises(ImproperlyConfigured, match="WHISPERHUB_TRIED"):
        env.web_address("TRIED")


def test_a_file_must_be_there(given, tmp_path):
    (tmp_path / "ca.pem").touch()

    given("ca.pem")
    assert env.file("TRIED", base=tmp_path) == tmp_path / "ca.pem"
    given("")
    assert env.file("TRIED", base=tmp_path) is None
    given("absent.pem")
    with pytest.raises(ImproperlyConfigured, match="WHISPERHUB_TRIED: there is no"):
        env.file("TRIED", base=tmp_path)


# --- .env ----------------------------------------------------------------------------


@pytest.fixture
def dotenv(tmp_path, monkeypatch):
    """Read a .env file with this text."""
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def read(text: str) -> dict[str, str]:
        file = tmp_path / ".env"
        file.write_text(text, encoding="utf-8")
        env.load_file(file)
        return dict(os.environ)

    return read


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("WHISPERHUB_TRIED=plain", "plain"),
        ("export WHISPERHUB_TRIED='quoted # text'", "quoted # text"),
        ('WHISPERHUB_TRIED="a b" # comment', "a b"),
        ("WHISPERHUB_TRIED=p$PATH${HOME}", "p$PATH${HOME}"),
        ("WHISPERHUB_TRIED=密码", "密码"),
    ],
)
def test_variables_are_read_from_the_file(dotenv, line, value):
    dotenv(f"# a comment\n\n{line}\n")

    assert env.text("TRIED") == value


def test_the_environment_wins_over_the_file(dotenv, monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("from a file")
    os.environ["WHISPERHUB_TRIED"] = "given"
    os.environ["WHISPERHUB_OTHER_FILE"] = str(tmp_path / "secret")

    dotenv("WHISPERHUB_TRIED=x\nWHISPERHUB_OTHER=x\nPATH=x\nHOME_OF_NOBODY=x\n")

    assert env.text("TRIED") == "given"
    assert env.text("OTHER") == "from a file"
    assert os.environ["PATH"] != "x"
    assert "HOME_OF_NOBODY" not in os.environ


def test_a_file_that_is_not_there_is_no_mistake(tmp_path):
    env.load_file(tmp_path / "absent")


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path):
    (tmp_path / ".env").mkdir()

    with pytest.raises(ImproperlyConfigured, match=r"\.env cannot be read"):
        env.load_file(tmp_path / ".env")


@pytest.mark.parametrize(
    ("value", "limit"), [("0", None), ("none", None), ("NONE", None), ("1K", 1024)]
)
def test_a_limit_of_size_can_be_lifted(given, value, limit):
    given(value)

    assert env.size_limit("TRIED", "2GiB") == limit
