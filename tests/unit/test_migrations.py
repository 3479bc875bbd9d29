"""Databases made at once, and those that were made in steps, are the same."""

from __future__ import annotations

from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader


def test_what_is_made_at_once_is_what_the_steps_had_made():
    loader = MigrationLoader(None, replace_migrations=False)
    replaced = loader.disk_migrations["transcription", "0001_everything_to_0033"]
    steps = [key for key in loader.disk_migrations if key in replaced.replaces]

    changes = MigrationAutodetector(
        loader.project_state(max(steps)),
        loader.project_state(("transcription", "0001_everything_to_0033")),
    ).changes(graph=loader.graph)

    assert len(steps) == len(replaced.replaces) == 25
    assert "transcription" not in changes
