"""Why a model could not be had."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked; the message is a sentence for people."""


class DownloadError(StoreError):
    """A source could not be reached, or has no such model."""


class DownloadRefusedError(StoreError):
    """What came is not what the manifest names; it was deleted."""
