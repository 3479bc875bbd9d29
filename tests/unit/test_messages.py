"""The catalogue: whole, as its sources have it, and compiled."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages import Catalog

from accounts import errors as account_errors
from tools import messages
from transcription import errors

ERRORS = {
    name
    for module in (errors, account_errors)
    for name in vars(module)
    if name.endswith("Error")
} - {
    # Between our own processes.
    "LeaseLostError",
    # They make their own sentences.
    "UnsupportedLanguageError",
    "UnsupportedOptionError",
    "UnsupportedTaskError",
}


@pytest.fixture(scope="module")
def current() -> Catalog:
    return messages.merged(messages.extracted(), messages.stored())


def keys(catalogue: Catalog) -> set[object]:
    return {(message.id, message.context) for message in catalogue if message.id}


def test_every_message_is_translated(current):
    assert messages.faults(current) == []


def test_the_catalogue_has_what_the_sources_have_and_nothing_else(current):
    assert keys(messages.stored()) == keys(current)


def test_catalogue_and_compiled_form_are_what_make_messages_writes(current):
    assert messages.CATALOGUE.read_bytes() == messages.written(current)
    assert messages.COMPILED.read_bytes() == messages.compiled(current)


def test_the_compiled_form_holds_no_moment_and_no_version(current):
    content = messages.compiled(current)

    assert "任务已取消。".encode() in content
    assert b"Date" not in content
    assert b"Babel" not in content


def test_all_kinds_of_sources_are_searched(current):
    places = {place for message in current for place, _line in message.locations}

    assert messages.DOCUMENT in places
    assert "transcription/templates/documentation.html" in places
    assert "accounts/authentication.py" in places


@pytest.mark.parametrize(
    ("source", "translation", "fault"),
    [
        ("Wait.", "", "not translated"),
        ("Give {count} numbers.", "请提供数字。", "differs in {count}"),
        ("Give {count} numbers.", "请提供 {number} 个数字。", "differs in {count}"),
        ("From %(least)d on.", "从 %(least)s 起。", "differs in %(least)d"),
        ("See `error.code`.", "见 `error.kode`。", "differs in `error.code`"),
        ("Above WHISPERHUB_SLOTS.", "超过限制。", "differs in WHISPERHUB_SLOTS"),
    ],
)
def test_a_faulty_translation_is_found(source, translation, fault):
    catalogue = Catalog(messages.LANGUAGE)
    catalogue.add(source, translation)

    (found,) = messages.faults(catalogue)

    assert found.startswith(fault)


def test_a_fuzzy_translation_is_none():
    catalogue = Catalog(messages.LANGUAGE)
    catalogue.add("Wait.", "请稍候。", flags=["fuzzy"])

    assert messages.faults(catalogue)[0].startswith("fuzzy")
    assert messages.merged(catalogue, catalogue)["Wait."].string == ""


def test_good_translations_have_no_fault():
    catalogue = Catalog(messages.LANGUAGE)
    catalogue.add("{a!r} of {b:g} in `c`.", "`c` 中有 {b:g}，其中 {a!r}。")

    assert messages.faults(catalogue) == []


def raised() -> Iterator[tuple[str, int, ast.expr]]:
    """The sentence of each of our errors, where the code makes one."""
    for package in messages.PACKAGES:
        for path in sorted((messages.ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ERRORS
                    and node.args
                ):
                    place = str(path.relative_to(messages.ROOT))
                    yield place, node.lineno, node.args[0]


def test_no_error_is_raised_with_a_sentence_that_cannot_be_translated():
    found = list(raised())
    plain = [
        f"{place}:{line}"
        for place, line, said in found
        if isinstance(said, ast.JoinedStr)
        or (isinstance(said, ast.Constant) and isinstance(said.value, str))
    ]

    assert len(found) > 30
    assert plain == []


def test_the_catalogue_is_where_django_looks(settings):
    folders = [Path(path) for path in settings.LOCALE_PATHS]

    assert messages.FOLDER.parents[1] in folders
