"""docs/configuration.md names every variable with its default, and no other."""

from __future__ import annotations

import importlib
import re

import whisperhub.settings
from whisperhub import env

DOC = whisperhub.settings.BASE_DIR / "docs" / "configuration.md"
# | `WHISPERHUB_NAME` | `default` | meaning |
ROW = re.compile(r"^\| *`WHISPERHUB_(\w+)` *\| *(?:`([^`]*)`)? *\|", re.MULTILINE)


def test_the_document_and_the_settings_agree(monkeypatch):
    # Other tests may have declared variables of their own.
    declared: dict[str, str] = {}
    monkeypatch.setattr(env, "declared", declared)
    importlib.reload(whisperhub.settings)

    documented = ROW.findall(DOC.read_text(encoding="utf-8"))

    assert dict(documented) == declared
    assert len(documented) == len(declared), "a variable has two rows"
