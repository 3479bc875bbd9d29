"""Keeps the catalogue of translations: extracts, merges, compiles, tells what lacks.

    python -m tools.messages          bring catalogue and compiled form up to date
    python -m tools.messages --check  change nothing, and fail if something is stale

Babel does it, because the gettext programs are not on every machine. Messages come from
calls of gettext and of `Sentence` in the code, from templates, and from the texts of
the OpenAPI document, which are plain English in the code.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import django
from babel.messages import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT: Final = Path(__file__).resolve().parent.parent
LANGUAGE: Final = "zh_Hans"
FOLDER: Final = ROOT / "whisperhub" / "locale" / LANGUAGE / "LC_MESSAGES"
CATALOGUE: Final = FOLDER / "django.po"
COMPILED: Final = FOLDER / "django.mo"
PACKAGES: Final = ("whisperhub", "accounts", "transcription", "crawlers", "workers")
KEYWORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop", "Sentence")),
    **dict.fromkeys(("ngettext", "ngettext_lazy", "ngettext_noop"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
}
DOCUMENT: Final = "OpenAPI"
# Names stay as they are.
UNTRANSLATED: Final = frozenset({"SubRip", "WebVTT", "faster-whisper"})
# What must stand in a translation as it stands in the message: places for values, and
# words for programs.
PLACES: Final = re.compile(r"%\(\w+\)[a-z]|%[sd]|\{\w*(?:![rs])?(?::[^}]*)?\}")
WORDS: Final = re.compile(r"`[^`]+`|WHISPERHUB_\w+|https?://\S+")
COMMENT: Final = """\
# Translations of WhisperHub. `make messages` adds what is new; docs/translation.md has
# the words to use."""
HEADERS: Final = [
    ("Language", LANGUAGE),
    ("MIME-Version", "1.0"),
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Transfer-Encoding", "8bit"),
    ("Plural-Forms", "nplurals=1; plural=0;"),
]


def extracted() -> Catalog:
    """Every message of code, templates and document, with the files it comes from."""
    places: dict[Any, set[str]] = {}
    plurals: dict[str, str] = {}
    for path in sorted(_sources()):
        place = str(path.relative_to(ROOT))
        for message, context in _messages_of(path):
            key = message[0] if isinstance(message, tuple) else message
            if isinstance(message, tuple):
                plurals[key] = message[1]
            if key:
                places.setdefault((key, context), set()).add(place)
    for text in _texts_of_document():
        places.setdefault((text, None), set()).add(DOCUMENT)
    catalogue = Catalog(LANGUAGE, fuzzy=False)
    for (key, context), found in sorted(places.items(), key=lambda item: item[0][0]):
        catalogue.add(
            (key, plurals[key]) if key in plurals else key,
            # Without line numbers: they would change with every edit of the code.
            locations=[(place, 0) for place in sorted(found)],
            context=context,
        )
    return catalogue


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")
        yield from (ROOT / package).rglob("*.html")


def _messages_of(path: Path) -> Iterator[tuple[Any, str | None]]:
    from django.utils.translation.template import templatize

    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        # Python without its indentation: a template's own means nothing to it.
        code = templatize(text, origin=str(path))
        text = "\n".join(line.lstrip() for line in code.splitlines())
    source = io.BytesIO(text.encode())
    for _line, message, _comments, context in extract("python", source, KEYWORDS):
        yield message, context


def _texts_of_document() -> set[str]:
    from django.utils import translation
    from drf_spectacular.generators import SchemaGenerator

    from transcription.api import document

    found: set[str] = set()

    def note(text: str) -> str:
        if text not in UNTRANSLATED:
            found.add(text)
        return text

    with translation.override("en"):
        made = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    document.say(made, note)
    return found - {"WhisperHub"}


def stored() -> Catalog:
    """The catalogue as it is in the repository."""
    if not CATALOGUE.exists():
        return Catalog(LANGUAGE)
    with CATALOGUE.open("rb") as file:
        return read_po(file, locale=LANGUAGE)


def merged(wanted: Catalog, former: Catalog) -> Catalog:
    """The wanted messages with the translations that there are; no guesses."""
    result = Catalog(LANGUAGE, fuzzy=False)
    for message in _messages(wanted):
        known = former.get(message.id, message.context)
        result.add(
            message.id,
            known.string if known and "fuzzy" not in known.flags else "",
            locations=message.locations,
            context=message.context,
        )
    return result


class Reproducible(Catalog):
    """A catalogue whose header names no moment and no program."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """What Django needs to read it."""
        return HEADERS


def written(catalogue: Catalog) -> bytes:
    """The text form, always the same for the same messages."""
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=88, omit_header=True, include_lineno=False)
    lines = [f'"{name}: {value}\\n"' for name, value in HEADERS]
    head = "\n".join([COMMENT, 'msgid ""', 'msgstr ""', *lines, "", ""])
    return head.encode() + buffer.getvalue()


def compiled(catalogue: Catalog) -> bytes:
    """The form that Django loads, always the same for the same messages."""
    plain = Reproducible(LANGUAGE, fuzzy=False)
    for message in _messages(catalogue):
        plain.add(message.id, message.string, context=message.context)
    buffer = io.BytesIO()
    write_mo(buffer, plain)
    return buffer.getvalue()


def faults(catalogue: Catalog) -> list[str]:
    """What a translator has to do, one line each."""
    found = []
    for message in _messages(catalogue):
        source = message.id if isinstance(message.id, str) else message.id[1]
        said = message.string
        translation = said if isinstance(said, str) else (said or [""])[0]
        if not translation:
            found.append(f"not translated: {source!r}")
        elif "fuzzy" in message.flags:
            found.append(f"fuzzy: {source!r}")
        else:
            for form in (PLACES, WORDS):
                given, kept = (
                    Counter(form.findall(text)) for text in (source, translation)
                )
                if set(given) != set(kept):
                    differing = sorted(set(given) ^ set(kept))
                    found.append(f"differs in {', '.join(differing)}: {source!r}")
    return found


def _messages(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id]


def main() -> int:
    """Update or check; the status says whether a translator is needed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whisperhub.settings")
    django.setup()
    former = stored()
    catalogue = merged(extracted(), former)
    keys = {(message.id, message.context) for message in _messages(catalogue)}
    gone = [m for m in _messages(former) if (m.id, m.context) not in keys]
    problems = faults(catalogue)
    forms = {CATALOGUE: written(catalogue), COMPILED: compiled(catalogue)}
    for path, content in forms.items():
        if not path.exists() or path.read_bytes() != content:
            if check:
                problems.append(f"stale: {path.relative_to(ROOT)}; run `make messages`")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for line in problems:
        print(line)
    print(f"{len(keys)} messages, {len(gone)} left out, {len(problems)} to look at")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
