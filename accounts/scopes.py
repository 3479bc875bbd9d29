"""What an API key may do: a set of scopes, each named by one word.

A set is stored as its words in the order of `Scope`, separated by blanks, as OAuth
writes a scope: every database has text, and a new scope changes no column. No scope
includes another: a key that only submits need not be able to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class Scope(models.TextChoices):
    """One right of a key. Words that are out keep their meaning."""

    READ = "read", _("read: see the owner's tasks and results")
    WRITE = "write", _("write: submit, change and delete tasks")
    ADMIN = "admin", _("admin: manage the owner's keys; for staff")


# What a program that transcribes needs; also what keys have that are older than scopes.
ORDINARY: Final = (Scope.READ, Scope.WRITE)
ORDINARY_TEXT: Final = "read write"


def scopes_to_text(scopes: Iterable[str]) -> str:
    """A set as it is stored.

    Raises:
        ValueError: one of the words is no scope.
    """
    given = {Scope(scope) for scope in scopes}
    return " ".join(scope for scope in Scope if scope in given)


def scopes_from_text(text: str) -> tuple[Scope, ...]:
    """A stored set, in order. A word that is none of ours gives no right."""
    words = set(text.split())
    return tuple(scope for scope in Scope if scope in words)
